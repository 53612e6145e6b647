package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is the one that distroless images made usual. It is given as numbers:
// by a name the kubelet can't tell that it isn't root.
const user = "65532:65532"

// accounts are for what looks the user's name up.
const (
	passwd = "nonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin\n"
	group  = "nonroot:x:65532:\n"
)

// image is the program on all of its platforms.
type image struct {
	index   v1.ImageIndex
	version string
}

// assemble puts the binaries into an image. Everything in it bears the time it
// was created at, which is the commit's if it is zero.
func assemble(source string, binaries []binary, created time.Time) (*image, error) {
	licence, err := os.ReadFile(filepath.Join(source, "LICENSE"))
	if err != nil {
		return nil, fmt.Errorf("read the licence: %w", err)
	}
	first := binaries[0]
	if created.IsZero() {
		if created, err = time.Parse(time.RFC3339, first.setting("vcs.time")); err != nil {
			return nil, fmt.Errorf("find the time of the commit: %w", err)
		}
	}
	labels := map[string]string{
		"org.opencontainers.image.title":       program,
		"org.opencontainers.image.description": "Admission webhook that holds every StatefulSet against the headless Service that governs it",
		"org.opencontainers.image.version":     first.info.Main.Version,
		"org.opencontainers.image.revision":    first.setting("vcs.revision"),
		"org.opencontainers.image.source":      "https://" + first.info.Main.Path,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.created":     created.Format(time.RFC3339),
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, b := range binaries {
		bom, err := billOfMaterials(b, created)
		if err != nil {
			return nil, err
		}
		layer, err := layer(created, []file{
			{"etc/group", 0o644, []byte(group)},
			{"etc/passwd", 0o644, []byte(passwd)},
			{"licenses/LICENSE", 0o644, licence},
			{"usr/bin/" + program, 0o755, b.content},
			// Not *.cdx.json: scanners read the same modules from the program
			// itself, and some would count every finding twice.
			{"usr/share/sbom/" + program + ".json", 0o644, bom},
		})
		if err != nil {
			return nil, fmt.Errorf("make the layer for linux/%s: %w", b.architecture, err)
		}
		one, err := platform(b, layer, created, labels)
		if err != nil {
			return nil, fmt.Errorf("make the image for linux/%s: %w", b.architecture, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        one,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: b.architecture}},
		})
	}
	// Registries show what the index says.
	index = mutate.Annotations(index, maps.Clone(labels)).(v1.ImageIndex)
	return &image{index, first.info.Main.Version}, nil
}

// platform is the image of one of the binaries.
func platform(b binary, layer v1.Layer, created time.Time, labels map[string]string) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	one, err := mutate.Append(base, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: created}, CreatedBy: "make image"},
	})
	if err != nil {
		return nil, err
	}
	config, err := one.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS = "linux"
	config.Architecture = b.architecture
	config.Created = v1.Time{Time: created}
	config.Config = v1.Config{
		User:       user,
		Entrypoint: []string{"/usr/bin/" + program},
		WorkingDir: "/",
		Labels:     labels,
	}
	one, err = mutate.ConfigFile(one, config)
	return runnable{one}, err
}

// runnable is an image of which the index doesn't say, as it would otherwise,
// that it is an artifact: those aren't for running.
type runnable struct{ v1.Image }

func (runnable) ArtifactType() (string, error) { return "", nil }

// file is one in the image. Its path is relative to the root.
type file struct {
	path    string
	mode    int64
	content []byte
}

// layer packs files, which are sorted, and their directories. All of it is
// root's, so that the user can change nothing even if the root file system is
// writable.
func layer(created time.Time, files []file) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	made := map[string]bool{".": true}
	var mkdir func(dir string) error
	mkdir = func(dir string) error {
		if made[dir] {
			return nil
		}
		made[dir] = true
		if err := mkdir(path.Dir(dir)); err != nil {
			return err
		}
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: created})
	}
	for _, f := range files {
		if err := mkdir(path.Dir(f.path)); err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.path, Mode: f.mode, Size: int64(len(f.content)), ModTime: created}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithCompressedCaching,
	)
}
