package stsguard.rules["service-shared_test"]

import data.stsguard.facts
import data.stsguard.rules["service-shared"] as rule

test_alone if {
	count(rule.findings) == 0 with input as facts.relation
}

test_not_headless_is_another_rule if {
	count(rule.findings) == 0 with input as facts.with_fields(facts.relation, {"governing": facts.allocated, "siblings": ["db"]})
}

test_one_application if {
	one := facts.with_fields(facts.service, {"selector": {"app.kubernetes.io/name": "nginx"}})
	count(rule.findings) == 0 with input as facts.with_fields(facts.relation, {"governing": one, "siblings": ["db"]})
}

test_shared if {
	found := rule.findings with input as facts.with_fields(facts.relation, {"siblings": ["zoo", "db"]})
	facts.headlines(found) == {"Service \"nginx\" governs several StatefulSets: db, web, zoo"}
}
