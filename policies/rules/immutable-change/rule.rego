# METADATA
# title: A change leaves alone what can't be changed
# description: >-
#   A Service's cluster IP and a StatefulSet's serviceName and selector are set
#   once. The API server refuses an update that changes them, so an apply or a
#   Helm upgrade stops there.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#limitations
#   - ref: https://kubernetes.io/docs/concepts/services-networking/service/#headless-services
# custom:
#   level: baseline
#   subject: change
#   operations: [UPDATE]
#   refused: true
#   remedy: >-
#     Leave the field as it is in the cluster, or let stsguard migrate
#     statefulset/NAME plan how a running StatefulSet comes by a headless Service.
package stsguard.rules["immutable-change"]

findings contains {
	"object": input.after.service.ref,
	"path": "/spec/clusterIP",
	"msg": concat("\n", array.concat([_headline], _governed)),
	"fix": {"title": _mend, "safe": false, "inject": false},
} if {
	input.kind == "Service"
	input.before.service.type != "ExternalName"
	input.after.service.type != "ExternalName"
	input.before.service.clusterIP != ""
	input.after.service.clusterIP != input.before.service.clusterIP
}

_headline := $"Service \"{input.after.service.name}\" has {_address(input.before.service)} in the cluster, which can't be changed to {_address(input.after.service)}"

_address(service) := $"clusterIP: {service.clusterIP}" if service.clusterIP != ""

_address(service) := "none given" if service.clusterIP == ""

_governed := [$"It governs {concat(", ", [$"StatefulSet \"{set.name}\"" | some set in input.statefulSets])}, whose names don't resolve while it is gone." |
	count(input.statefulSets) > 0
]

_mend := $"Run `stsguard migrate statefulset/{input.statefulSets[0].name} -n {input.after.service.namespace}`: it plans the steps to a headless Service of another name, which clients of \"{input.after.service.name}\" don't notice, or with --keep-name of this one. Then apply again." if {
	input.after.service.headless
	count(input.statefulSets) > 0
} else := $"Create a headless Service of another name, which clients of \"{input.after.service.name}\" don't notice; or run `kubectl -n {input.after.service.namespace} delete service {input.after.service.name}` and apply again." if {
	input.after.service.headless
} else := $"Leave clusterIP as it is, or run `kubectl -n {input.after.service.namespace} delete service {input.after.service.name}` and apply again."

findings contains {
	"object": input.after.statefulSet.ref,
	"path": "/spec/serviceName",
	"msg": $"StatefulSet \"{input.after.statefulSet.name}\" has {_service_name(input.before.statefulSet)} in the cluster, which can't be changed to {_service_name(input.after.statefulSet)}",
	"fix": {"title": _adopted, "safe": false, "inject": false},
} if {
	input.kind == "StatefulSet"
	input.after.statefulSet.serviceName != input.before.statefulSet.serviceName
}

findings contains {
	"object": input.after.statefulSet.ref,
	"path": "/spec/selector",
	"msg": $"StatefulSet \"{input.after.statefulSet.name}\" selects {_selector(input.before.statefulSet)} in the cluster, which can't be changed to {_selector(input.after.statefulSet)}",
	"fix": {"title": _made_anew, "safe": false, "inject": false},
} if {
	input.kind == "StatefulSet"
	input.after.statefulSet.selector != input.before.statefulSet.selector
}

_service_name(set) := $"serviceName: {set.serviceName}" if set.serviceName != ""

_service_name(set) := "no serviceName" if set.serviceName == ""

_selector(set) := concat(",", sort([$"{key}={value}" | some key, value in set.selector])) if count(set.selector) > 0

_selector(set) := "by no label" if count(set.selector) == 0

_adopted := $"Run `stsguard migrate statefulset/{input.after.statefulSet.name} -n {input.after.statefulSet.namespace} --service {input.after.statefulSet.serviceName}`: it plans how the StatefulSet is exchanged while its pods run on, and how they get their new names. Then apply again." if {
	input.after.statefulSet.serviceName != ""
} else := "Leave serviceName as it is: without one the pods have no DNS names."

# It would not take over pods that it doesn't select.
_made_anew := $"Leave the selector as it is, or run `kubectl -n {input.after.statefulSet.namespace} delete statefulset {input.after.statefulSet.name}`, which stops the pods and keeps their volumes, and apply again."
