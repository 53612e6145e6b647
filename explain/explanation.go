// Package explain tells which DNS names the pods of a StatefulSet have, whether
// they resolve, and why not: as JSON for other tools and as text for a person.
package explain

import (
	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/report"
)

// The apiVersion and kind of an explanation as JSON.
const (
	APIVersion = report.APIVersion
	Kind       = "Explanation"
)

// Explanation is the answer to one question, as other tools rely on it.
// Outcomes are always (as long as the Service exists), once-running (as soon as
// the pod has an address), once-ready (as long as the pod is ready), never,
// not-promised (the specification doesn't say) and unknown; a name that the
// pods of a Service share resolves once one of them does.
type Explanation struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// ClusterDomain is what the names end in.
	ClusterDomain string `json:"clusterDomain"`
	// StatefulSets are all of that name and namespace: manifests can hold
	// several, in the order in which they are read.
	StatefulSets []StatefulSet `json:"statefulSets"`
	// Errors are inputs that could not be read.
	Errors []report.Error `json:"errors"`
}

// StatefulSet is one of them with the names of its pods.
type StatefulSet struct {
	Object
	ServiceName string `json:"serviceName"`
	Replicas    int32  `json:"replicas"`
	// Guaranteed says that the name of every pod resolves on every DNS server
	// that keeps to the Kubernetes DNS specification, once the pod is there.
	// Without replicas it speaks of the pod that would be first.
	Guaranteed bool `json:"guaranteed"`
	// Governing is the Service that serviceName names, null if there is none
	// or it could not be read.
	Governing *Service `json:"governing"`
	// Pods are in order of their ordinals, the first thousand of them.
	Pods []Pod `json:"pods"`
	// PodsOmitted is how many pods there are beyond those.
	PodsOmitted int64 `json:"podsOmitted"`
	// Records are the governing Service's own names: its A or CNAME record,
	// and the SRV record of each of its named ports.
	Records []Record `json:"records"`
	// Reasons are all that names are not guaranteed for, each once.
	Reasons []Reason `json:"reasons"`
	// Services are the others that select pods. They give the pods no names.
	Services []Selecting `json:"services"`
	// Selected is what else the governing Service selects pods of.
	Selected []Object `json:"selected"`
	// Siblings are the other StatefulSets that the same Service governs.
	Siblings []Object `json:"siblings"`

	// names is what the text is written from.
	names *inventory.Names
}

// Object is a Kubernetes object. It has no location in a cluster.
type Object struct {
	Kind      string           `json:"kind"`
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	Location  *report.Location `json:"location,omitempty"`
}

// Service is a Service.
type Service struct {
	Object
	// Type is ClusterIP, NodePort, LoadBalancer or ExternalName.
	Type     string `json:"type"`
	Headless bool   `json:"headless"`
	// Selector is empty where Kubernetes makes no endpoints.
	Selector                 map[string]string `json:"selector"`
	PublishNotReadyAddresses bool              `json:"publishNotReadyAddresses"`
}

// Selecting is a Service that selects pods of the StatefulSet.
type Selecting struct {
	Service
	// Pods are those that it selects, as "web-0" or "web-0..web-9" for all from
	// the one to the other.
	Pods []string `json:"pods"`
	// Unknown are the keys of labels of running pods, on which it depends
	// whether the Service selects those pods.
	Unknown []string `json:"unknown"`
}

// Pod is one pod's name.
type Pod struct {
	Ordinal int64  `json:"ordinal"`
	Pod     string `json:"pod"`
	// Name is fully qualified, and empty where serviceName is.
	Name string `json:"name"`
	Prospect
}

// Record is all records of one name and type.
type Record struct {
	Name string `json:"name"`
	// Type is A, CNAME or SRV. An address of IPv6 is an AAAA record instead.
	Type string `json:"type"`
	Prospect
	// Answer is pods, where each pod's address, or for SRV its name, is one;
	// cluster-ip, alias or service where the fields below say what it is.
	Answer string `json:"answer"`
	// Addresses are the cluster IPs, empty as long as none is given.
	Addresses []string `json:"addresses"`
	// Target is the name that a CNAME or SRV record leads to.
	Target string `json:"target"`
	// Port is that of an SRV record, as CoreDNS answers it. It is 0 where the
	// pods have none of that name.
	Port int32 `json:"port"`
}

// Prospect is what becomes of a name.
type Prospect struct {
	Specification string `json:"specification"`
	CoreDNS       string `json:"coreDNS"`
	// Because are the codes of the reasons why it is not guaranteed.
	Because []string `json:"because"`
}

// Reason is why names are not guaranteed.
type Reason struct {
	// Code is the id of the rule that finds the same, if there is one.
	Code    string `json:"code"`
	Message string `json:"message"`
}
