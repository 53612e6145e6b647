package stsguard.rules["service-invalid_test"]

import data.stsguard.facts
import data.stsguard.rules["service-invalid"] as rule

judged(fields) := {"service": facts.with_fields(facts.service, fields), "statefulSets": []}

test_headless if {
	count(rule.findings) == 0 with input as judged({})
}

test_headless_without_cluster_ips if {
	count(rule.findings) == 0 with input as judged({"clusterIPs": []})
}

test_undecided if {
	count(rule.findings) == 0 with input as {"service": facts.unset, "statefulSets": []}
}

test_dual_stack if {
	count(rule.findings) == 0 with input as judged({"clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5", "fd00::5"]})
}

test_alias if {
	count(rule.findings) == 0 with input as {"service": facts.alias, "statefulSets": []}
}

test_none_with_other_types if {
	every type in ["NodePort", "LoadBalancer", "ExternalName"] {
		found := rule.findings with input as judged({"type": type})
		facts.headlines(found) == {$"Service \"nginx\" has clusterIP: None, which a Service of type {type} can't have"}
	}
}

test_alias_with_an_address if {
	found := rule.findings with input as judged({"type": "ExternalName", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"]})
	facts.headlines(found) == {"Service \"nginx\" has a cluster IP, which a Service of type ExternalName can't have"}
}

test_case_counts if {
	found := rule.findings with input as judged({"clusterIP": "none", "clusterIPs": [], "headless": false})
	facts.headlines(found) == {"Service \"nginx\" has clusterIP: none, which is neither an address nor None: the case counts"}
}

test_cluster_ips_alone if {
	found := rule.findings with input as judged({"clusterIP": "", "clusterIPs": ["None"]})
	facts.headlines(found) == {"Service \"nginx\" has clusterIPs, but no clusterIP"}
}

test_disagreement if {
	found := rule.findings with input as judged({"clusterIPs": ["10.0.0.5"]})
	facts.headlines(found) == {"Service \"nginx\" has clusterIP None, but clusterIPs begins with 10.0.0.5"}
}
