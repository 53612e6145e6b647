package stsguard.rules["service-name-missing_test"]

import data.stsguard.facts
import data.stsguard.rules["service-name-missing"] as rule

test_named if {
	count(rule.findings) == 0 with input as facts.relation
}

test_not_named if {
	facts.headlines(rule.findings) == {"StatefulSet \"web\" has no serviceName"} with input as facts.bare
}

headless := facts.with_fields(facts.service, {"name": "web-headless"})

test_names_the_one_headless_service if {
	some f in rule.findings with input as facts.with_fields(facts.bare, {"services": [headless, facts.allocated]})
	f.fix.safe == true
	f.fix.patch == [{"op": "add", "path": "/spec/serviceName", "value": "web-headless"}]
}

test_names_none_of_two_headless_services if {
	other := facts.with_fields(headless, {"name": "other"})
	patches := {f.fix.patch | some f in rule.findings} with input as facts.with_fields(facts.bare, {"services": [headless, other]})
	patches == set()
}
