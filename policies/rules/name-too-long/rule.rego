# METADATA
# title: A StatefulSet's name has at most 52 characters
# description: >-
#   Each pod is labelled with the StatefulSet's name and a hash of up to ten
#   characters, and a label holds 63. With a longer name pods may never be
#   created, depending on the hash, which changes with each update.
# related_resources:
#   - ref: https://github.com/kubernetes/kubernetes/issues/64023
# custom:
#   level: baseline
#   subject: relation
#   remedy: Choose a name of at most 52 characters.
package stsguard.rules["name-too-long"]

findings contains {
	"object": input.statefulSet.ref,
	"path": "/metadata/name",
	"msg": $"StatefulSet \"{input.statefulSet.name}\" has a name of {count(input.statefulSet.name)} characters: over 52 its pods may never be created",
} if {
	count(input.statefulSet.name) > 52
}
