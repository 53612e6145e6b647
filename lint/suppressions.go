package lint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stsguard/stsguard/config"
	"github.com/stsguard/stsguard/policies"
	"github.com/stsguard/stsguard/report"
)

// Suppressions hold a run's findings against those that are known: what is
// known fails nothing. They are for one run.
type Suppressions struct {
	// Gone are known findings that the run looked for and didn't find.
	Gone []config.Suppression
	// Added and Total count findings, of the run's and of those that are known
	// after it.
	Added, Total int

	file   string
	learn  bool
	before []byte
	// read are the paths of what the run read, from the file's directory.
	read map[string]bool
	// known is what the file holds, after what it is to hold.
	known, after map[config.Known]int
}

// LoadSuppressions reads the file. With learn every finding of the run becomes
// known, and there needn't be a file yet.
func LoadSuppressions(file string, learn bool, catalog policies.Catalog) (*Suppressions, error) {
	s := &Suppressions{file: file, learn: learn, known: map[config.Known]int{}, read: map[string]bool{}}
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && learn:
		return s, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read suppressions: %w; --update-suppressions writes the file", err)
	case err != nil:
		return nil, fmt.Errorf("read suppressions: %w", err)
	}
	parsed, err := config.ParseSuppressions(file, data, catalog)
	if err != nil {
		return nil, err
	}
	for _, f := range parsed.Findings {
		s.known[f.Known] = max(1, f.Count)
	}
	s.before = data
	return s, nil
}

// apply marks the findings that are known as skipped. Each known one counts once:
// first for a finding in its own file, then, since objects move, for one in any.
// Of a run that is not complete nothing is learnt, and nothing is gone: it may
// stand where the run couldn't look.
func (s *Suppressions) apply(findings []report.Finding, o *Options, modes map[string]config.Mode, complete bool) {
	var open []*report.Finding
	for i := range findings {
		if findings[i].Status == report.Open {
			open = append(open, &findings[i])
		}
	}
	// Which of several equal ones is the new one must not be left to chance.
	slices.SortStableFunc(open, func(a, b *report.Finding) int {
		return cmp.Or(
			cmp.Compare(a.Location.File, b.Location.File), cmp.Compare(a.Location.Line, b.Location.Line),
			cmp.Compare(a.Location.Column, b.Location.Column), cmp.Compare(a.Message, b.Message),
		)
	})
	left := maps.Clone(s.known)
	s.after = map[config.Known]int{}
	pass := func(f *report.Finding) {
		f.Status, f.Reason = report.Skipped, "known: in "+filepath.ToSlash(s.file)
		s.after[s.identity(f)]++
	}
	take := func(known func(*report.Finding) (config.Known, bool)) {
		open = slices.DeleteFunc(open, func(f *report.Finding) bool {
			k, ok := known(f)
			if ok {
				pass(f)
				if left[k]--; left[k] == 0 {
					delete(left, k)
				}
			}
			return ok
		})
	}
	take(func(f *report.Finding) (config.Known, bool) {
		k := s.identity(f)
		return k, left[k] > 0
	})
	take(func(f *report.Finding) (config.Known, bool) {
		want := s.identity(f)
		want.File = ""
		for _, k := range slices.SortedFunc(maps.Keys(left), config.Known.Compare) {
			moved := k
			moved.File = ""
			if moved == want && s.lookedFor(k, o, modes) {
				return k, true
			}
		}
		return config.Known{}, false
	})
	if s.learn && complete {
		s.Added = len(open)
		for _, f := range open {
			pass(f)
		}
	}
	for k, n := range left {
		if complete && s.lookedFor(k, o, modes) {
			s.Gone = append(s.Gone, config.Suppression{Known: k, Count: n})
		} else {
			s.after[k] += n
		}
	}
	slices.SortFunc(s.Gone, func(a, b config.Suppression) int { return a.Compare(b.Known) })
	for _, n := range s.after {
		s.Total += n
	}
}

// identity is what a finding is known by.
func (s *Suppressions) identity(f *report.Finding) config.Known {
	return config.Known{
		Rule:        f.Rule,
		Object:      f.Object.Kind + "/" + f.Object.Namespace + "/" + f.Object.Name,
		StatefulSet: f.StatefulSet,
		File:        s.fromHere(f.Location.File),
	}
}

// fromHere makes a path that starts from the working directory start from the
// directory of the suppressions, so that it doesn't matter where one lints.
func (s *Suppressions) fromHere(file string) string {
	switch file {
	case stdin:
		return file
	case "":
		return inCluster
	}
	dir, err := filepath.Abs(filepath.Dir(s.file))
	if err != nil {
		return file
	}
	path, err := filepath.Abs(filepath.FromSlash(file))
	if err != nil {
		return file
	}
	if path, err = filepath.Rel(dir, path); err != nil {
		return file
	}
	return filepath.ToSlash(path)
}

// stdin is what reports call standard input, inCluster the file of what stands in
// none.
const stdin, inCluster = "stdin", "cluster"

// lookedFor says whether the run would have found what is known, if it were
// there still: its level was asked for, and its file is among the paths and not
// passed over, or a cluster was asked.
func (s *Suppressions) lookedFor(k config.Known, o *Options, modes map[string]config.Mode) bool {
	if modes[k.Rule] == config.Off || s.passedOver(k.File) {
		return false
	}
	switch k.File {
	case stdin:
		return slices.Contains(o.Paths, "-")
	case inCluster:
		return o.Cluster != nil
	}
	if len(o.Paths) == 0 {
		return s.below(".", k.File)
	}
	return slices.ContainsFunc(o.Paths, func(path string) bool { return path != "-" && s.below(path, k.File) })
}

// passedOver says whether the file is there and was not read, as one is that the
// run excludes.
func (s *Suppressions) passedOver(file string) bool {
	if s.read[file] || file == stdin || file == inCluster {
		return false
	}
	for path := filepath.Join(filepath.Dir(s.file), filepath.FromSlash(file)); ; path = filepath.Dir(path) {
		switch info, err := os.Stat(path); {
		case err == nil:
			// A template may be in an archive.
			return !info.IsDir()
		case path == filepath.Dir(path):
			return false
		}
	}
}

// saw takes note of a file that was read.
func (s *Suppressions) saw(file string) { s.read[s.fromHere(file)] = true }

func (s *Suppressions) below(path, file string) bool {
	rel, err := filepath.Rel(filepath.FromSlash(s.fromHere(path)), filepath.FromSlash(file))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// Text is what the file is to hold after the run. It says whether that changes
// anything.
func (s *Suppressions) Text() (text []byte, changed bool, err error) {
	text, err = config.NewSuppressions(s.after).Format()
	return text, string(text) != string(s.before), err
}
