# METADATA
# title: Peers that look each other up before they are ready are found
# description: >-
#   A pod's name resolves only while the pod is ready. Where members look each
#   other up in order to become ready, none ever does.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-network-id
# custom:
#   level: advice
#   subject: relation
#   remedy: >-
#     Set publishNotReadyAddresses: true on the governing Service, and serve clients
#     with a second one.
package stsguard.rules["not-ready-addresses"]

findings contains {
	"object": input.governing.ref,
	"path": "/spec/publishNotReadyAddresses",
	"msg": $"StatefulSet \"{input.statefulSet.name}\" uses its pods' names below Service \"{input.governing.name}\", which hides pods that are not ready",
} if {
	input.governing.headless == true
	input.governing.publishNotReadyAddresses == false
	input.statefulSet.mentionsOwnPods == true
	input.statefulSet.replicas > 1
}
