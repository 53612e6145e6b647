package stsguard.rules["service-not-found_test"]

import data.stsguard.facts
import data.stsguard.rules["service-not-found"] as rule

test_found if {
	count(rule.findings) == 0 with input as facts.relation
}

test_no_name_is_another_rule if {
	count(rule.findings) == 0 with input as facts.bare
}

test_missing if {
	some f in rule.findings with input as facts.missing
	f.msg == "StatefulSet \"web\" names Service \"nginx\", which does not exist in namespace \"default\""
	f.fix.title == "Create this headless Service first."
	f.fix.create.spec == {
		"clusterIP": "None", "selector": {"app": "nginx"},
		"ports": [{"name": "web", "port": 80, "protocol": "TCP"}],
	}
}

test_near_misses if {
	found := rule.findings with input as facts.with_fields(facts.missing, {"nearMisses": [
		facts.with_fields(facts.service, {"name": "a"}),
		facts.with_fields(facts.service, {"name": "b", "selectsPods": false}),
		facts.with_fields(facts.allocated, {"name": "c"}),
		facts.with_fields(facts.allocated, {"name": "d", "selectsPods": false}),
	]})
	facts.details(found) == {
		"Did you mean \"a\"? It is headless and selects these pods.",
		"Did you mean \"b\"? It is headless, but does not select these pods.",
		"Did you mean \"c\"? It selects these pods, but is not headless.",
		"Did you mean \"d\"? It is not headless and does not select these pods.",
	}
}

test_elsewhere if {
	found := rule.findings with input as facts.with_fields(facts.missing, {"elsewhere": ["prod", "test"]})
	facts.details(found) == {"There is one in namespace prod, test, but a StatefulSet's Service must be in its own."}
}

# Nothing to build a selector or ports from: the finding stands all the same.
test_bare_template if {
	bare := facts.with_fields(facts.missing, {"statefulSet": facts.with_fields(facts.bare.statefulSet, {"serviceName": "nginx"})})
	some f in rule.findings with input as bare
	not f.fix
}

test_ports_are_named_and_not_repeated if {
	set := facts.with_fields(facts.set, {"ports": [
		{"name": "", "port": 80, "protocol": "TCP"},
		{"name": "", "port": 80, "protocol": "UDP"},
		{"name": "http", "port": 80, "protocol": "TCP"},
		{"name": "metrics", "port": 9090, "protocol": "TCP"},
	]})
	some f in rule.findings with input as facts.with_fields(facts.missing, {"statefulSet": set})
	[p.name | some p in f.fix.create.spec.ports] == ["tcp-80", "udp-80", "metrics"]
}

test_pod_labels_where_the_set_has_no_selector if {
	set := facts.with_fields(facts.set, {"selector": {}})
	some f in rule.findings with input as facts.with_fields(facts.missing, {"statefulSet": set})
	f.fix.create.spec.selector == {"app": "nginx"}
}

headless := facts.with_fields(facts.service, {"name": "web-headless"})

test_names_the_one_headless_service if {
	some f in rule.findings with input as facts.with_fields(facts.missing, {"services": [headless, facts.allocated]})
	f.fix.safe == true
	f.fix.patch == [{"op": "add", "path": "/spec/serviceName", "value": "web-headless"}]
}

test_pods_that_look_each_other_up_must_be_told if {
	talking := facts.with_fields(facts.set, {"mentionsPeers": true})
	some f in rule.findings with input as facts.with_fields(facts.missing, {"services": [headless], "statefulSet": talking})
	f.fix.safe == false
}

test_names_none_of_two_headless_services if {
	other := facts.with_fields(headless, {"name": "other"})
	patches := {f.fix.patch | some f in rule.findings} with input as facts.with_fields(facts.missing, {"services": [headless, other]})
	patches == set()
}
