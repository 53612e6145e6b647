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

fixed(input_) := {f.fix | some f in found} if {
	found := rule.findings with input as input_ with data.parameters["selector-mismatch"] as parameters
}

test_selects_what_the_pods_have if {
	some fix in fixed(mismatched({"app": "web"}, ["app"]))
	fix.object == "service"
	fix.safe == true
	fix.patch == [{"op": "replace", "path": "/spec/selector/app", "value": "nginx"}]
}

test_key_with_a_slash if {
	labels := {"app.kubernetes.io/name": "nginx"}
	set := facts.with_fields(facts.set, {"podLabels": labels, "selector": labels})
	some fix in fixed(facts.with_fields(mismatched({"app.kubernetes.io/name": "web"}, ["app.kubernetes.io/name"]), {"statefulSet": set}))
	[op.path | some op in fix.patch] == ["/spec/selector/app.kubernetes.io~1name"]
}

test_no_fix_where_there_is_another_way if {
	wrong := mismatched({"app": "web"}, ["app"])
	every fields in [
		{"statefulSet": facts.with_fields(facts.set, {"podLabels": {}})},
		{"statefulSet": facts.with_fields(facts.set, {"selector": {}})},
		{"governing": facts.with_fields(wrong.governing, {"controller": "Redis/a"})},
		{"candidates": [wrong.governing, wrong.governing]},
		{"siblings": ["other"]},
		{"workloads": [{"ref": "w", "kind": "Deployment", "name": "w"}]},
		{"services": [facts.with_fields(facts.service, {"name": "other"})]},
	] {
		fixed(facts.with_fields(wrong, fields)) == set()
	}
	count(fixed(facts.with_fields(wrong, {"services": [facts.allocated]}))) == 1
}
