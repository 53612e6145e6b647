# METADATA
# title: It is plain which Service governs a StatefulSet
# description: >-
#   Only one of these can exist in a cluster. Which one depends on the order in
#   which the manifests are applied, and only one of them was checked.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
# custom:
#   level: advice
#   subject: relation
#   remedy: Keep one of them, or check each set of manifests that is applied together by itself.
package stsguard.rules["service-ambiguous"]

findings contains {
	"object": input.governing.ref,
	"path": "/metadata/name",
	"msg": $"There are {count(input.candidates)} Services \"{input.governing.name}\" at the same distance from StatefulSet \"{input.statefulSet.name}\"",
} if {
	count(_different) > 1
}

# It makes no difference which of several equal ones is there.
_different := {object.remove(candidate, ["ref"]) | some candidate in input.candidates}
