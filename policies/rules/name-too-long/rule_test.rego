package stsguard.rules["name-too-long_test"]

import data.stsguard.facts
import data.stsguard.rules["name-too-long"] as rule

long(n) := facts.with_fields(facts.relation, {"statefulSet": facts.with_fields(facts.set, {"name": concat("", [c | some _ in numbers.range(1, n); c := "a"])})})

test_52_fit if {
	count(rule.findings) == 0 with input as long(52)
}

test_53_may_not if {
	count(rule.findings) == 1 with input as long(53)
}

test_no_name_yet if {
	count(rule.findings) == 0 with input as facts.with_fields(facts.bare, {"statefulSet": facts.with_fields(facts.bare.statefulSet, {"name": ""})})
}
