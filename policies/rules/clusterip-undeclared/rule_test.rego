package stsguard.rules["clusterip-undeclared_test"]

import data.stsguard.facts
import data.stsguard.rules["clusterip-undeclared"] as rule

client(annotations) := facts.with_fields(facts.relation, {"services": [facts.with_fields(facts.allocated, {"name": "client", "annotations": annotations})]})

test_no_other if {
	count(rule.findings) == 0 with input as facts.relation
}

test_declared if {
	count(rule.findings) == 0 with input as client({"stsguard.dev/client-service": "true"})
}

test_another_headless_one if {
	count(rule.findings) == 0 with input as facts.with_fields(facts.relation, {"services": [facts.service]})
}

test_governing_not_headless_is_another_rule if {
	count(rule.findings) == 0 with input as facts.with_fields(client({}), {"governing": facts.allocated})
}

test_undeclared if {
	found := rule.findings with input as client({})
	facts.headlines(found) == {"Service \"client\" has a cluster IP, selects the pods of StatefulSet \"web\", and does not say that it is for clients"}
}

test_declared_otherwise if {
	count(rule.findings) == 1 with input as client({"stsguard.dev/client-service": "no"})
}
