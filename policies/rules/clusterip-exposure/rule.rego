# METADATA
# title: A cluster IP stands beside a headless Service, not in its place
# description: >-
#   A Service with a cluster IP spreads requests over pods that are not
#   interchangeable. That is right for clients when a headless Service gives the
#   pods their names; here nothing does.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/services-networking/service/#headless-services
# custom:
#   level: baseline
#   subject: relation
#   follows: governing
#   remedy: >-
#     Fix the StatefulSet's governing Service first. A Service with a cluster IP
#     beside a headless one is the right way to serve clients.
package stsguard.rules["clusterip-exposure"]

import data.stsguard.lib

findings contains {
	"object": service.ref,
	"path": "/spec/selector",
	"msg": $"Service \"{service.name}\" has a cluster IP and selects the pods of StatefulSet \"{input.statefulSet.name}\", but {reason}",
	"atMostWarn": input.governing.found == false,
} if {
	input.governing.headless == false
	some service in input.services
	not service.headless
	not lib.selects_one_pod(service)
	reason := _reason
}

_reason := "that names no Service to govern it" if input.statefulSet.serviceName == ""

_reason := $"Service \"{input.statefulSet.serviceName}\", which should govern it, does not exist" if {
	input.governing.found == false
	input.statefulSet.serviceName != ""
}

_reason := $"Service \"{input.governing.name}\", which governs it, is not headless" if input.governing.found == true
