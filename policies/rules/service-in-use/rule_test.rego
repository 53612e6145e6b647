package stsguard.rules["service-in-use_test"]

import data.stsguard.facts
import data.stsguard.rules["service-in-use"] as rule

change(operation, sets) := {
	"operation": operation, "kind": "Service", "statefulSets": sets,
	"before": {"service": facts.service, "statefulSet": {}},
	"after": {"service": facts.no_service, "statefulSet": {}},
}

test_unused if {
	count(rule.findings) == 0 with input as change("DELETE", [])
}

test_in_use if {
	found := rule.findings with input as change("DELETE", [{"ref": "a", "name": "web", "selected": true}, {"ref": "b", "name": "db", "selected": false}])
	facts.headlines(found) == {"Service \"nginx\" still governs StatefulSet \"web\", StatefulSet \"db\""}
}
