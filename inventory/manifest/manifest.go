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
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/stsguard/stsguard/inventory"
	"github.com/stsguard/stsguard/parallel"
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
	// Progress counts the sources that have been read, for whoever watches
	// meanwhile; it may be nil.
	Progress *atomic.Int64
}

// Source is one text to read.
type Source struct {
	// Path is how it is displayed, unique among all inputs.
	Path string
	// Dir is the absolute, clean, slash-separated path of its directory;
	// standard input has none.
	Dir string
	// File is the absolute path of the file that holds the text, empty where
	// there is none to write to.
	File string
	// Open may be called again: only what the objects say is kept in memory,
	// and where they say it is looked up when it is asked for.
	Open func() (io.ReadCloser, error)
	// Origin is what the text was rendered from; nil if it is as somebody
	// wrote it.
	Origin Origin
}

// Origin leads from a rendered text to the files that it was made from. It is
// used concurrently.
type Origin interface {
	// Locate says where to change what stands at a place of the rendered text.
	// The JSON pointer names it as seen from its document; it is empty for the
	// whole of it, and where only the place is known.
	Locate(at Location, pointer string) Location
	// Text is the text of a file that Locate names.
	Text(file string) ([]byte, error)
}

// Set is one world that was read. It is safe for concurrent use.
type Set struct {
	Store *inventory.Store
	// Services and StatefulSets are in reading order: by source, then as they
	// stand in it.
	Services     []*inventory.Service
	StatefulSets []*inventory.StatefulSet
	// Errors are sorted by file, line and column.
	Errors []Error
	// Files counts the sources that were read, Documents the ones in them that
	// aren't empty, parsed or skipped.
	Files, Documents int

	objects  map[inventory.Ref]*object
	reopened reopenedFiles
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

// Read reads the sources in their order. When ctx ends before the reading does,
// the rest is left unread and an error says so.
func Read(ctx context.Context, sources []Source, opts Options) *Set {
	s := &Set{Store: &inventory.Store{}, objects: map[inventory.Ref]*object{}}
	files := make([]*file, len(sources))
	parallel.Do(ctx, len(sources), func(i int) {
		files[i] = &file{Source: sources[i]}
		files[i].read(ctx)
		if opts.Progress != nil {
			opts.Progress.Add(1)
		}
	})
	index := 0
	for _, f := range files {
		if f == nil {
			continue // interrupted
		}
		s.Errors = append(s.Errors, f.errors...)
		s.Documents += f.count
		if f.wasRead {
			s.Files++
		}
		for _, d := range f.documents {
			s.Errors = append(s.Errors, d.errors...)
			for _, o := range d.objects {
				index++
				s.add(o, &inventory.Place{File: f.Path, Dir: f.Dir, Index: index}, cmp.Or(opts.Namespace, "default"))
			}
		}
	}
	if err := ctx.Err(); err != nil {
		s.Errors = append(s.Errors, Error{Message: fmt.Sprintf("reading was interrupted: %v", err)})
	}
	sortErrors(s.Errors)
	return s
}

// sortErrors sorts by file, line, column and message.
func sortErrors(errs []Error) {
	slices.SortStableFunc(errs, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
}

// APIVersion returns the object's as its manifest gives it, empty if the Set
// doesn't have the object.
func (s *Set) APIVersion(ref inventory.Ref) string {
	if o := s.objects[ref]; o != nil {
		return o.apiVersion
	}
	return ""
}

// Refs name all objects, sorted.
func (s *Set) Refs() []inventory.Ref {
	return slices.Sorted(maps.Keys(s.objects))
}

// Compare orders objects as they were read, those of a file one after another.
// It is the order in which Locate opens each file once.
func (s *Set) Compare(a, b inventory.Ref) int {
	return cmp.Compare(s.index(a), s.index(b))
}

func (s *Set) index(ref inventory.Ref) int {
	switch o := s.objects[ref]; {
	case o == nil:
	case o.service != nil:
		return o.service.Place.Index
	case o.set != nil:
		return o.set.Place.Index
	case o.workload != nil:
		return o.workload.Place.Index
	}
	return 0
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

// file is one source while it is read.
type file struct {
	Source

	wasRead   bool
	count     int         // of documents that aren't empty
	documents []*document // those worth parsing
	errors    []Error
}

func (f *file) read(ctx context.Context) {
	// Nothing that is kept of a file is a part of its text.
	buffer := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buffer)
	data, err := f.textIn(buffer)
	f.wasRead = err == nil || err.Line > 0
	if err != nil {
		f.errors = []Error{*err}
		return
	}
	documents, errs := split(data)
	for _, e := range errs {
		f.errors = append(f.errors, f.errorAt(Location{File: f.Path, Line: e.Line, Column: e.Column}, "", e.Message))
	}
	exotic := hasExoticBreak(data)
	for _, d := range documents {
		l := look(d, exotic)
		if !l.empty {
			f.count++
		}
		if !l.empty && !l.unwanted {
			d.file, d.plain, d.kind = f, l.plain, l.kind
			f.documents = append(f.documents, d)
		}
	}
	if len(data) < large {
		for _, d := range f.documents {
			d.decode()
		}
	} else {
		parallel.Do(ctx, len(f.documents), func(i int) { f.documents[i].decode() })
	}
	f.documents = slices.DeleteFunc(f.documents, func(d *document) bool { return len(d.objects) == 0 && len(d.errors) == 0 })
	for _, d := range f.documents {
		d.forget()
	}
}

// large is the length from which on a file's documents are spread over all cores.
// Below it that takes longer than it saves: there are other files.
const large = 128 << 10

// buffers are for texts, so that memory for one file serves the next.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// textIn is the whole source as UTF-8, in the buffer's memory.
func (f *file) textIn(b *bytes.Buffer) ([]byte, *Error) {
	data, err := readAll(f.Open, b)
	if err != nil {
		return nil, &Error{File: f.Path, Message: reason(err)}
	}
	if data, err = utf8Text(data); err != nil {
		return nil, &Error{File: f.Path, Line: 1, Column: 1, Message: err.Error()}
	}
	return data, nil
}

func readAll(open func() (io.ReadCloser, error), b *bytes.Buffer) ([]byte, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b.Reset()
	if s, ok := r.(statter); ok {
		if info, err := s.Stat(); err == nil && info.Mode().IsRegular() {
			b.Grow(int(min(info.Size(), 1<<30)) + bytes.MinRead)
		}
	}
	_, err = b.ReadFrom(r)
	return b.Bytes(), err
}
