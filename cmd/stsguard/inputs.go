package main

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/stsguard/stsguard/inventory/manifest"
	"github.com/stsguard/stsguard/verdict"
)

// inputs are the flags of every subcommand that reads manifests.
type inputs struct {
	namespace, config string
	exclude           []string
	render            renderFlags
}

func (in *inputs) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&in.namespace, "namespace", "n", "default", "namespace `NS` of objects that give none, and of Helm releases")
	_ = cmd.RegisterFlagCompletionFunc("namespace", cobra.NoFileCompletions) // which was added just now
	in.render.add(cmd)
	configFlag(cmd, &in.config)
	cmd.Flags().StringArrayVar(&in.exclude, "exclude", nil, "leave out files and directories by name or, with a slash, by path (`GLOB`; repeatable)")
}

// check holds the flags, and the arguments beside them, against what they may
// be.
func (in *inputs) check(paths []string) error {
	if err := checkNamespace(in.namespace); err != nil {
		return err
	}
	for _, pattern := range in.exclude {
		if _, err := path.Match(filepath.ToSlash(pattern), ""); err != nil {
			return fmt.Errorf("invalid argument %q for \"--exclude\" flag: %w, such as an unclosed bracket", pattern, err)
		}
	}
	if slices.Contains(paths, "") {
		return errors.New("a PATH is empty: leave it out for the working directory")
	}
	return nil
}

// checkNamespace holds the flag --namespace against what it may be.
func checkNamespace(name string) error {
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		return fmt.Errorf("invalid argument %q for \"-n, --namespace\" flag: %s", name, strings.Join(problems, "; "))
	}
	return nil
}

// reading is how the manifests are to be read.
func (c *Command) reading(in *inputs) manifest.Options {
	return manifest.Options{Namespace: in.namespace, Exclude: in.exclude, Stdin: c.Stdin}
}

// judge loads the rules and the configuration.
func (in *inputs) judge() (*verdict.Judge, error) {
	conf, rules, err := configuration(in.config)
	if err != nil {
		return nil, exit{exitUsage, err}
	}
	return verdict.New(rules, conf, "", time.Now), nil
}
