package lint_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/lint"
	"github.com/stsguard/stsguard/policies"
)

// fact is what a program of other hands found out about one StatefulSet.
type fact struct {
	File        string  `json:"file"`
	Namespace   string  `json:"namespace"`
	Name        string  `json:"name"`
	Partial     bool    `json:"partial"`
	ServiceName *string `json:"serviceName"`
	Governing   *struct {
		Type        string            `json:"type"`
		Headless    bool              `json:"headless"`
		SelectsPods bool              `json:"selectsPods"`
		Selector    map[string]string `json:"selector"`
	} `json:"governing"`
}

func (f *fact) id() string { return f.File + " " + f.Namespace + "/" + f.Name }

// rules are those that must report on the StatefulSet.
func (f *fact) rules() []string {
	var out []string
	switch g := f.Governing; {
	case f.ServiceName == nil || *f.ServiceName == "":
		out = append(out, "service-name-missing")
	case g == nil:
		out = append(out, "service-not-found")
	case g.Type == "ExternalName":
		out = append(out, "service-external-name")
	default:
		// A headless Service without selector may have endpoints by hand.
		if !g.SelectsPods && len(g.Selector) > 0 {
			out = append(out, "selector-mismatch")
		}
		if !g.Headless {
			out = append(out, "service-not-headless")
		}
	}
	return out
}

// TestCorpus holds the governing rules against facts about manifests that
// nobody here wrote, in a corpus beside the repository, and counts what every
// rule finds there. With UPDATE=1 in the environment the counts are kept anew:
// whoever does so has read what is found now and wasn't, and the other way round.
func TestCorpus(t *testing.T) {
	corpus, err := filepath.Abs("../../shared/corpus")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(corpus, "facts.jsonl")); err != nil {
		t.Skipf("there is no corpus beside the repository: %v", err)
	}
	want := map[string][]string{}
	partial := map[string]bool{}
	for _, f := range readFacts(t, filepath.Join(corpus, "facts.jsonl")) {
		if f.Partial {
			partial[f.id()] = true
		} else {
			want[f.id()] = f.rules()
		}
	}

	// The corpus knows nothing of exempt namespaces.
	conf := config.Default()
	conf.Exemptions = config.Exemptions{}
	judge := newJudge(t, conf)
	got := map[string][]string{}
	counts := map[string]int{}
	var errs, leftOut []string
	for _, world := range worlds(t, corpus) {
		// The facts are about manifests as they stand there. What its
		// kustomizations include, the corpus doesn't hold.
		reading := manifest.Options{WorkDir: corpus, Exclude: []string{"kustomization.yaml"}}
		for _, set := range manifest.Read(t.Context(), manifest.Find(t.Context(), []string{world}, reading).Files, reading).StatefulSets {
			got[set.Place.File+" "+set.Namespace+"/"+set.Name] = nil
		}
		r := lint.Run(t.Context(), lint.Options{Paths: []string{world}, Reading: reading, Judge: judge, FailOn: policies.Baseline, Show: policies.Advice})
		for _, e := range r.Errors {
			errs = append(errs, e.String())
		}
		for _, l := range r.LeftOut {
			leftOut = append(leftOut, l.Path)
		}
		for _, f := range r.Findings {
			counts[f.Rule]++
			if isGoverning(t, f.Rule) {
				id := f.Location.File + " " + f.Object.Namespace + "/" + f.Object.Name
				got[id] = append(got[id], f.Rule)
			}
		}
	}

	different := map[string]string{}
	for id, rules := range want {
		seen, ok := got[id]
		seen = slices.Compact(slices.Sorted(slices.Values(seen)))
		if !ok {
			different[id] = "not read"
		} else if !slices.Equal(seen, rules) {
			different[id] = fmt.Sprintf("corpus %v, lint %v", rules, seen)
		}
	}
	for id := range got {
		if _, ok := want[id]; !ok && !partial[id] {
			different[id] = "not in the corpus"
		}
	}
	for _, id := range slices.Sorted(maps.Keys(different)) {
		if expected, ok := differences[id]; !ok || expected.what != different[id] {
			t.Errorf("%s: %s", id, different[id])
		}
	}
	for id := range differences {
		if _, ok := different[id]; !ok {
			t.Errorf("%s: there is no difference any more", id)
		}
	}
	if !slices.Equal(errs, corpusErrors) {
		t.Errorf("errors:\n%s", strings.Join(errs, "\n"))
	}
	if len(leftOut) > 0 {
		t.Errorf("left out:\n%s", strings.Join(leftOut, "\n"))
	}
	checkCounts(t, counts)
	t.Logf("%d complete StatefulSets, %d of them otherwise", len(want), len(different))
}

// checkCounts holds how often each rule finds something against what is kept.
func checkCounts(t *testing.T, counts map[string]int) {
	t.Helper()
	var got strings.Builder
	for _, rule := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&got, "%4d %s\n", counts[rule], rule)
	}
	const kept = "testdata/corpus.txt"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(kept, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(kept)
	if err != nil {
		t.Fatalf("%v (UPDATE=1 writes it)", err)
	}
	if got.String() != string(want) {
		t.Errorf("findings by rule: got\n%s\nwant\n%s", got.String(), want)
	}
}

// corpusErrors are all errors that the corpus gives.
var corpusErrors = []string{
	"plain/argoproj__argo-cd/gitops-engine/pkg/health/testdata/statefulset-ondelete.yaml:94:3: error: spec.updateStrategy: the key is given twice, the last one counts",
	"plain/argoproj__argo-cd/manifests/ha/base/redis-ha/chart/Chart.yaml: error: can't be rendered: its dependencies are not in charts/: redis-ha: run `helm dependency build` first",
	"plain/collabnix__kubelabs/StatefulSets101/web_stateful_service.yaml:6:1: error: not valid YAML: a tab can't indent, use spaces",
	"plain/collabnix__kubelabs/_site/StatefulSets101/web_stateful_service.yaml:6:1: error: not valid YAML: a tab can't indent, use spaces",
}

// differences are where lint and the corpus disagree for a reason.
var differences = map[string]struct{ what, reason string }{
	"plain/argoproj__argo-cd/manifests/base/application-controller/argocd-application-controller-statefulset.yaml default/argocd-application-controller": {
		"corpus [service-not-found], lint [service-not-headless]", elsewhere,
	},
	"plain/argoproj__argo-cd/manifests/ha/namespace-install-with-hydrator.yaml default/argocd-application-controller": {
		"corpus [service-not-found], lint [service-not-headless]", elsewhere,
	},
	"plain/argoproj__argo-cd/manifests/ha/namespace-install.yaml default/argocd-application-controller": {
		"corpus [service-not-found], lint [service-not-headless]", elsewhere,
	},
	"plain/argoproj__argo-cd/manifests/namespace-install-with-hydrator.yaml default/argocd-application-controller": {
		"corpus [service-not-found], lint [service-not-headless]", elsewhere,
	},
	"plain/argoproj__argo-cd/manifests/namespace-install.yaml default/argocd-application-controller": {
		"corpus [service-not-found], lint [service-not-headless]", elsewhere,
	},
	"plain/argoproj__argo-cd/manifests/ha/base/redis-ha/chart/upstream.yaml argocd/argocd-redis-ha-server": {
		"not read", "it stands in the directory of a Helm chart, which is left out and named",
	},
	"plain/confluentinc__confluent-kubernetes-examples/quickstart-deploy/kraft-quickstart/producer-app-data.yaml confluent/elastic": {
		"corpus [service-not-found], lint []", elsewhere,
	},
	"plain/confluentinc__confluent-kubernetes-examples/quickstart-deploy/producer-app-data-singlenode.yaml confluent/elastic": {
		"corpus [service-not-found], lint []", elsewhere,
	},
	"plain/confluentinc__confluent-kubernetes-examples/quickstart-deploy/producer-app-data.yaml confluent/elastic": {
		"corpus [service-not-found], lint []", elsewhere,
	},
}

const elsewhere = "the corpus looks in the same file and directory only, and lint finds a Service of that name in a sibling directory"

// worlds are what one call is to read: a repository's plain manifests, or what
// one chart renders.
func worlds(t *testing.T, corpus string) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"plain/*", "rendered/*.yaml"} {
		paths, err := filepath.Glob(filepath.Join(corpus, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no %s in the corpus: %v", pattern, err)
		}
		for _, p := range paths {
			rel, err := filepath.Rel(corpus, p)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, rel)
		}
	}
	return out
}

func readFacts(t *testing.T, path string) []fact {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []fact
	for line := range bytes.Lines(data) {
		var f fact
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

func isGoverning(t *testing.T, id string) bool {
	t.Helper()
	return builtin(t).Catalog.Rule(id).Concern == "governing"
}
