# METADATA
# title: The governing Service is not an ExternalName
# description: >-
#   An ExternalName is an alias for a host elsewhere. It has no endpoints, so no
#   pod of the StatefulSet gets a DNS name.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/services-networking/service/#externalname
# custom:
#   level: baseline
#   subject: relation
#   concern: governing
#   remedy: >-
#     Replace it with a headless Service (clusterIP: None) that selects the pods,
#     or name one in serviceName.
package stsguard.rules["service-external-name"]

import data.stsguard.lib

findings contains object.union(
	{
		"object": input.statefulSet.ref,
		"path": "/spec/serviceName",
		"msg": $"Service \"{input.governing.name}\", which governs StatefulSet \"{input.statefulSet.name}\", is an ExternalName: an alias for \"{input.governing.externalName}\"",
	},
	_fix,
) if {
	input.governing.type == "ExternalName"
}

default _fix := {}

_fix := {"fix": lib.naming(input.statefulSet, input.services)}
