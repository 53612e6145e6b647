package stsguard.rules["service-name-missing_test"]

import data.stsguard.facts
import data.stsguard.rules["service-name-missing"] as rule

test_named if {
	count(rule.findings) == 0 with input as facts.relation
}

test_not_named if {
	facts.headlines(rule.findings) == {"StatefulSet \"web\" has no serviceName"} with input as facts.bare
}
