package lint

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stsguard/stsguard/inventory/manifest"
)

// Write puts the new texts in place of the files, each at once: whoever reads
// one meanwhile sees the old text or the new. Symbolic links are followed. All
// new texts are on the disk before the first takes its place, so that a full
// disk leaves everything as it was. It returns the paths that were written.
func Write(files []manifest.Edited) (written []string, err error) {
	var ready []*replacement
	defer func() {
		for _, r := range ready {
			r.discard()
		}
	}()
	for _, f := range files {
		r, err := prepare(f)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", f.Source.Path, err)
		}
		ready = append(ready, r)
	}
	for _, r := range ready {
		if err := r.commit(); err != nil {
			return written, fmt.Errorf("write %s: %w", r.Source.Path, err)
		}
		written = append(written, r.Source.Path)
	}
	return written, nil
}

// replacement is a new text beside the file whose place it is to take.
type replacement struct {
	manifest.Edited
	path, temporary string
}

func prepare(e manifest.Edited) (*replacement, error) {
	path, err := filepath.EvalSymlinks(e.Source.File)
	if err != nil {
		return nil, err
	}
	// A rename asks for no right to write the file itself.
	old, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	info, err := old.Stat()
	if err := errors.Join(err, old.Close()); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, err
	}
	r := &replacement{Edited: e, path: path, temporary: f.Name()}
	_, err = f.Write(e.After)
	// The owner first: a change of owner can take bits of the mode away.
	if err := errors.Join(err, keepOwner(f, info), f.Chmod(info.Mode().Perm()), f.Sync(), f.Close()); err != nil {
		r.discard()
		return nil, err
	}
	return r, nil
}

// commit takes the file's place, unless somebody else has written to it.
func (r *replacement) commit() error {
	now, err := os.ReadFile(r.path)
	switch {
	case err != nil:
		return err
	case !bytes.Equal(now, r.Before):
		return errors.New("somebody changed it meanwhile; run stsguard again")
	}
	return os.Rename(r.temporary, r.path)
}

// discard removes what did not take its place, as far as there is something.
func (r *replacement) discard() { _ = os.Remove(r.temporary) }
