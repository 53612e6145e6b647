# METADATA
# title: The governing Service selects the pods
# description: >-
#   A Service makes DNS names only for pods that have every label of its
#   selector. The pods of this StatefulSet don't, so none of their names
#   resolves.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/services-networking/service/#services-in-kubernetes
# custom:
#   level: baseline
#   subject: relation
#   concern: governing
#   remedy: >-
#     Make the Service's selector a part of the pod labels. To change both, apply
#     one after the other: take the label out of the selector, change the pods, and
#     put it back after their rollout; or annotate the Service with
#     stsguard.dev/ignore: selector-mismatch meanwhile.
#   parameters:
#     runtimeLabels:
#       description: labels that something adds to running pods and that no template holds
#       default: []
package stsguard.rules["selector-mismatch"]

findings contains object.union(
	{
		"object": input.statefulSet.ref,
		"path": "/spec/template/metadata/labels",
		"msg": concat("\n", array.concat([_headline], [_reason(key) | some key in sort(_mismatched)])),
	},
	_fix,
) if {
	input.governing.selectsPods == false
	count(_mismatched) > 0
}

_mismatched := {key |
	input.governing.type != "ExternalName"
	some key in input.governing.unmatched
	not key in data.parameters["selector-mismatch"].runtimeLabels
}

_headline := $"Service \"{input.governing.name}\" does not select the pods of StatefulSet \"{input.statefulSet.name}\", which it governs"

_reason(key) := $"It selects {key}={input.governing.selector[key]}, but the pods have {key}={input.statefulSet.podLabels[key]}." if {
	input.statefulSet.podLabels[key]
}

_reason(key) := $"It selects {key}={input.governing.selector[key]}, but the pods have no label {key}." if {
	not input.statefulSet.podLabels[key]
}

default _fix := {}

# There is one way only where the pods have each label with another value, which
# the StatefulSet's own selector holds fast, and where nobody else is concerned.
_fix := {"fix": {
	"object": input.governing.ref,
	"safe": true,
	"inject": false,
	"patch": [{"op": "replace", "path": path, "value": input.statefulSet.podLabels[key]} |
		some key in sort(_mismatched)
		path := concat("/", ["/spec/selector", replace(replace(key, "~", "~0"), "/", "~1")])
	],
}} if {
	every key in _mismatched {
		input.statefulSet.selector[key] == input.statefulSet.podLabels[key]
	}
	input.governing.controller == ""
	count(input.candidates) == 1
	count(input.siblings) == 0
	count(input.workloads) == 0
	every other in input.services {
		not other.headless
	}
}
