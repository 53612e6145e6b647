package main

// step is one command, what is expected of it, and what must be in its output.
type step struct {
	// say is what the step shows, in a sentence.
	say string
	// run is a command line as a user would type it.
	run    string
	expect outcome
	// holds must all be in the output; lacks must not.
	holds, lacks []string
	// eventually repeats a query until it holds, since controllers take their
	// time.
	eventually bool
}

type outcome string

const (
	accepted outcome = "accepted"
	warned   outcome = "accepted, with a warning from stsguard"
	denied   outcome = "denied by stsguard"
	refused  outcome = "refused by kubectl itself"
	printed  outcome = "printed"
	clean    outcome = "exit code 0"
	failing  outcome = "exit code 1"
)

type chapter struct {
	title string
	steps []step
}

var story = []chapter{
	{"A headless Service and its StatefulSet", []step{
		{run: "kubectl create namespace shop", expect: accepted},
		{say: "The pair is right.", run: "kubectl -n shop apply -f pair.yaml", expect: accepted},
		{say: "The controller makes both pods, each with a hostname below the Service's name.",
			run:    `kubectl -n shop get pods -o jsonpath={range.items[*]}{.metadata.name}={.spec.hostname}.{.spec.subdomain}{"\n"}{end}`,
			expect: printed, holds: []string{"web-0=web-0.nginx", "web-1=web-1.nginx"}, eventually: true},
	}},
	{"A Service that isn't there", []step{
		{say: "The message holds the Service that is missing, ready to be applied.",
			run: "kubectl -n shop apply -f missing.yaml", expect: denied,
			holds: []string{"[service-not-found]", `Service "db", which does not exist in namespace "shop"`, "kind: Service", "clusterIP: None", "app: db", "port: 5432"}},
		{say: "A near miss is named.",
			run: "kubectl -n shop apply -f near-miss.yaml", expect: denied,
			holds: []string{"service/cache-headless created", `Did you mean "cache-headless"? It is headless and selects these pods.`}},
	}},
	{"A Service that can't govern", []step{
		{run: "kubectl create namespace wrong", expect: accepted},
		{say: "It has a cluster IP.",
			run: "kubectl -n wrong apply -f cluster-ip.yaml", expect: denied, holds: []string{"service/db created", "[service-not-headless]", "its cluster IP is"}},
		{run: "kubectl -n wrong delete service db", expect: accepted},
		{say: "It is an alias for another host.",
			run: "kubectl -n wrong apply -f external-name.yaml", expect: denied, holds: []string{"service/db created", "[service-external-name]", `alias for "db.example.com"`}},
		{say: "The StatefulSet names none.",
			run: "kubectl -n wrong apply -f no-name.yaml", expect: denied, holds: []string{"[service-name-missing]", "has no serviceName"}},
		{say: "It selects other pods: both sides are named.",
			run: "kubectl -n wrong apply -f selector.yaml", expect: denied, holds: []string{"service/nginx created", "[selector-mismatch]", "It selects app=web, but the pods have app=nginx."}},
	}},
	{"Serving clients", []step{
		{say: "kubectl doesn't expose a StatefulSet.",
			run: "kubectl -n shop expose statefulset web --port=80", expect: refused, holds: []string{"cannot expose a StatefulSet.apps"}},
		{say: "The way is a second Service beside the headless one.",
			run: "kubectl -n shop apply -f public.yaml", expect: accepted},
	}},
	{"A cluster IP in the place of a headless Service", []step{
		{run: "kubectl create namespace old", expect: accepted},
		{say: "This namespace only warns.",
			run: "kubectl label namespace old stsguard.dev/enforce=none", expect: accepted},
		{say: "So a wrong pair can be made.",
			run: "kubectl -n old apply -f cluster-ip.yaml", expect: warned, holds: []string{"service/db created", "statefulset.apps/db created", "[service-not-headless]"}},
		{run: "kubectl label namespace old stsguard.dev/enforce-", expect: accepted},
		{say: "From now on it is enforced: no further cluster IP over the same pods.",
			run: "kubectl -n old apply -f public-db.yaml", expect: denied, holds: []string{"[clusterip-exposure]", `Service "db-public"`, `StatefulSet "db"`}},
		{say: "What was wrong before goes on to work.",
			run: "kubectl -n old annotate statefulset db team=payments", expect: warned, holds: []string{"statefulset.apps/db annotated", "[service-not-headless]"}},
		{say: "Repairing it in steps is never locked out: first an alias,",
			run:    `kubectl -n old patch service db -p {"spec":{"type":"ExternalName","externalName":"db.example.com","clusterIP":null,"clusterIPs":null}}`,
			expect: warned, holds: []string{"service/db patched", "[service-external-name]"}},
		{say: "then headless.",
			run:    `kubectl -n old patch service db -p {"spec":{"type":"ClusterIP","externalName":null,"clusterIP":"None"}}`,
			expect: accepted, holds: []string{"service/db patched"}},
		{say: "Now a Service for clients is welcome.",
			run: "kubectl -n old apply -f public-db.yaml", expect: accepted},
	}},
	{"clusterIP: None is filled in", []step{
		{run: "kubectl create namespace late", expect: accepted},
		{run: "kubectl label namespace late stsguard.dev/enforce=none", expect: accepted},
		{say: "The StatefulSet comes first here, which is only warned of.",
			run: "kubectl -n late apply -f set.yaml", expect: warned, holds: []string{"[service-not-found]"}},
		{run: "kubectl label namespace late stsguard.dev/enforce-", expect: accepted},
		{say: "A port that a headless Service could not send on: nothing is filled in, and the reason is given.",
			run: "kubectl -n late apply -f remapped.yaml", expect: denied, holds: []string{"[service-not-headless]", "it sends port 80 on to the pods' port 8080"}},
		{say: "Nothing speaks against it here.",
			run: "kubectl -n late apply -f unset.yaml", expect: warned, holds: []string{"service/nginx created", "stsguard has set clusterIP: None"}},
		{say: "That is what is stored.",
			run: "kubectl -n late get service nginx -o jsonpath={.spec.clusterIP}", expect: printed, holds: []string{"None"}},
	}},
	{"Updates", []step{
		{run: "kubectl create namespace updates", expect: accepted},
		{run: "kubectl -n updates apply -f labelled.yaml", expect: accepted},
		{say: "A selector that no longer matches.",
			run: `kubectl -n updates patch service nginx -p {"spec":{"selector":{"tier":"db"}}}`, expect: denied, holds: []string{"[selector-mismatch]", "It selects tier=db, but the pods have tier=web."}},
		{say: "Pod labels that no longer match.",
			run:    `kubectl -n updates patch statefulset web -p {"spec":{"template":{"metadata":{"labels":{"tier":"db"}}}}}`,
			expect: denied, holds: []string{"[selector-mismatch]", "It selects tier=web, but the pods have tier=db."}},
		{say: "An update that touches neither.",
			run: "kubectl -n updates set image statefulset/web nginx=nginx:1.28", expect: accepted, lacks: []string{"Warning"}},
	}},
	{"Dry runs", []step{
		{run: "kubectl create namespace dry", expect: accepted},
		{say: "In a dry run the Service is not stored, so its absence only warns.",
			run: "kubectl -n dry apply --dry-run=server -f pair.yaml", expect: warned, holds: []string{"service/nginx created (server dry run)", "statefulset.apps/web created (server dry run)", "[service-not-found]"}},
		{say: "Nothing is stored.",
			run: "kubectl -n dry get services,statefulsets", expect: printed, holds: []string{"No resources found"}},
	}},
	{"Deleting", []step{
		{say: "Deleting the Service under a running StatefulSet warns.",
			run: "kubectl -n shop delete service nginx", expect: warned, holds: []string{"[service-in-use]", `service "nginx" deleted`}},
		{say: "Deleting a whole namespace is not held up.",
			run: "kubectl delete namespace updates --timeout=60s", expect: accepted, holds: []string{`namespace "updates" deleted`}, lacks: []string{"Warning"}},
	}},
	{"The same files, without a cluster", []step{
		{run: "stsguard lint pair.yaml", expect: clean},
		{run: "stsguard lint pair.yaml public.yaml", expect: clean},
		{run: "stsguard lint missing.yaml", expect: failing, holds: []string{"[service-not-found]", "clusterIP: None"}},
		{run: "stsguard lint near-miss.yaml", expect: failing, holds: []string{`Did you mean "cache-headless"?`}},
		{run: "stsguard lint cluster-ip.yaml", expect: failing, holds: []string{"[service-not-headless]"}},
		{run: "stsguard lint external-name.yaml", expect: failing, holds: []string{"[service-external-name]"}},
		{run: "stsguard lint no-name.yaml", expect: failing, holds: []string{"[service-name-missing]"}},
		{run: "stsguard lint selector.yaml", expect: failing, holds: []string{"It selects app=web, but the pods have app=nginx."}},
		{run: "stsguard lint cluster-ip.yaml public-db.yaml", expect: failing, holds: []string{"[clusterip-exposure]"}},
		{run: "stsguard lint set.yaml remapped.yaml", expect: failing, holds: []string{"it sends port 80 on to the pods' port 8080"}},
		{run: "stsguard lint labelled.yaml", expect: clean},
	}},
}
