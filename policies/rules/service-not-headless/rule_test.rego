package stsguard.rules["service-not-headless_test"]

import data.stsguard.facts
import data.stsguard.rules["service-not-headless"] as rule

test_headless if {
	count(rule.findings) == 0 with input as facts.relation
}

test_missing_is_another_rule if {
	count(rule.findings) == 0 with input as facts.missing
}

test_external_name_is_another_rule if {
	count(rule.findings) == 0 with input as facts.with_fields(facts.relation, {"governing": facts.alias})
}

test_allocated if {
	found := rule.findings with input as facts.with_fields(facts.relation, {"governing": facts.allocated})
	facts.headlines(found) == {"Service \"nginx\", which governs StatefulSet \"web\", is not headless: its cluster IP is 10.0.0.5"}
	facts.details(found) == {"Once created, it keeps its cluster IP: to make it headless, delete it and create it again with clusterIP: None."}
}

test_undecided if {
	found := rule.findings with input as facts.with_fields(facts.relation, {"governing": facts.unset})
	facts.headlines(found) == {"Service \"nginx\", which governs StatefulSet \"web\", is not headless: it has no clusterIP: None, so it will be given a cluster IP"}
	{f.fix.title | some f in found} == {"Say clusterIP: None in Service \"nginx\", and serve clients with a second Service."}
}

test_names_a_headless_one_beside_it if {
	found := rule.findings with input as facts.with_fields(facts.relation, {
		"governing": facts.allocated,
		"services": [facts.with_fields(facts.service, {"name": "web-headless"}), facts.allocated],
	})
	facts.details(found) == {"Service \"web-headless\" is headless and selects these pods: name it in spec.serviceName."}
}

test_says_why_it_cant_simply_be_headless if {
	ports := [
		{"name": "a", "port": 80, "targetPort": "8080", "podPort": 8080, "nodePort": 0, "protocol": "TCP"},
		{"name": "b", "port": 81, "targetPort": "http", "podPort": 0, "nodePort": 30000, "protocol": "TCP"},
	]
	found := rule.findings with input as facts.with_fields(facts.relation, {"governing": facts.with_fields(facts.unset, {
		"type": "NodePort", "ports": ports, "externalIPs": ["192.0.2.1"], "sessionAffinity": "ClientIP", "selector": {}, "controller": "Redis/a",
	})})
	facts.details(found) == {
		"It can't simply be made headless: its type is NodePort.",
		"It can't simply be made headless: it has no selector.",
		"It can't simply be made headless: it has external IPs.",
		"It can't simply be made headless: it has sessionAffinity: ClientIP.",
		"It can't simply be made headless: port 81 is also a node port.",
		"It can't simply be made headless: Redis/a manages it.",
		"It can't simply be made headless: it sends port 80 on to the pods' port 8080, and a headless Service remaps no port.",
		"It can't simply be made headless: it sends port 81 on to a TCP port \"http\" that no container is known to have, and a headless Service remaps no port.",
	}
}

test_says_that_it_opted_out_of_injection if {
	found := rule.findings with input as facts.with_fields(facts.relation, {"governing": facts.with_fields(facts.unset, {"annotations": {"stsguard.dev/inject": "false"}})})
	facts.details(found) == {"stsguard leaves it as it is: its annotation stsguard.dev/inject is \"false\"."}
}

single := facts.with_fields(facts.relation, {
	"governing": facts.allocated,
	"statefulSet": facts.with_fields(facts.set, {"replicas": 1}),
})

test_single_replica if {
	count(rule.findings) == 1 with input as single
		with data.parameters["service-not-headless"] as {"allowSingleReplica": false}
	count(rule.findings) == 0 with input as single
		with data.parameters["service-not-headless"] as {"allowSingleReplica": true}
}

test_two_replicas_are_not_excused if {
	count(rule.findings) == 1 with input as facts.with_fields(facts.relation, {"governing": facts.allocated})
		with data.parameters["service-not-headless"] as {"allowSingleReplica": true}
}

headless := facts.with_fields(facts.service, {"name": "web-headless"})

test_names_the_one_headless_service if {
	some f in rule.findings with input as facts.with_fields(facts.with_fields(facts.relation, {"governing": facts.allocated}), {"services": [headless, facts.allocated]})
	f.fix.safe == true
	f.fix.patch == [{"op": "add", "path": "/spec/serviceName", "value": "web-headless"}]
}

test_pods_that_look_each_other_up_must_be_told if {
	talking := facts.with_fields(facts.set, {"mentionsPeers": true})
	some f in rule.findings with input as facts.with_fields(facts.with_fields(facts.relation, {"governing": facts.allocated}), {"services": [headless], "statefulSet": talking})
	f.fix.safe == false
}

test_names_none_of_two_headless_services if {
	other := facts.with_fields(headless, {"name": "other"})
	patches := {f.fix.patch | some f in rule.findings} with input as facts.with_fields(facts.with_fields(facts.relation, {"governing": facts.allocated}), {"services": [headless, other]})
	patches == set()
}
