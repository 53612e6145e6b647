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

headless := facts.with_fields(facts.service, {"name": "web-headless"})

test_names_the_one_headless_service if {
	some f in rule.findings with input as facts.with_fields(facts.with_fields(facts.relation, {"governing": facts.alias}), {"services": [headless, facts.allocated]})
	f.fix.safe == true
	f.fix.patch == [{"op": "add", "path": "/spec/serviceName", "value": "web-headless"}]
}

test_pods_that_look_each_other_up_must_be_told if {
	talking := facts.with_fields(facts.set, {"mentionsPeers": true})
	some f in rule.findings with input as facts.with_fields(facts.with_fields(facts.relation, {"governing": facts.alias}), {"services": [headless], "statefulSet": talking})
	f.fix.safe == false
}

test_names_none_of_two_headless_services if {
	other := facts.with_fields(headless, {"name": "other"})
	patches := {f.fix.patch | some f in rule.findings} with input as facts.with_fields(facts.with_fields(facts.relation, {"governing": facts.alias}), {"services": [headless, other]})
	patches == set()
}
