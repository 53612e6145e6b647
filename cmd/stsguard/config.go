package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
)

func (c *Command) config() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check " + config.FileName + ", or describe it to editors",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf("say what to do: %s check, or %s schema", cmd.CommandPath(), cmd.CommandPath())
		},
	}
	cmd.AddCommand(c.configCheck(), c.configSchema())
	return cmd
}

func (c *Command) configCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check the configuration, and the rules that it names",
		Long: `Check the configuration FILE, or the nearest ` + config.FileName + ` from here upwards,
and the rules in the directories that it names.`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return yamlFiles, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(_ *cobra.Command, args []string) error {
			var file string
			var err error
			if len(args) > 0 {
				file = args[0]
			} else if file, err = nearest(); err != nil {
				return exit{exitUsage, err}
			}
			if file == "" && len(args) == 0 {
				return c.say("there is no %s from here upwards: the defaults apply", config.FileName)
			}
			conf, _, err := config.Load(file)
			if err != nil {
				return exit{exitUsage, err}
			}
			for _, note := range conf.Notes(time.Now()) {
				c.note("%s", note)
			}
			return c.say("%s is right", report.Printable(file))
		},
	}
}

func (c *Command) configSchema() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of " + config.FileName,
		Long: `Print the JSON schema of ` + config.FileName + `, by which editors complete and check it. It
knows the rules that come with stsguard and those that the configuration names.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, rules, err := configuration(file)
			if err != nil {
				return exit{exitUsage, err}
			}
			schema, err := json.MarshalIndent(config.Schema(rules.Catalog), "", "  ")
			if err != nil {
				return exit{exitIncomplete, fmt.Errorf("write the schema: %w", err)}
			}
			return c.say("%s", schema)
		},
	}
	configFlag(cmd, &file)
	return cmd
}

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
