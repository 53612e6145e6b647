package stsguard.rules["clusterip-exposure_test"]

import data.stsguard.facts
import data.stsguard.rules["clusterip-exposure"] as rule

client := facts.with_fields(facts.allocated, {"ref": "client", "name": "client"})

exposed(fields) := facts.with_fields(facts.relation, object.union({"services": [client]}, fields))

test_beside_a_headless_service if {
	count(rule.findings) == 0 with input as exposed({})
}

test_no_other_service if {
	count(rule.findings) == 0 with input as facts.with_fields(facts.relation, {"governing": facts.allocated})
}

test_another_headless_service if {
	count(rule.findings) == 0 with input as exposed({"governing": facts.allocated, "services": [facts.service]})
}

test_governing_not_headless if {
	some f in rule.findings with input as exposed({"governing": facts.allocated})
	f.object == "client"
	f.atMostWarn == false
	f.msg == "Service \"client\" has a cluster IP and selects the pods of StatefulSet \"web\", but Service \"nginx\", which governs it, is not headless"
}

test_for_one_pod if {
	one := facts.with_fields(client, {"selector": {"statefulset.kubernetes.io/pod-name": "web-0"}})
	count(rule.findings) == 0 with input as exposed({"governing": facts.allocated, "services": [one]})
}

test_undecided_client if {
	found := rule.findings with input as exposed({"governing": facts.allocated, "services": [facts.unset]})
	count(found) == 1
}

test_governing_missing_only_warns if {
	some f in rule.findings with input as exposed({"governing": facts.no_service})
	f.atMostWarn == true
	endswith(f.msg, "but Service \"nginx\", which should govern it, does not exist")
}

test_no_name_only_warns if {
	some f in rule.findings with input as facts.with_fields(facts.bare, {"services": [client]})
	f.atMostWarn == true
	endswith(f.msg, "but that names no Service to govern it")
}
