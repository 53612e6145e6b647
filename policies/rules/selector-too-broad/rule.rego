# METADATA
# title: The governing Service selects no other workload's pods
# description: >-
#   The Service's own name then resolves to pods of both, and whoever asks it for
#   a member of the StatefulSet may be given something else.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/services-networking/service/#headless-services
# custom:
#   level: strict
#   subject: relation
#   remedy: >-
#     Add a label to the selector that only the StatefulSet's pods have, such as
#     app.kubernetes.io/component.
package stsguard.rules["selector-too-broad"]

findings contains {
	"object": input.governing.ref,
	"path": "/spec/selector",
	"msg": $"Service \"{input.governing.name}\", which governs {_governed}, also selects the pods of {_others}",
} if {
	input.governing.headless == true
	input.workloads[0]
}

# All that it governs, so that it is told once.
_governed := $"StatefulSet \"{input.statefulSet.name}\"" if count(input.siblings) == 0

_governed := $"StatefulSets {concat(", ", sort(names))}" if {
	count(input.siblings) > 0
	names := {$"\"{name}\"" | some name in array.concat(input.siblings, [input.statefulSet.name])}
}

# Manifests can hold several of one name, for variants say.
_others := concat(", ", sort({$"{w.kind} \"{w.name}\"" | some w in input.workloads}))
