# METADATA
# title: The governing Service is headless
# description: >-
#   Kubernetes promises pods names such as web-0.web only below a headless
#   Service. Below one with a cluster IP they resolve on CoreDNS and fail on
#   kube-dns, and nothing guarantees that they will go on to resolve.
# related_resources:
#   - ref: https://github.com/kubernetes/dns/blob/master/docs/specification.md
#   - ref: https://kubernetes.io/docs/concepts/services-networking/service/#headless-services
# custom:
#   level: baseline
#   subject: relation
#   concern: governing
#   remedy: >-
#     Name a headless Service (clusterIP: None) in serviceName, and serve clients
#     with a second one. Neither field can be changed later.
#   parameters:
#     allowSingleReplica:
#       description: pass StatefulSets of at most one replica, whose pod has no peers
#       default: false
package stsguard.rules["service-not-headless"]

import data.stsguard.lib

findings contains object.union(
	{
		"object": input.statefulSet.ref,
		"path": "/spec/serviceName",
		"msg": concat("\n", array.concat([_headline], _hints)),
	},
	_fix,
) if {
	input.governing.found == true
	input.governing.headless == false
	input.governing.type != "ExternalName"
	not _excused
}

_excused if {
	data.parameters["service-not-headless"].allowSingleReplica == true
	input.statefulSet.replicas <= 1
}

default _fix := {}

# Where another Service is headless already, this one may be for clients. The
# patch that makes it headless is that of clusterip-none-missing.
_fix := {"fix": lib.naming(input.statefulSet, input.services)} if {
	lib.sole_headless(input.services)
} else := {"fix": {
	"title": $"Say clusterIP: None in Service \"{input.governing.name}\", and serve clients with a second Service.",
	"safe": false,
	"inject": false,
}} if {
	input.governing.undecided == true
	count(lib.obstacles(input.governing)) == 0
}

_headline := $"Service \"{input.governing.name}\", which governs StatefulSet \"{input.statefulSet.name}\", is not headless: {_address}"

_address := $"its cluster IP is {input.governing.clusterIP}" if input.governing.undecided == false

_address := "it has no clusterIP: None, so it will be given a cluster IP" if input.governing.undecided == true

_hints := array.concat(
	[$"Service \"{other.name}\" is headless and selects these pods: name it in spec.serviceName." |
		some other in input.services
		other.headless
	],
	array.concat(
		[$"It can't simply be made headless: {reason}." | some reason in sort(lib.obstacles(input.governing))],
		array.concat(_created_anew, ["stsguard leaves it as it is: its annotation stsguard.dev/inject is \"false\"." |
			input.governing.annotations["stsguard.dev/inject"] == "false"
		]),
	),
)

default _created_anew := []

_created_anew := ["Once created, it keeps its cluster IP: to make it headless, delete it and create it again with clusterIP: None."] if {
	input.governing.undecided == false
	count(_headless_beside) == 0
	count(lib.obstacles(input.governing)) == 0
}

_headless_beside := [other.name | some other in input.services; other.headless]
