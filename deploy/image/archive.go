package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// write puts the image into an OCI archive, a tar file of an OCI layout, and
// returns its reference: its name, its tag and its digest. The digest says
// nothing of the name.
func (i *image) write(output, repository string) (string, error) {
	digest, err := i.index.Digest()
	if err != nil {
		return "", fmt.Errorf("find the digest: %w", err)
	}
	// A plus sign, as in a version with changes of one's own, may not be in a tag.
	tag := strings.ReplaceAll(i.version, "+", "-")
	dir, err := os.MkdirTemp("", "stsguard-image-")
	if err != nil {
		return "", fmt.Errorf("write %s: %w", output, err)
	}
	defer os.RemoveAll(dir)
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return "", fmt.Errorf("write %s: %w", output, err)
	}
	// The one is for skopeo and podman, the other for containerd and Docker.
	if err := path.AppendIndex(i.index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": tag,
		"io.containerd.image.name":          repository + ":" + tag,
	})); err != nil {
		return "", fmt.Errorf("write %s: %w", output, err)
	}
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return "", fmt.Errorf("write %s: %w", output, err)
	}
	next := output + ".next"
	if err := pack(next, dir); err != nil {
		return "", errors.Join(fmt.Errorf("write %s: %w", output, err), os.RemoveAll(next))
	}
	if err := os.Rename(next, output); err != nil {
		return "", fmt.Errorf("write %s: %w", output, err)
	}
	return repository + ":" + tag + "@" + digest.String(), nil
}

// pack makes a tar file of a directory, of which nothing but names and contents
// counts.
func pack(output, dir string) error {
	file, err := os.Create(output)
	if err != nil {
		return err
	}
	w := tar.NewWriter(file)
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if entry.IsDir() {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
		}
		from, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		defer from.Close()
		info, err := from.Stat()
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size()}); err != nil {
			return err
		}
		_, err = io.Copy(w, from)
		return err
	})
	return errors.Join(err, w.Close(), file.Close())
}
