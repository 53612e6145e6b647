# METADATA
# title: A Service that is meant to be headless says so
# description: >-
#   Without clusterIP: None the API server gives the Service a cluster IP, which
#   can't be taken away again, and the pods' DNS names are not guaranteed.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/services-networking/service/#headless-services
# custom:
#   level: strict
#   subject: service
#   yields_to: service-not-headless
#   remedy: >-
#     Set clusterIP: None when the Service is created; or, if it is not meant to be
#     headless, choose a name that doesn't say so.
#   parameters:
#     nameSuffixes:
#       description: endings of a Service's name that say that it is meant to be headless
#       default: ["-headless"]
package stsguard.rules["clusterip-none-missing"]

import data.stsguard.lib

findings contains object.union(
	{
		"object": input.service.ref,
		"path": "/spec/clusterIP",
		"msg": concat("\n", array.concat([$"Service \"{input.service.name}\" does not say clusterIP: None, but {_meant}"], _hints)),
	},
	_fix,
) if {
	input.service.headless == false
	input.service.type != "ExternalName"
	_meant
}

_meant := $"StatefulSet \"{input.statefulSets[0].name}\" is governed by it" if {
	count(input.statefulSets) > 0
} else := "its annotation stsguard.dev/governing says that it governs a StatefulSet" if {
	input.service.annotations["stsguard.dev/governing"] == "true"
} else := $"its name ends in {_suffixes[0]}" if {
	some suffix in data.parameters["clusterip-none-missing"].nameSuffixes
	endswith(input.service.name, suffix)
}

_suffixes := [suffix |
	some suffix in data.parameters["clusterip-none-missing"].nameSuffixes
	endswith(input.service.name, suffix)
]

_hints := array.concat(
	[$"It can't simply be made headless: {reason}." | some reason in sort(lib.obstacles(input.service))],
	sort({$"It also selects the pods of {other.kind} \"{other.name}\", whose clients would notice." |
		_leads_elsewhere
		some other in input.others
	}),
)

default _fix := {}

_fix := {"fix": {
	"title": "Set clusterIP: None.",
	"safe": _only_way,
	"inject": _may_inject,
	"patch": [{"op": "add", "path": "/spec/clusterIP", "value": "None"}],
}} if {
	input.service.undecided == true
	every address in input.service.clusterIPs {
		address == "None"
	}
	count(lib.obstacles(input.service)) == 0
	every set in input.statefulSets {
		set.selected
	}
}

default _only_way := false

# Where a headless Service stands beside it, the StatefulSet can name that one,
# and this one may be for clients. So it may where it leads to more than what it
# governs.
_only_way if {
	count(input.beside) == 0
	not _leads_elsewhere
}

_leads_elsewhere if {
	count(input.statefulSets) > 0
	count(input.others) > 0
}

_leads_elsewhere if {
	some other in input.others
	other.kind != "StatefulSet"
}

default _may_inject := false

_may_inject if {
	count(input.service.clusterIPs) == 0
	not _opted_out
}

_opted_out if input.service.annotations["stsguard.dev/inject"] == "false"
