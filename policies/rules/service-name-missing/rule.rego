# METADATA
# title: A StatefulSet names its governing Service
# description: >-
#   Without serviceName the pods get no DNS names of their own, such as
#   web-0.web, and peers that look each other up by name fail.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#stable-network-id
# custom:
#   level: baseline
#   subject: relation
#   concern: governing
#   remedy: >-
#     Name a headless Service (clusterIP: None) that selects the pods. serviceName
#     can't be changed once the StatefulSet exists.
package stsguard.rules["service-name-missing"]

import data.stsguard.lib

findings contains object.union(
	{
		"object": input.statefulSet.ref,
		"path": "/spec/serviceName",
		"msg": $"StatefulSet \"{input.statefulSet.name}\" has no serviceName",
	},
	_fix,
) if {
	input.statefulSet.serviceName == ""
}

default _fix := {}

_fix := {"fix": lib.naming(input.statefulSet, input.services)}
