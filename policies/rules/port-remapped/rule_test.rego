package stsguard.rules["port-remapped_test"]

import data.stsguard.facts
import data.stsguard.rules["port-remapped"] as rule

port(n, target) := {"name": "", "port": n, "targetPort": "x", "podPort": target, "nodePort": 0, "protocol": "TCP"}

with_ports(service, ports) := facts.with_fields(facts.relation, {"governing": facts.with_fields(service, {"ports": ports, "remaps": true})})

test_same if {
	count(rule.findings) == 0 with input as facts.relation
}

test_no_ports if {
	count(rule.findings) == 0 with input as with_ports(facts.service, [])
}

test_a_name_that_is_not_known if {
	count(rule.findings) == 0 with input as with_ports(facts.service, [port(80, 0)])
}

test_a_cluster_ip_remaps if {
	count(rule.findings) == 0 with input as with_ports(facts.allocated, [port(80, 8080)])
}

test_missing_is_another_rule if {
	count(rule.findings) == 0 with input as facts.missing
}

test_the_pods_listen_on_both if {
	count(rule.findings) == 0 with input as with_ports(facts.service, [port(80, 8080)])
}

test_another_protocol_is_another_port if {
	count(rule.findings) == 1 with input as with_ports(facts.service, [object.union(port(80, 8080), {"protocol": "UDP"})])
}

test_remapped if {
	found := rule.findings with input as with_ports(facts.service, [port(81, 81), port(82, 8080)])
	facts.headlines(found) == {"Headless Service \"nginx\" has port 82, but the pods listen on 8080"}
	{f.path | some f in found} == {"/spec/ports/1/port"}
}
