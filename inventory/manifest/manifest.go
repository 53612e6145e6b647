// Package manifest reads Kubernetes manifests, YAML and JSON, as kubectl does,
// into an [inventory.Store] of Services and StatefulSets, and tells where in
// which file each of their fields stands.
//
// What kubectl accepts is accepted, with its values; what it refuses, and what
// it would drop without a word, is an error with file, line and column. One
// broken document stops neither the others of its file nor other files.
// Documents of other kinds are skipped unparsed where a look at their lines
// proves their kind, so an error in one of those can go unseen.
//
// Lines and columns count from 1, columns in code points.
package manifest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/stsguard/stsguard/inventory"
)

// Options say how to read. The zero value reads the process's working
// directory, without standard input.
type Options struct {
	// Namespace is that of objects which give none; empty means default.
	Namespace string
	// Exclude holds patterns of files and directories to leave out, named
	// explicitly or not. One without a slash is matched against the base name,
	// any other against the slash-separated path relative to WorkDir, in which
	// ** stands for any number of directories.
	Exclude []string
	// Stdin is read for the path "-"; nil is empty.
	Stdin io.Reader
	// WorkDir is what relative paths start from; empty means the process's
	// working directory.
	WorkDir string
}

// Set is what was read. It is safe for concurrent use.
type Set struct {
	Store *inventory.Store
	// Services and StatefulSets are in reading order: by file, then as they
	// stand in it.
	Services     []*inventory.Service
	StatefulSets []*inventory.StatefulSet
	// Errors are sorted by file, line and column.
	Errors []Error
	// LeftOut is what was found and deliberately not read, sorted by path.
	LeftOut []LeftOut
	// Files counts those that were read, Documents the ones in them that
	// aren't empty, parsed or skipped.
	Files, Documents int

	objects map[inventory.Ref]*object
}

// Error is something that could not be read or would be refused. Line and
// Column are 0 where there is no place to name, File is empty where there is
// no file.
type Error struct {
	File         string
	Line, Column int
	Message      string
}

// Error returns "file:line:column: message", less what isn't known.
func (e Error) Error() string {
	switch {
	case e.File == "":
		return e.Message
	case e.Line == 0:
		return e.File + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// LeftOut is a file or directory that was not read, and why.
type LeftOut struct {
	Path, Reason string
}

// Read reads the files, the directories with all below them, and standard
// input ("-"); no paths mean the working directory. In directories, files
// ending in .yaml, .yml and .json are read and hidden directories are not. The
// order of paths makes no difference, nor does naming one twice. When ctx ends
// before the reading does, the rest is left unread and an error says so.
func Read(ctx context.Context, paths []string, opts Options) *Set {
	if opts.Namespace == "" {
		opts.Namespace = "default"
	}
	s := &Set{Store: &inventory.Store{}, objects: map[inventory.Ref]*object{}}
	var files []*file
	files, s.LeftOut, s.Errors = find(ctx, paths, opts)

	parallel(ctx, len(files), func(i int) { files[i].read() })
	var documents []*document
	for _, f := range files {
		for _, d := range f.documents {
			d.file = f
			documents = append(documents, d)
		}
	}
	parallel(ctx, len(documents), func(i int) { documents[i].decode() })

	index := 0
	for _, f := range files {
		s.Errors = append(s.Errors, f.errors...)
		s.Documents += f.count
		if f.wasRead {
			s.Files++
		}
		for _, d := range f.documents {
			s.Errors = append(s.Errors, d.errors...)
			for _, o := range d.objects {
				index++
				s.add(o, &inventory.Place{File: f.path, Dir: f.dir, Index: index}, opts.Namespace)
			}
		}
	}
	if err := ctx.Err(); err != nil {
		s.Errors = append(s.Errors, Error{Message: fmt.Sprintf("reading was interrupted: %v", err)})
	}
	slices.SortStableFunc(s.Errors, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	return s
}

// APIVersion returns the object's as its manifest gives it, empty if the Set
// doesn't have the object.
func (s *Set) APIVersion(ref inventory.Ref) string {
	if o := s.objects[ref]; o != nil {
		return o.apiVersion
	}
	return ""
}

func (s *Set) add(o *object, at *inventory.Place, namespace string) {
	switch {
	case o.service != nil:
		o.service.Place, o.service.Namespace = at, cmp.Or(o.service.Namespace, namespace)
		s.Services = append(s.Services, o.service)
		s.Store.PutService(o.service)
		s.objects[o.service.Ref()] = o
	case o.set != nil:
		o.set.Place, o.set.Namespace = at, cmp.Or(o.set.Namespace, namespace)
		s.StatefulSets = append(s.StatefulSets, o.set)
		s.Store.PutStatefulSet(o.set)
		s.objects[o.set.Ref()] = o
	case o.workload != nil:
		o.workload.Place, o.workload.Namespace = at, cmp.Or(o.workload.Namespace, namespace)
		s.Store.PutWorkload(o.workload)
		s.objects[o.workload.Ref()] = o
	}
}

// file is one input.
type file struct {
	path string // as displayed
	dir  string // absolute, with slashes
	open func() (io.ReadCloser, error)

	wasRead   bool
	count     int         // of documents that aren't empty
	documents []*document // those worth parsing
	errors    []Error
}

func (f *file) read() {
	data, err := readAll(f.open)
	if err != nil {
		f.errors = []Error{{File: f.path, Message: reason(err)}}
		return
	}
	f.wasRead = true
	data, err = utf8Text(data)
	if err != nil {
		f.errors = []Error{{File: f.path, Line: 1, Column: 1, Message: err.Error()}}
		return
	}
	documents, errs := split(data)
	for i := range errs {
		errs[i].File = f.path
	}
	f.errors = errs
	exotic := hasExoticBreak(data)
	for _, d := range documents {
		l := look(d, exotic)
		if !l.empty {
			f.count++
		}
		if !l.empty && !l.unwanted {
			d.plain = l.plain
			f.documents = append(f.documents, d)
		}
	}
}

func readAll(open func() (io.ReadCloser, error)) ([]byte, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	if s, ok := r.(statter); ok {
		if info, err := s.Stat(); err == nil && info.Mode().IsRegular() {
			b.Grow(int(min(info.Size(), 1<<30)) + bytes.MinRead)
		}
	}
	_, err = b.ReadFrom(r)
	return b.Bytes(), err
}

// parallel calls f for 0 to n-1 on all cores, until ctx ends.
func parallel(ctx context.Context, n int, f func(i int)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(i)
			}
		})
	}
	workers.Wait()
}
