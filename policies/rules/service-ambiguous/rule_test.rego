package stsguard.rules["service-ambiguous_test"]

import data.stsguard.facts
import data.stsguard.rules["service-ambiguous"] as rule

test_one if {
	count(rule.findings) == 0 with input as facts.relation
}

test_none if {
	count(rule.findings) == 0 with input as facts.missing
}

test_equal if {
	again := facts.with_fields(facts.service, {"ref": "again"})
	count(rule.findings) == 0 with input as facts.with_fields(facts.relation, {"candidates": [facts.service, again]})
}

test_two if {
	other := facts.with_fields(facts.service, {"ref": "other", "publishNotReadyAddresses": true})
	found := rule.findings with input as facts.with_fields(facts.relation, {"candidates": [facts.service, other]})
	facts.headlines(found) == {"There are 2 Services \"nginx\" at the same distance from StatefulSet \"web\""}
}
