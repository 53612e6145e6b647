package stsguard.rules["not-ready-addresses_test"]

import data.stsguard.facts
import data.stsguard.rules["not-ready-addresses"] as rule

peers(fields, service) := facts.with_fields(facts.relation, {
	"statefulSet": facts.with_fields(facts.set, object.union({"mentionsPeers": true, "mentionsOwnPods": true}, fields)),
	"governing": service,
})

test_no_peers if {
	count(rule.findings) == 0 with input as facts.relation
}

test_published if {
	count(rule.findings) == 0 with input as peers({}, facts.with_fields(facts.service, {"publishNotReadyAddresses": true}))
}

test_a_single_replica_has_no_peers if {
	count(rule.findings) == 0 with input as peers({"replicas": 1}, facts.service)
}

test_the_pods_of_another_get_ready_by_themselves if {
	count(rule.findings) == 0 with input as peers({"mentionsOwnPods": false}, facts.service)
}

test_not_headless_is_another_rule if {
	count(rule.findings) == 0 with input as peers({}, facts.allocated)
}

test_hidden if {
	found := rule.findings with input as peers({}, facts.service)
	facts.headlines(found) == {"StatefulSet \"web\" uses its pods' names below Service \"nginx\", which hides pods that are not ready"}
}
