# METADATA
# title: The governing Service's ports have names
# description: >-
#   DNS has SRV records, which tell members and their ports, for named ports only.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#srv-records
# custom:
#   level: advice
#   subject: relation
#   remedy: Give the port a name.
package stsguard.rules["port-unnamed"]

findings contains {
	"object": input.governing.ref,
	"path": $"/spec/ports/{i}",
	"msg": $"Port {port.port} of Service \"{input.governing.name}\" has no name, so it gets no SRV record",
} if {
	input.governing.headless == true
	some i, port in input.governing.ports
	port.name == ""
}
