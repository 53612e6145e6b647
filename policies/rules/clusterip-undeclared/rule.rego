# METADATA
# title: A Service for clients says that it is one
# description: >-
#   A Service with a cluster IP over the pods of a StatefulSet is right for clients
#   and wrong for peers. The annotation tells whoever reads it which one it is
#   meant to be. Types NodePort and LoadBalancer say so by themselves, and a
#   Service for one pod is right for both.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/services-networking/service/#headless-services
# custom:
#   level: advice
#   subject: relation
#   remedy: 'Annotate it with stsguard.dev/client-service: "true".'
package stsguard.rules["clusterip-undeclared"]

import data.stsguard.lib

findings contains {
	"object": service.ref,
	"path": "/metadata/annotations",
	"msg": $"Service \"{service.name}\" has a cluster IP, selects the pods of StatefulSet \"{input.statefulSet.name}\", and does not say that it is for clients",
} if {
	input.governing.headless == true
	some service in input.services
	not service.headless
	service.type == "ClusterIP"
	not lib.selects_one_pod(service)
	not service.annotations["stsguard.dev/client-service"] == "true"
}
