package stsguard.rules["service-without-selector_test"]

import data.stsguard.facts
import data.stsguard.rules["service-without-selector"] as rule

test_selector if {
	count(rule.findings) == 0 with input as facts.relation
}

test_missing_is_another_rule if {
	count(rule.findings) == 0 with input as facts.missing
}

test_external_name_is_another_rule if {
	count(rule.findings) == 0 with input as facts.with_fields(facts.relation, {"governing": facts.alias})
}

test_no_selector if {
	bare := facts.with_fields(facts.service, {"selector": {}, "selectsPods": false})
	found := rule.findings with input as facts.with_fields(facts.relation, {"governing": bare})
	facts.headlines(found) == {"Service \"nginx\", which governs StatefulSet \"web\", has no selector"}
}
