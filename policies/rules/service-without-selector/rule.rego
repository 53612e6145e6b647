# METADATA
# title: The governing Service has a selector
# description: >-
#   Without a selector Kubernetes makes no endpoints for the Service, so none of
#   the pods' names resolves, unless something else writes the endpoints.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors
# custom:
#   level: strict
#   subject: relation
#   remedy: >-
#     Give the Service a selector over the pod labels; or, if something writes its
#     endpoints, say so with stsguard.dev/ignore: service-without-selector.
package stsguard.rules["service-without-selector"]

findings contains {
	"object": input.statefulSet.ref,
	"path": "/spec/serviceName",
	"msg": $"Service \"{input.governing.name}\", which governs StatefulSet \"{input.statefulSet.name}\", has no selector",
} if {
	input.governing.headless == true
	input.governing.selectsPods == false
	count(input.governing.selector) == 0
}
