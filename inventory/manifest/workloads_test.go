package manifest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stsguard/stsguard/inventory"
)

func TestWorkloads(t *testing.T) {
	const template = "spec:\n  template:\n    metadata:\n      labels: {app: web}\n"
	input := strings.Join([]string{
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: deployment}\n" + template,
		"apiVersion: extensions/v1beta1\nkind: DaemonSet\nmetadata: {name: daemon}\n" + template,
		"apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: other}\n" + strings.ReplaceAll(template, "web", "db"),
		"apiVersion: v1\nkind: Pod\nmetadata: {name: pod, labels: {app: web}}\n",
		"apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: job-}\n" + template,
		"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: cron}\nspec:\n  jobTemplate:\n    " + strings.ReplaceAll(template, "\n", "\n    "),
		"apiVersion: example.com/v1\nkind: Deployment\nmetadata: {name: not-ours}\n" + template,
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: broken}\nspec: {template: {metadata: {labels: {app: 1}}}}\n",
		"apiVersion: apps/v1\nkind: DeploymentList\nitems:\n- metadata: {name: listed}\n  " + strings.ReplaceAll(template, "\n", "\n  "),
	}, "\n---\n")
	set := readPaths(context.Background(), []string{"-"}, Options{Stdin: strings.NewReader(input), Namespace: "shop"})
	if len(set.Errors) > 0 {
		t.Errorf("errors: %v", set.Errors)
	}
	var got []string
	for _, w := range set.Store.WorkloadsSelectedBy(&inventory.Service{Meta: inventory.Meta{Namespace: "shop"}, Selector: map[string]string{"app": "web"}}) {
		got = append(got, string(w.Kind)+" "+w.Name)
	}
	slices.Sort(got)
	want := []string{"CronJob cron", "DaemonSet daemon", "Deployment deployment", "Deployment listed", "Job job-", "Pod pod"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestEveryWantedKindHasAWantedWord(t *testing.T) {
	for _, kind := range slices.Concat(slices.Collect(maps.Keys(apiVersions)), slices.Collect(maps.Keys(workloads)), []string{"List"}) {
		if !slices.ContainsFunc(wantedWords, func(word string) bool { return strings.Contains(kind, word) }) {
			t.Errorf("documents of kind %s would be skipped", kind)
		}
	}
}
