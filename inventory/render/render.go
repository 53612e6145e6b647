// Package render turns what manifests are made from into manifests: Helm charts
// with Helm's engine, kustomizations with kustomize, both as libraries. It starts
// no process, asks no cluster and fetches nothing.
//
// Each chart and each kustomization is a world of its own, and so are all other
// manifests together. A place in what was rendered leads to the template or
// manifest to change there.
package render

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"os"
	"slices"
	"strings"
	"sync"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/strvals"

	"github.com/stsguard/stsguard/inventory/manifest"
)

// Options say how charts are rendered. They are the same for all of them. The
// zero value renders as `helm template` does without flags.
type Options struct {
	// Namespace is the release's; empty means default.
	Namespace string
	// ReleaseName is the release's name; empty means release-name.
	ReleaseName string
	// Values are put over the chart's own.
	Values map[string]any
	// APIVersions are what the cluster has besides what Kubernetes has, such as
	// monitoring.coreos.com/v1.
	APIVersions []string
	// KubeVersion is the cluster's version, such as 1.34; empty means Helm's
	// default.
	KubeVersion string
}

// Check says what is wrong with the options.
func (o Options) Check() error {
	if o.ReleaseName != "" {
		if err := chartutil.ValidateReleaseName(o.ReleaseName); err != nil {
			return fmt.Errorf("release name %q: must be at most 53 lowercase letters, digits, dots and hyphens", o.ReleaseName)
		}
	}
	if o.KubeVersion != "" {
		if _, err := common.ParseKubeVersion(o.KubeVersion); err != nil {
			return fmt.Errorf("Kubernetes version %q: must be one such as 1.34 or v1.34.2", o.KubeVersion)
		}
	}
	return nil
}

func (o Options) capabilities() (*common.Capabilities, error) {
	c := common.DefaultCapabilities.Copy()
	c.APIVersions = append(slices.Clone(c.APIVersions), o.APIVersions...)
	if o.KubeVersion != "" {
		version, err := common.ParseKubeVersion(o.KubeVersion)
		if err != nil {
			return nil, err
		}
		c.KubeVersion = *version
	}
	return c, nil
}

// Values merges files of values, later ones over earlier ones, and over them
// expressions such as a.b=c, in Helm's syntax.
func Values(files, set []string) (map[string]any, error) {
	values := map[string]any{}
	for _, file := range files {
		if strings.Contains(file, "://") {
			return nil, fmt.Errorf("values %s: only files are read, nothing is fetched", file)
		}
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read values: %w", err)
		}
		more, err := loader.LoadValues(f)
		err = errors.Join(err, f.Close())
		if err != nil {
			return nil, fmt.Errorf("read values of %s: %w", file, err)
		}
		values = loader.MergeMaps(values, more)
	}
	for _, expression := range set {
		if err := strvals.ParseInto(expression, values); err != nil {
			return nil, fmt.Errorf("set %q: %w", expression, err)
		}
	}
	return values, nil
}

// World is what is judged together.
type World struct {
	// Path is the chart or kustomization that it is rendered from; empty for
	// the plain manifests.
	Path    string
	Sources []manifest.Source
	// LeftOut is what has no manifests to render.
	LeftOut []manifest.LeftOut
	// Errors are what could not be rendered.
	Errors []manifest.Error
}

// Worlds renders what was found, one after the other: first the manifests that
// need no rendering and that no kustomization takes, then each chart, then each
// kustomization that no other one includes. When ctx ends, it ends.
func Worlds(ctx context.Context, found *manifest.Found, o Options) iter.Seq[World] {
	return func(yield func(World) bool) {
		p, err := call(context.WithoutCancel(ctx), func() (*plan, error) { return planKustomizations(found.Kustomizations), nil })
		if err != nil {
			p = &plan{}
			if !yield(fail(manifest.Error{Message: fmt.Sprintf("follow what kustomizations include: %v", err)})) {
				return
			}
		}
		plain := slices.DeleteFunc(slices.Clone(found.Files), p.takes)
		if !yield(World{Sources: plain, LeftOut: p.leftOut}) {
			return
		}
		for _, root := range found.Charts {
			if ctx.Err() != nil {
				return
			}
			w := renderChart(ctx, root, o)
			w.Path = root.Path
			if !yield(w) {
				return
			}
		}
		for _, k := range p.roots {
			if ctx.Err() != nil {
				return
			}
			w := renderKustomization(ctx, k, cmp.Or(o.Namespace, "default"))
			w.Path = k.Path
			if !yield(w) {
				return
			}
		}
	}
}

// library guards what a library shares with the whole process.
var library sync.Mutex

// call has a library do something: what it writes to standard error is dropped,
// a panic is an error, and when ctx ends, it isn't waited for.
func call[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		library.Lock()
		defer library.Unlock()
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("internal error: %v", p)
			}
			done <- r
		}()
		if r.err = ctx.Err(); r.err != nil {
			return
		}
		defer silence()()
		r.value, r.err = f()
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("rendering was interrupted: %w", ctx.Err())
	}
}

// silence takes standard error from the libraries, which warn there of things
// that are none of a linter's business, until it is told to give it back.
func silence() (restore func()) {
	stderr, logged := os.Stderr, log.Writer()
	log.SetOutput(io.Discard)
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = null
	}
	return func() {
		if os.Stderr != stderr {
			_ = os.Stderr.Close() // nothing that was written matters
			os.Stderr = stderr
		}
		log.SetOutput(logged)
	}
}

// fail is a world that could not be rendered.
func fail(e manifest.Error) World { return World{Errors: []manifest.Error{e}} }

// oneLine folds what a library says into one line, with paths as they are
// displayed.
func oneLine(message string, root manifest.Root) string {
	message = strings.ReplaceAll(message, root.Abs+"/", strings.TrimPrefix(root.Path+"/", "./"))
	message = strings.ReplaceAll(message, root.Abs, root.Path)
	var lines []string
	for line := range strings.Lines(message) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
}
