package stsguard.rules["port-unnamed_test"]

import data.stsguard.facts
import data.stsguard.rules["port-unnamed"] as rule

unnamed := [{"name": "", "port": 80, "targetPort": "80", "podPort": 80, "nodePort": 0, "protocol": "TCP"}]

test_named if {
	count(rule.findings) == 0 with input as facts.relation
}

test_no_ports if {
	count(rule.findings) == 0 with input as facts.with_fields(facts.relation, {"governing": facts.with_fields(facts.service, {"ports": []})})
}

test_not_headless if {
	count(rule.findings) == 0 with input as facts.with_fields(facts.relation, {"governing": facts.with_fields(facts.allocated, {"ports": unnamed})})
}

test_unnamed if {
	found := rule.findings with input as facts.with_fields(facts.relation, {"governing": facts.with_fields(facts.service, {"ports": unnamed})})
	facts.headlines(found) == {"Port 80 of Service \"nginx\" has no name, so it gets no SRV record"}
}
