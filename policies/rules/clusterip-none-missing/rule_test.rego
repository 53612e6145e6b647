package stsguard.rules["clusterip-none-missing_test"]

import data.stsguard.facts
import data.stsguard.rules["clusterip-none-missing"] as rule

reference := {"ref": "set", "name": "web", "selected": true}

judged(service, sets) := {"service": service, "statefulSets": sets, "beside": [], "others": []}

parameters := {"nameSuffixes": ["-headless"]}

unset(fields) := facts.with_fields(facts.unset, fields)

fixes(findings) := {f.fix | some f in findings}

test_headless if {
	count(rule.findings) == 0 with input as judged(facts.service, [reference]) with data.parameters["clusterip-none-missing"] as parameters
}

test_nobody_means_it if {
	count(rule.findings) == 0 with input as judged(facts.unset, []) with data.parameters["clusterip-none-missing"] as parameters
}

test_alias if {
	count(rule.findings) == 0 with input as judged(facts.alias, [reference]) with data.parameters["clusterip-none-missing"] as parameters
}

test_a_stateful_set_names_it if {
	some f in rule.findings with input as judged(facts.unset, [reference]) with data.parameters["clusterip-none-missing"] as parameters
	f.msg == "Service \"nginx\" does not say clusterIP: None, but StatefulSet \"web\" is governed by it"
	f.fix.inject == true
	f.fix.safe == true
}

test_annotation if {
	found := rule.findings with input as judged(unset({"annotations": {"stsguard.dev/governing": "true"}}), [])
		with data.parameters["clusterip-none-missing"] as parameters
	facts.headlines(found) == {"Service \"nginx\" does not say clusterIP: None, but its annotation stsguard.dev/governing says that it governs a StatefulSet"}
}

test_annotation_of_another_value if {
	count(rule.findings) == 0 with input as judged(unset({"annotations": {"stsguard.dev/governing": "false"}}), [])
		with data.parameters["clusterip-none-missing"] as parameters
}

test_suffix if {
	found := rule.findings with input as judged(unset({"name": "nginx-headless"}), [])
		with data.parameters["clusterip-none-missing"] as parameters
	facts.headlines(found) == {"Service \"nginx-headless\" does not say clusterIP: None, but its name ends in -headless"}
	count(rule.findings) == 0 with input as judged(unset({"name": "nginx-headless"}), [])
		with data.parameters["clusterip-none-missing"] as {"nameSuffixes": []}
}

test_two_suffixes if {
	found := rule.findings with input as judged(unset({"name": "nginx-headless"}), [])
		with data.parameters["clusterip-none-missing"] as {"nameSuffixes": ["-headless", "headless"]}
	count(found) == 1
}

test_an_address_is_given_already if {
	some f in rule.findings with input as judged(facts.allocated, [reference]) with data.parameters["clusterip-none-missing"] as parameters
	not f.fix
}

test_opted_out_of_injection if {
	some f in rule.findings with input as judged(unset({"annotations": {"stsguard.dev/inject": "false"}}), [reference])
		with data.parameters["clusterip-none-missing"] as parameters
	f.fix.inject == false
	f.fix.safe == true
}

test_no_fix_where_it_would_change_what_clients_see if {
	remapped := [{"name": "", "port": 80, "targetPort": "8080", "podPort": 8080, "nodePort": 0, "protocol": "TCP"}]
	node := [{"name": "", "port": 80, "targetPort": "80", "podPort": 80, "nodePort": 30000, "protocol": "TCP"}]
	every fields in [
		{"type": "NodePort"}, {"selector": {}}, {"externalIPs": ["192.0.2.1"]}, {"sessionAffinity": "ClientIP"},
		{"ports": remapped}, {"ports": node}, {"controller": "Redis/a"}, {"clusterIPs": ["10.0.0.5"]},
	] {
		found := rule.findings with input as judged(unset(fields), [reference]) with data.parameters["clusterip-none-missing"] as parameters
		count(found) == 1
		fixes(found) == set()
	}
}

test_no_fix_where_it_selects_other_pods if {
	found := rule.findings with input as judged(facts.unset, [reference, {"ref": "b", "name": "b", "selected": false}])
		with data.parameters["clusterip-none-missing"] as parameters
	count(found) == 1
	fixes(found) == set()
}

test_no_ports if {
	some f in rule.findings with input as judged(unset({"ports": []}), [reference]) with data.parameters["clusterip-none-missing"] as parameters
	f.fix.inject == true
}

test_none_among_the_addresses if {
	some f in rule.findings with input as judged(unset({"clusterIPs": ["None"]}), [reference]) with data.parameters["clusterip-none-missing"] as parameters
	f.fix.safe == true
	f.fix.inject == false
}

test_a_headless_one_beside_it if {
	beside := object.union(judged(facts.unset, [reference]), {"beside": ["web-headless"]})
	some f in rule.findings with input as beside with data.parameters["clusterip-none-missing"] as parameters
	f.fix.safe == false
	f.fix.inject == true
}

safe_beside(service, sets, kind) := f.fix.safe if {
	facts_of := object.union(judged(service, sets), {"others": [{"ref": "other", "kind": kind, "name": "other"}]})
	some f in rule.findings with input as facts_of with data.parameters["clusterip-none-missing"] as parameters
}

test_others_of_one_name_are_told_once if {
	others := [{"ref": ref, "kind": "Deployment", "name": "proxy"} | some ref in ["a", "b"]]
	found := rule.findings with input as object.union(judged(facts.unset, [reference]), {"others": others})
		with data.parameters["clusterip-none-missing"] as parameters
	some f in found
	count(split(f.msg, "\n")) == 2
}

test_others_that_it_leads_to if {
	safe_beside(facts.unset, [reference], "Deployment") == false
	safe_beside(facts.unset, [reference], "StatefulSet") == false
	safe_beside(unset({"name": "nginx-headless"}), [], "Deployment") == false
	safe_beside(unset({"name": "nginx-headless"}), [], "StatefulSet") == true
}
