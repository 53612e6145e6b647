# METADATA
# title: A governing Service serves one StatefulSet
# description: >-
#   The Service's own name resolves to the pods of all of them, and its ports and
#   publishNotReadyAddresses have to suit them all. Where its selector has
#   app.kubernetes.io/name they are one application, and that is meant.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-network-id
# custom:
#   level: advice
#   subject: relation
#   remedy: Give each StatefulSet a headless Service of its own; or, if they are one application, select app.kubernetes.io/name.
package stsguard.rules["service-shared"]

findings contains {
	"object": input.governing.ref,
	"path": "/metadata/name",
	"msg": $"Service \"{input.governing.name}\" governs several StatefulSets: {_all}",
} if {
	input.governing.headless == true
	count(input.siblings) > 0
	not input.governing.selector["app.kubernetes.io/name"]
}

_all := concat(", ", sort({name | some name in array.concat(input.siblings, [input.statefulSet.name])}))
