# METADATA
# title: The governing Service exists
# description: >-
#   Kubernetes never checks that the Service named by serviceName exists. The
#   pods start all the same, but no name such as web-0.web resolves, and peers
#   don't find each other.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-network-id
# custom:
#   level: baseline
#   subject: relation
#   concern: governing
#   remedy: Create the headless Service before the StatefulSet, or correct spec.serviceName.
package stsguard.rules["service-not-found"]

import data.stsguard.lib

findings contains object.union(
	{
		"object": input.statefulSet.ref,
		"path": "/spec/serviceName",
		"msg": concat("\n", array.concat([_headline], _hints)),
	},
	_fix,
) if {
	input.governing.found == false
	input.statefulSet.serviceName != ""
}

_headline := $"StatefulSet \"{input.statefulSet.name}\" names Service \"{input.statefulSet.serviceName}\", which does not exist in namespace \"{input.statefulSet.namespace}\""

default _fix := {}

# Without pod labels there is nothing that a Service could select.
_fix := {"fix": object.union(_naming, {
	"title": _title,
	"create": lib.headless_service(input.statefulSet),
})} if {
	count(input.statefulSet.podLabels) > 0
}

default _naming := {"safe": false, "inject": false}

_naming := lib.naming(input.statefulSet, input.services)

_title := "Create this headless Service first." if count(input.nearMisses) == 0

_title := "Correct spec.serviceName, or create this headless Service first." if count(input.nearMisses) > 0

_hints := array.concat(
	[$"Did you mean \"{near.name}\"? {_description(near)}" | some near in input.nearMisses],
	[$"There is one in namespace {concat(", ", input.elsewhere)}, but a StatefulSet's Service must be in its own." |
		count(input.elsewhere) > 0
	],
)

_description(s) := "It is headless and selects these pods." if {
	s.headless
	s.selectsPods
}

_description(s) := "It is headless, but does not select these pods." if {
	s.headless
	not s.selectsPods
}

_description(s) := "It selects these pods, but is not headless." if {
	not s.headless
	s.selectsPods
}

_description(s) := "It is not headless and does not select these pods." if {
	not s.headless
	not s.selectsPods
}
