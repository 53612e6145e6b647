package stsguard.rules["immutable-change_test"]

import data.stsguard.facts
import data.stsguard.rules["immutable-change"] as rule

service(before, after, sets) := {
	"operation": "UPDATE", "kind": "Service", "statefulSets": sets,
	"before": {"service": facts.with_fields(facts.service, before), "statefulSet": {}},
	"after": {"service": facts.with_fields(facts.service, after), "statefulSet": {}},
}

set(before, after) := {
	"operation": "UPDATE", "kind": "StatefulSet", "statefulSets": [],
	"before": {"service": facts.no_service, "statefulSet": facts.with_fields(facts.set, before)},
	"after": {"service": facts.no_service, "statefulSet": facts.with_fields(facts.set, after)},
}

address := {"clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"], "headless": false}

test_nothing_changes if {
	count(rule.findings) == 0 with input as service({}, {}, [])
	count(rule.findings) == 0 with input as set({}, {})
}

test_what_may_change if {
	count(rule.findings) == 0 with input as service({}, {"selector": {"app": "other"}, "publishNotReadyAddresses": true}, [])
	count(rule.findings) == 0 with input as set({}, {"replicas": 5, "podLabels": {"app": "nginx", "tier": "web"}})
}

test_an_alias_takes_and_leaves_an_address if {
	alias := {"type": "ExternalName", "clusterIP": "", "clusterIPs": [], "headless": false}
	count(rule.findings) == 0 with input as service(address, alias, [])
	count(rule.findings) == 0 with input as service(alias, {}, [])
}

test_to_none if {
	found := rule.findings with input as service(address, {}, [{"ref": "a", "name": "web", "selected": true}])
	facts.headlines(found) == {"Service \"nginx\" has clusterIP: 10.0.0.5 in the cluster, which can't be changed to clusterIP: None"}
	some finding in found
	contains(finding.fix.title, "stsguard migrate statefulset/web -n default")
	nobody := rule.findings with input as service(address, {}, [])
	some other in nobody
	startswith(other.fix.title, "Create a headless Service of another name")
}

test_from_none if {
	found := rule.findings with input as service({}, address, [])
	facts.headlines(found) == {"Service \"nginx\" has clusterIP: None in the cluster, which can't be changed to clusterIP: 10.0.0.5"}
	some finding in found
	startswith(finding.fix.title, "Leave clusterIP as it is")
}

test_to_nothing if {
	found := rule.findings with input as service({}, {"clusterIP": "", "clusterIPs": [], "headless": false}, [])
	facts.headlines(found) == {"Service \"nginx\" has clusterIP: None in the cluster, which can't be changed to none given"}
}

test_service_name if {
	found := rule.findings with input as set({}, {"serviceName": "other"})
	facts.headlines(found) == {"StatefulSet \"web\" has serviceName: nginx in the cluster, which can't be changed to serviceName: other"}
	some finding in found
	contains(finding.fix.title, "stsguard migrate statefulset/web -n default --service other")
	gone := rule.findings with input as set({}, {"serviceName": ""})
	some other in gone
	startswith(other.fix.title, "Leave serviceName as it is")
	absent := rule.findings with input as set({"serviceName": ""}, {})
	facts.headlines(absent) == {"StatefulSet \"web\" has no serviceName in the cluster, which can't be changed to serviceName: nginx"}
}

test_selector if {
	found := rule.findings with input as set({}, {"selector": {"app": "nginx", "tier": "web"}})
	facts.headlines(found) == {"StatefulSet \"web\" selects app=nginx in the cluster, which can't be changed to app=nginx,tier=web"}
	none := rule.findings with input as set({"selector": {}}, {})
	facts.headlines(none) == {"StatefulSet \"web\" selects by no label in the cluster, which can't be changed to app=nginx"}
}
