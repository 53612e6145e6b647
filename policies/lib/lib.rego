# What several rules need. Functions take what they look at as arguments, so
# that a rule's references to the input stand in the rule.
package stsguard.lib

# Why a Service that is to be headless can't simply be given clusterIP: None,
# each as the end of a sentence.
obstacles(service) := union({
	{$"its type is {service.type}" | service.type != "ClusterIP"},
	{"it has no selector" | count(service.selector) == 0},
	{"it has external IPs" | count(service.externalIPs) > 0},
	{"it has sessionAffinity: ClientIP" | service.sessionAffinity == "ClientIP"},
	{$"port {port.port} is also a node port" | some port in service.ports; port.nodePort != 0},
	{$"{service.controller} manages it" | service.controller != ""},
	{$"it sends port {port.port} on to {_target(port)}, and a headless Service remaps no port" |
		some port in service.ports
		port.podPort != port.port
	},
})

_target(port) := $"the pods' port {port.podPort}" if port.podPort != 0

_target(port) := $"a {port.protocol} port \"{port.targetPort}\" that no container is known to have" if port.podPort == 0

# Whether a Service stands for one pod, and so spreads nothing.
selects_one_pod(service) if {
	some label in ["statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"]
	service.selector[label]
}

# A headless Service that would govern the StatefulSet.
headless_service(set) := {
	"apiVersion": "v1",
	"kind": "Service",
	"metadata": {"name": set.serviceName, "namespace": set.namespace},
	"spec": object.union({"clusterIP": "None", "selector": _stable_labels(set)}, _ports(set)),
}

# The StatefulSet's own selector can't change, unlike its pods' other labels.
_stable_labels(set) := set.selector if count(set.selector) > 0

_stable_labels(set) := set.podLabels if count(set.selector) == 0

_ports(set) := {} if count(set.ports) == 0

# A Service takes each port and each name once.
_ports(set) := {"ports": [port |
	names := [_port_name(p) | some p in set.ports]
	numbers := [[p.port, p.protocol] | some p in set.ports]
	first_name := _first(names)
	first_number := _first(numbers)
	some i, p in set.ports
	first_name[names[i]] == i
	first_number[numbers[i]] == i
	port := {"name": names[i], "port": p.port, "protocol": p.protocol}
]} if {
	count(set.ports) > 0
}

# Where each key is for the first time. Of several, union_n keeps the last one.
_first(keys) := object.union_n(array.reverse([{key: i} | some i, key in keys]))

_port_name(p) := p.name if p.name != ""

_port_name(p) := $"{lower(p.protocol)}-{p.port}" if p.name == ""

# The name of the one headless Service among those that select the pods.
sole_headless(services) := name if {
	names := _headless(services)
	count(names) == 1
	some name in names
}

_headless(services) := {s.name | some s in services; s.headless; s.type == "ClusterIP"}

# The fix that names it in the StatefulSet. Pods that look each other up below
# the Service named now would have to be told, too.
naming(set, services) := {
	"title": concat(" ", array.concat([_name_it(sole_headless(services))], _tell_pods(set))),
	"safe": set.mentionsPeers == false,
	"inject": false,
	"patch": [{"op": "add", "path": "/spec/serviceName", "value": sole_headless(services)}],
}

naming(_, services) := {
	"title": $"Name one of the Services {concat(", ", names)} in spec.serviceName: they are headless and select these pods. The field can't be changed later.",
	"safe": false,
	"inject": false,
} if {
	names := [$"\"{name}\"" | some name in sort(_headless(services))]
	count(names) > 1
}

_name_it(service) := $"Name Service \"{service}\" in spec.serviceName: it is headless and selects these pods. The field can't be changed later."

_tell_pods(set) := [$"The pods look each other up below \"{set.serviceName}\": change that, too." | set.mentionsPeers]
