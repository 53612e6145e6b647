package stsguard.rules["selector-mismatch_test"]

import data.stsguard.facts
import data.stsguard.rules["selector-mismatch"] as rule

mismatched(selector, keys) := facts.with_fields(facts.relation, {"governing": facts.with_fields(facts.service, {
	"selector": selector, "unmatched": keys, "selectsPods": false,
})})

parameters := {"runtimeLabels": []}

test_match if {
	count(rule.findings) == 0 with input as facts.relation with data.parameters["selector-mismatch"] as parameters
}

test_missing_is_another_rule if {
	count(rule.findings) == 0 with input as facts.missing with data.parameters["selector-mismatch"] as parameters
}

test_external_name_is_another_rule if {
	alias := facts.with_fields(facts.alias, {"selector": {"app": "x"}})
	count(rule.findings) == 0 with input as facts.with_fields(facts.relation, {"governing": alias})
		with data.parameters["selector-mismatch"] as parameters
}

test_no_selector_is_another_rule if {
	count(rule.findings) == 0 with input as mismatched({}, []) with data.parameters["selector-mismatch"] as parameters
}

test_different if {
	found := rule.findings with input as mismatched({"app": "web"}, ["app"]) with data.parameters["selector-mismatch"] as parameters
	facts.headlines(found) == {"Service \"nginx\" does not select the pods of StatefulSet \"web\", which it governs"}
	facts.details(found) == {"It selects app=web, but the pods have app=nginx."}
}

test_absent if {
	found := rule.findings with input as mismatched({"app": "nginx", "tier": "db"}, ["tier"]) with data.parameters["selector-mismatch"] as parameters
	facts.details(found) == {"It selects tier=db, but the pods have no label tier."}
}

test_empty_value_is_a_value if {
	set := facts.with_fields(facts.set, {"podLabels": {"app": ""}})
	found := rule.findings with input as facts.with_fields(mismatched({"app": "nginx"}, ["app"]), {"statefulSet": set})
		with data.parameters["selector-mismatch"] as parameters
	facts.details(found) == {"It selects app=nginx, but the pods have app=."}
}

test_no_pod_labels if {
	set := facts.with_fields(facts.set, {"podLabels": {}})
	found := rule.findings with input as facts.with_fields(mismatched({"app": "nginx"}, ["app"]), {"statefulSet": set})
		with data.parameters["selector-mismatch"] as parameters
	facts.details(found) == {"It selects app=nginx, but the pods have no label app."}
}

test_runtime_labels if {
	count(rule.findings) == 0 with input as mismatched({"app": "nginx", "role": "master"}, ["role"])
		with data.parameters["selector-mismatch"] as {"runtimeLabels": ["role"]}
	count(rule.findings) == 1 with input as mismatched({"app": "x", "role": "master"}, ["app", "role"])
		with data.parameters["selector-mismatch"] as {"runtimeLabels": ["role"]}
}
