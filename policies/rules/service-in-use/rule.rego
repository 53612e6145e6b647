# METADATA
# title: A governing Service outlives its StatefulSet
# description: >-
#   Once the Service is gone no name of the StatefulSet's pods resolves any more,
#   while the pods go on to run.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-network-id
# custom:
#   level: strict
#   subject: change
#   operations: [DELETE]
#   remedy: >-
#     Delete the StatefulSet first, or, if it stays, create the Service again at
#     once. Where its deletion is denied, annotate it with stsguard.dev/ignore:
#     service-in-use.
package stsguard.rules["service-in-use"]

findings contains {
	"object": input.before.service.ref,
	"path": "",
	"msg": $"Service \"{input.before.service.name}\" still governs {_governed}",
} if {
	count(input.statefulSets) > 0
}

_governed := concat(", ", [$"StatefulSet \"{set.name}\"" | some set in input.statefulSets])
