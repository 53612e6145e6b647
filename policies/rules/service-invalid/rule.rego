# METADATA
# title: The API server accepts the Service's cluster IP
# description: The API server refuses this Service, so nothing that depends on it works.
# related_resources:
#   - ref: https://kubernetes.io/docs/concepts/services-networking/service/#headless-services
# custom:
#   level: baseline
#   subject: service
#   refused: true
#   remedy: >-
#     For a headless Service set clusterIP: None, leave clusterIPs out and use type
#     ClusterIP or none; for any other type leave clusterIP out.
package stsguard.rules["service-invalid"]

findings contains {
	"object": input.service.ref,
	"path": "/spec/clusterIP",
	"msg": $"Service \"{input.service.name}\" has clusterIP: None, which a Service of type {input.service.type} can't have",
} if {
	input.service.clusterIP == "None"
	input.service.type in {"NodePort", "LoadBalancer", "ExternalName"}
}

findings contains {
	"object": input.service.ref,
	"path": "/spec/clusterIP",
	"msg": $"Service \"{input.service.name}\" has a cluster IP, which a Service of type ExternalName can't have",
} if {
	input.service.type == "ExternalName"
	not input.service.clusterIP in {"", "None"}
}

findings contains {
	"object": input.service.ref,
	"path": "/spec/clusterIP",
	"msg": $"Service \"{input.service.name}\" has clusterIP: {input.service.clusterIP}, which is neither an address nor None: the case counts",
} if {
	lower(input.service.clusterIP) == "none"
	input.service.clusterIP != "None"
}

findings contains {
	"object": input.service.ref,
	"path": "/spec/clusterIPs",
	"msg": $"Service \"{input.service.name}\" has clusterIPs, but no clusterIP",
} if {
	input.service.clusterIP == ""
	count(input.service.clusterIPs) > 0
}

findings contains {
	"object": input.service.ref,
	"path": "/spec/clusterIPs",
	"msg": $"Service \"{input.service.name}\" has clusterIP {input.service.clusterIP}, but clusterIPs begins with {input.service.clusterIPs[0]}",
} if {
	input.service.clusterIP != ""
	input.service.clusterIPs[0] != input.service.clusterIP
}
