package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stsguard/stsguard/report"
)

// output is where a report goes: the flags of a subcommand that makes one.
type output struct {
	destinations   destinations
	quiet, noColor bool
}

// register adds the flags. The formats are those that the report can have; the
// first is the default.
func (o *output) register(cmd *cobra.Command, formats ...string) {
	o.destinations.formats = formats
	cmd.Flags().VarP(&o.destinations, "output", "o", fmt.Sprintf("format of the report, %s (the default)%s, and the file to write it to instead of standard output (repeatable)", formats[0], or(formats[1:], ", ")))
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "tell only errors and what fails the run: in text no other findings and no summary, and no notes or progress on standard error")
	cmd.Flags().BoolVar(&o.noColor, "no-color", false, "no colours on a terminal, as if NO_COLOR were set")
	// The flag was added just now, which is all that this could complain of.
	_ = cmd.RegisterFlagCompletionFunc("output", o.destinations.complete)
}

// or joins words as in "json, sarif or junit", with something before them.
func or(words []string, before string) string {
	last := len(words) - 1
	return before + strings.Join(words[:last], ", ") + " or " + words[last]
}

// destination is one output: a format, and a file or, with none, standard output.
type destination struct{ format, file string }

// destinations is a repeatable flag.
type destinations struct {
	formats []string
	all     []destination
}

func (d *destinations) Type() string { return "FORMAT[=FILE]" }

func (d *destinations) String() string {
	var out []string
	for _, x := range d.all {
		out = append(out, strings.TrimSuffix(x.format+"="+x.file, "="))
	}
	return strings.Join(out, ",")
}

func (d *destinations) Set(s string) error {
	format, file, named := strings.Cut(s, "=")
	if !slices.Contains(d.formats, format) {
		return errors.New(or(d.formats, "the format must be "))
	}
	if named && file == "" {
		return fmt.Errorf("it names no file; leave the = out to write to standard output")
	}
	for _, other := range d.all {
		switch {
		case file == "" && other.file == "":
			return fmt.Errorf("%s goes to standard output already; name a file, as in %s=FILE", other.format, format)
		case file != "" && other.file != "" && samePath(file, other.file):
			return fmt.Errorf("%s goes to that file already", other.format)
		}
	}
	d.all = append(d.all, destination{format, file})
	return nil
}

// samePath says whether both lead to one file.
func samePath(a, b string) bool {
	one, err := os.Stat(a)
	other, err2 := os.Stat(b)
	if err == nil && err2 == nil {
		return one.Mode().IsRegular() && os.SameFile(one, other)
	}
	one2, err := filepath.Abs(a)
	other2, err2 := filepath.Abs(b)
	return err == nil && err2 == nil && one2 == other2
}

// complete offers the formats, and files behind the equals sign.
func (d *destinations) complete(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	if strings.Contains(word, "=") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return d.formats, cobra.ShellCompDirectiveNoFileComp
}

// tell writes the report to all outputs, and on standard error what isn't in
// them. What it returns is how the run ends.
func (c *Command) tell(r *report.Report, o *output) error {
	if !o.quiet {
		for _, note := range r.Notes {
			c.note("%s", note)
		}
		for _, l := range r.LeftOut {
			c.note("%s is left out: %s", l.Path, l.Reason)
		}
	}
	all := o.destinations.all
	if len(all) == 0 {
		all = []destination{{format: o.destinations.formats[0]}}
	}
	seen := slices.ContainsFunc(all, func(d destination) bool {
		return d.file == "" && slices.Contains([]string{"text", "table", "github"}, d.format)
	})
	if !seen {
		// Whoever reads the files, or the JSON, may not be a person.
		for _, e := range r.Errors {
			fmt.Fprintln(c.Stderr, e)
		}
	}
	var failed []error
	for _, to := range all {
		if err := c.write(r, to, o); err != nil {
			failed = append(failed, err)
		}
	}
	switch {
	case len(failed) > 0:
		return exit{exitIncomplete, errors.Join(failed...)}
	case len(r.Errors) > 0:
		return exit{code: exitIncomplete}
	case r.Failed():
		return exit{code: exitFindings}
	}
	return nil
}

// colorsIn says whether the output is for eyes that want colours.
func (c *Command) colorsIn(to destination, o *output) bool {
	return to.file == "" && !o.noColor && c.color()
}

func (c *Command) write(r *report.Report, to destination, o *output) error {
	if to.file == "" {
		return o.writer(to.format, c.Stdout, c.colorsIn(to, o)).Write(r)
	}
	var b bytes.Buffer
	if err := o.writer(to.format, &b, c.colorsIn(to, o)).Write(r); err != nil {
		return err
	}
	if err := writeFile(to.file, b.Bytes()); err != nil {
		return fmt.Errorf("write the report as %s to %s: %w", to.format, to.file, reason(err))
	}
	return nil
}

// reason is an error without the path in it, which is that of a file in between.
func reason(err error) error {
	var at *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &at):
		return at.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

func (o *output) writer(format string, w io.Writer, color bool) report.Writer {
	switch format {
	case "table":
		return report.NewTable(w)
	case "json":
		return report.NewJSON(w)
	case "sarif":
		return report.NewSARIF(w, moduleVersion())
	case "junit":
		return report.NewJUnit(w)
	case "github":
		return report.NewGitHub(w)
	}
	if o.quiet {
		return report.NewQuiet(w, color)
	}
	return report.NewText(w, color)
}

// writeFile puts the data in the place of a file in one step: whoever reads it
// gets the old or the new, never a part. A pipe or device is written to.
func writeFile(name string, data []byte) (err error) {
	if strings.HasPrefix(name, "/dev/") {
		// Such as /dev/stdout, which may stand for a file.
		return writeTo(name, os.O_WRONLY|os.O_APPEND, data)
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.IsDir():
		return errors.New("it is a directory")
	case !info.Mode().IsRegular():
		return writeTo(name, os.O_WRONLY|os.O_APPEND, data)
	}
	partial := filepath.Join(filepath.Dir(name), fmt.Sprintf(".%s.%x", filepath.Base(name), rand.Uint64()))
	defer func() {
		if err != nil {
			_ = os.Remove(partial)
		}
	}()
	if err := writeTo(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, data); err != nil {
		return err
	}
	if info != nil {
		if err := os.Chmod(partial, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return os.Rename(partial, name)
}

func writeTo(name string, flags int, data []byte) error {
	f, err := os.OpenFile(name, flags, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
