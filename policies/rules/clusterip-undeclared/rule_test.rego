package stsguard.rules["clusterip-undeclared_test"]

import data.stsguard.facts
import data.stsguard.rules["clusterip-undeclared"] as rule

beside(fields) := facts.with_fields(facts.relation, {"services": [facts.with_fields(facts.allocated, object.union({"name": "client"}, fields))]})

client(annotations) := beside({"annotations": annotations})

test_no_other if {
	count(rule.findings) == 0 with input as facts.relation
}

test_declared if {
	count(rule.findings) == 0 with input as client({"stsguard.dev/client-service": "true"})
}

test_a_type_that_is_for_clients if {
	every type in ["NodePort", "LoadBalancer"] {
		count(rule.findings) == 0 with input as beside({"type": type})
	}
}

test_for_one_pod if {
	every selector in [{"statefulset.kubernetes.io/pod-name": "web-0"}, {"app": "nginx", "apps.kubernetes.io/pod-index": "0"}] {
		count(rule.findings) == 0 with input as beside({"selector": selector})
	}
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
