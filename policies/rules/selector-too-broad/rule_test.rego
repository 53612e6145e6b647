package stsguard.rules["selector-too-broad_test"]

import data.stsguard.facts
import data.stsguard.rules["selector-too-broad"] as rule

others := [
	{"ref": "a", "kind": "Deployment", "name": "api"}, {"ref": "b", "kind": "Job", "name": "setup"},
	{"ref": "c", "kind": "StatefulSet", "name": "db"}, {"ref": "d", "kind": "Deployment", "name": "api"},
]

test_alone if {
	count(rule.findings) == 0 with input as facts.relation
}

test_missing_is_another_rule if {
	count(rule.findings) == 0 with input as facts.missing
}

test_not_headless_is_another_rule if {
	count(rule.findings) == 0 with input as facts.with_fields(facts.relation, {"governing": facts.allocated, "workloads": others})
}

test_others if {
	found := rule.findings with input as facts.with_fields(facts.relation, {"workloads": others})
	facts.headlines(found) == {"Service \"nginx\", which governs StatefulSet \"web\", also selects the pods of Deployment \"api\", Job \"setup\", StatefulSet \"db\""}
}

test_all_that_it_governs if {
	found := rule.findings with input as facts.with_fields(facts.relation, {"siblings": ["zoo", "app"], "workloads": [others[0]]})
	facts.headlines(found) == {"Service \"nginx\", which governs StatefulSets \"app\", \"web\", \"zoo\", also selects the pods of Deployment \"api\""}
}
