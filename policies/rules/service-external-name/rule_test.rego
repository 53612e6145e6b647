package stsguard.rules["service-external-name_test"]

import data.stsguard.facts
import data.stsguard.rules["service-external-name"] as rule

test_headless if {
	count(rule.findings) == 0 with input as facts.relation
}

test_missing_is_another_rule if {
	count(rule.findings) == 0 with input as facts.missing
}

test_alias if {
	found := rule.findings with input as facts.with_fields(facts.relation, {"governing": facts.alias})
	facts.headlines(found) == {"Service \"nginx\", which governs StatefulSet \"web\", is an ExternalName: an alias for \"db.example.com\""}
}
