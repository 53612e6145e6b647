# Facts to test rules with: a right pair, from which a test departs.
package stsguard.facts

set := {
	"found": true, "ref": "set", "name": "web", "namespace": "default",
	"labels": {}, "annotations": {}, "serviceName": "nginx",
	"selector": {"app": "nginx"}, "podLabels": {"app": "nginx"},
	"replicas": 2, "ordinalsStart": 0, "podManagementPolicy": "OrderedReady",
	"ports": [{"name": "web", "port": 80, "protocol": "TCP"}],
	"controller": "", "mentionsPeers": false, "mentionsOwnPods": false,
}

service := {
	"found": true, "ref": "service", "name": "nginx", "namespace": "default",
	"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "externalName": "",
	"selector": {"app": "nginx"}, "publishNotReadyAddresses": false,
	"sessionAffinity": "None", "externalIPs": [],
	"ports": [{"name": "web", "port": 80, "targetPort": "80", "podPort": 80, "nodePort": 0, "protocol": "TCP"}],
	"annotations": {}, "headless": true, "undecided": false, "unmatched": [], "selectsPods": true, "remaps": false, "controller": "",
}

no_service := {
	"found": false, "ref": "", "name": "", "namespace": "",
	"type": "", "clusterIP": "", "clusterIPs": [], "externalName": "",
	"selector": {}, "publishNotReadyAddresses": false,
	"sessionAffinity": "", "externalIPs": [], "ports": [],
	"annotations": {}, "headless": false, "undecided": false, "unmatched": [], "selectsPods": false, "remaps": false, "controller": "",
}

allocated := with_fields(service, {"clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"], "headless": false})

unset := with_fields(service, {"clusterIP": "", "clusterIPs": [], "headless": false, "undecided": true})

alias := with_fields(no_service, {
	"found": true, "ref": "service", "name": "nginx", "namespace": "default",
	"type": "ExternalName", "externalName": "db.example.com", "sessionAffinity": "None",
})

relation := {
	"statefulSet": set, "governing": service, "candidates": [service],
	"nearMisses": [], "elsewhere": [], "services": [], "siblings": [], "workloads": [],
}

# What all optional fields absent makes of a relation.
bare := {
	"statefulSet": with_fields(set, {"labels": {}, "serviceName": "", "selector": {}, "podLabels": {}, "ports": []}),
	"governing": no_service, "candidates": [],
	"nearMisses": [], "elsewhere": [], "services": [], "siblings": [], "workloads": [],
}

missing := with_fields(relation, {"governing": no_service, "candidates": []})

# Fields are replaced whole, unlike in object.union.
with_fields(facts, fields) := object.union(object.remove(facts, object.keys(fields)), fields)

headlines(findings) := {split(f.msg, "\n")[0] | some f in findings}

details(findings) := {line |
	some f in findings
	some i, line in split(f.msg, "\n")
	i > 0
}
