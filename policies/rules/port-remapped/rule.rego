# METADATA
# title: A headless Service's ports are the pods' own
# description: >-
#   The names below a headless Service resolve to the pods themselves, and nothing
#   on the way sends a port on to another one. Whoever connects to the Service's
#   port finds it closed.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/services-networking/service/#headless-services
# custom:
#   level: strict
#   subject: relation
#   remedy: >-
#     Make the port the one that the container listens on, and leave remapping to a
#     second Service with a cluster IP.
package stsguard.rules["port-remapped"]

findings contains {
	"object": input.governing.ref,
	"path": $"/spec/ports/{i}/port",
	"msg": $"Headless Service \"{input.governing.name}\" has port {port.port}, but the pods listen on {port.podPort}",
} if {
	input.governing.headless == true
	input.governing.remaps == true
	some i, port in input.governing.ports
	port.podPort != 0
	port.podPort != port.port
	not {"port": port.port, "protocol": port.protocol} in _listened
}

# Where the pods listen on it, too, the Service's port leads somewhere.
_listened := {{"port": p.port, "protocol": p.protocol} | some p in input.statefulSet.ports}
