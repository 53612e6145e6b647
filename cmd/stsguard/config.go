package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/policies"
)

// yamlFiles are the endings of files that a shell offers.
var yamlFiles = []string{"yaml", "yml"}

// configFlag adds the flag that names the configuration.
func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "config", "", "configuration `FILE` (default: the nearest "+config.FileName+" from here upwards)")
	fileFlag(cmd, "config")
}

// fileFlag has the shell offer YAML files for a flag.
func fileFlag(cmd *cobra.Command, name string) {
	// The flag was added just now, which is all that this could complain of.
	_ = cmd.MarkFlagFilename(name, yamlFiles...)
}

// configuration loads the file that is named, else the nearest one, else the
// default, with the rules that it asks for.
func configuration(file string) (*config.Configuration, *policies.Rules, error) {
	if file != "" {
		return config.Load(file)
	}
	file, err := nearest()
	switch {
	case err != nil:
		return nil, nil, err
	case file != "":
		return config.Load(file)
	}
	rules, err := policies.Builtin()
	return config.Default(), rules, err
}

// nearest finds the configuration from the working directory upwards and
// returns its path from there, "" if there is none.
func nearest() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("look for %s: %w", config.FileName, err)
	}
	file, err := config.Find(dir)
	if err != nil || file == "" {
		return "", err
	}
	if rel, err := filepath.Rel(dir, file); err == nil {
		file = rel
	}
	return file, nil
}
