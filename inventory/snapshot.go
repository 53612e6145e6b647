package inventory

import "fmt"

// Snapshot is what could be read of a cluster at one time.
type Snapshot struct {
	Store *Store
	// Unread is what may not be read, and is missing from the Store.
	Unread []Permission
}

// Permission is what somebody may do in a cluster, or may not.
type Permission struct {
	// Verb is get or list, Resource the plural name of the kind.
	Verb, Resource string
	// Namespace is empty for all of them. To get a namespace, it is its name.
	Namespace string
}

// String says it as "list services in namespace shop".
func (p Permission) String() string {
	switch {
	case p.Namespace == "":
		return fmt.Sprintf("%s %s in all namespaces", p.Verb, p.Resource)
	case p.Resource == "namespaces":
		return fmt.Sprintf("get namespace %s", p.Namespace)
	}
	return fmt.Sprintf("%s %s in namespace %s", p.Verb, p.Resource, p.Namespace)
}

// Whole says whether all Services and StatefulSets of the namespace were read.
func (s *Snapshot) Whole(namespace string) bool {
	return s.Permitted("services", namespace) && s.Permitted("statefulsets", namespace)
}

// Permitted says whether the kind's objects in the namespace were read.
func (s *Snapshot) Permitted(resource, namespace string) bool {
	for _, p := range s.Unread {
		if p.Resource == resource && (p.Namespace == "" || p.Namespace == namespace) {
			return false
		}
	}
	return true
}
