// Package image holds the container image against what is promised of it: what
// is in it, and that everybody who builds it gets the same.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stsguard/stsguard/test/docs"
)

const (
	root    = "../../.."
	program = "usr/bin/stsguard-webhook"
)

// builder is the program that builds images, and built is that of this tree:
// its archive, and the reference that was printed.
var (
	builder string
	built   struct{ archive, reference string }
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "stsguard-image-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	builder = filepath.Join(dir, "builder")
	if out, err := exec.Command("go", "-C", filepath.Join(root, "deploy", "image"), "build", "-o", builder).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	built.archive = filepath.Join(dir, "image.tar")
	if built.reference, err = build(root, built.archive); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build builds the image of a tree and returns what is printed.
func build(tree, archive string, env ...string) (string, error) {
	cmd := exec.Command(builder, "-source="+tree, "-output="+archive, "-repository=registry.example/stsguard-webhook")
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, &stderr)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// The second time it is another directory, another day and another environment.
func TestEverybodyBuildsTheSame(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "somewhere else")
	if err := os.Mkdir(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() == "bin" {
			continue
		}
		if out, err := exec.Command("cp", "-R", filepath.Join(root, entry.Name()), tree).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	// What builds the image is built with these as well, and has to run here.
	// Nor is it to know of a make that runs the test.
	env := append(os.Environ(), "MAKELEVEL=", "MAKEFLAGS=", "GOAMD64=v2", "GOARM64=v8.1", "GOFLAGS=-buildvcs=false", "CGO_ENABLED=1", "TZ=Asia/Tokyo", "LC_ALL=C")
	// As the pages have it. The name is no part of what is built.
	for _, b := range docs.Blocks(t, "docs/image.md", "$ make image\n") {
		b.Run(t, tree, env)
	}
	for _, b := range docs.Blocks(t, "docs/install.md", "$ make image") {
		if again := strings.TrimSpace(b.Run(t, tree, env)); again != built.reference {
			t.Errorf("got  %s\nfrom the same as %s", again, built.reference)
		}
	}
	first, err := os.ReadFile(built.archive)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(filepath.Join(tree, "bin", "image", "stsguard-webhook.tar"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("the archives differ")
	}

	archive := filepath.Join(t.TempDir(), "dated.tar")
	dated, err := build(root, archive, "SOURCE_DATE_EPOCH=1000000000")
	if err != nil {
		t.Fatal(err)
	}
	if _, labels := open(t, archive).image(t, "amd64"); labels["org.opencontainers.image.created"] != "2001-09-09T01:46:40Z" || dated == built.reference {
		t.Errorf("SOURCE_DATE_EPOCH: got %v, %s", labels, dated)
	}
}

func TestWrongInputs(t *testing.T) {
	for name, c := range map[string]struct{ source, env, says string }{
		"no checkout": {t.TempDir(), "A=b", "the image's version and date come from git"},
		"no time":     {root, "SOURCE_DATE_EPOCH=today", `SOURCE_DATE_EPOCH must be in seconds, not "today"`},
	} {
		t.Run(name, func(t *testing.T) {
			archive := filepath.Join(t.TempDir(), "image.tar")
			if _, err := build(c.source, archive, c.env); err == nil || !strings.Contains(err.Error(), "image: "+c.says) {
				t.Errorf("got %v", err)
			}
			if _, err := os.Stat(archive); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("an archive is there: %v", err)
			}
		})
	}
}

func TestArchive(t *testing.T) {
	archive := open(t, built.archive)
	var layout struct{ Manifests []descriptor }
	archive.decode(t, "index.json", &layout)
	if len(layout.Manifests) != 1 {
		t.Fatalf("got %d entries, of which loaders would have to choose one", len(layout.Manifests))
	}
	entry := layout.Manifests[0]
	name, digest, _ := strings.Cut(built.reference, "@")
	if entry.Digest != digest || entry.Annotations["io.containerd.image.name"] != name || !strings.HasSuffix(name, ":"+entry.Annotations["org.opencontainers.image.ref.name"]) {
		t.Errorf("got %+v of %s", entry, built.reference)
	}
	if !regexp.MustCompile(`^registry\.example/stsguard-webhook:v[\w.-]+$`).MatchString(name) {
		t.Errorf("got the name %s", name)
	}

	var index struct {
		Manifests   []descriptor
		Annotations map[string]string
	}
	archive.decode(t, blob(entry.Digest), &index)
	for name, want := range map[string]string{
		"title": "^stsguard-webhook$", "description": "StatefulSet", "version": `^v\d`, "revision": "^[0-9a-f]{40}$",
		"source": "^https://github.com/stsguard/stsguard$", "licenses": `^Apache-2\.0$`, "created": `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`,
	} {
		if value := index.Annotations["org.opencontainers.image."+name]; !regexp.MustCompile(want).MatchString(value) {
			t.Errorf("label %s: got %q", name, value)
		}
	}
	if len(index.Manifests) != 2 {
		t.Errorf("got %d platforms", len(index.Manifests))
	}
	for _, architecture := range []string{"amd64", "arm64"} {
		t.Run(architecture, func(t *testing.T) {
			layer, labels := archive.image(t, architecture)
			if fmt.Sprint(labels) != fmt.Sprint(index.Annotations) {
				t.Errorf("got labels %v\nand annotations %v", labels, index.Annotations)
			}
			testLayer(t, layer, architecture, labels)
		})
	}
}

// testLayer holds the files of one platform against what should be there.
func testLayer(t *testing.T, layer []byte, architecture string, labels map[string]string) {
	unpacked, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	files := map[string][]byte{}
	for r := tar.NewReader(unpacked); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %d:%d %s", header.FileInfo().Mode(), header.Uid, header.Gid, header.Name))
		if files[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"drwxr-xr-x 0:0 etc/",
		"-rw-r--r-- 0:0 etc/group",
		"-rw-r--r-- 0:0 etc/passwd",
		"drwxr-xr-x 0:0 licenses/",
		"-rw-r--r-- 0:0 licenses/LICENSE",
		"drwxr-xr-x 0:0 usr/",
		"drwxr-xr-x 0:0 usr/bin/",
		"-rwxr-xr-x 0:0 " + program,
		"drwxr-xr-x 0:0 usr/share/",
		"drwxr-xr-x 0:0 usr/share/sbom/",
		"-rw-r--r-- 0:0 usr/share/sbom/stsguard-webhook.json",
	}
	if !slices.Equal(list, want) {
		t.Errorf("got  %q\nwant %q", list, want)
	}

	info, err := buildinfo.Read(bytes.NewReader(files[program]))
	if err != nil {
		t.Fatal(err)
	}
	if info.Main.Version != labels["org.opencontainers.image.version"] {
		t.Errorf("the program is %s, the label says %v", info.Main.Version, labels)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["GOOS"] != "linux" || settings["GOARCH"] != architecture || settings["CGO_ENABLED"] != "0" || settings["-trimpath"] != "true" || settings["vcs.revision"] != labels["org.opencontainers.image.revision"] {
		t.Errorf("got %v", settings)
	}

	var bom struct {
		Metadata   struct{ Component struct{ Version string } }
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(files["usr/share/sbom/stsguard-webhook.json"], &bom); err != nil {
		t.Fatal(err)
	}
	if bom.Metadata.Component.Version != info.Main.Version {
		t.Errorf("the bill of materials is for %s", bom.Metadata.Component.Version)
	}
	var says []string
	for _, c := range bom.Components {
		says = append(says, c.Name+" "+c.Version)
	}
	linked := []string{"stdlib " + strings.TrimPrefix(info.GoVersion, "go")}
	for _, module := range info.Deps {
		linked = append(linked, module.Path+" "+module.Version)
	}
	if !slices.Equal(says, linked) {
		t.Errorf("the bill of materials says %q\nbut linked are         %q", says, linked)
	}
}

// contents are an archive's files.
type contents map[string][]byte

type descriptor struct {
	Digest      string
	Annotations map[string]string
	Platform    struct{ OS, Architecture string }
}

func blob(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// open reads an archive whose blobs are what their names say.
func open(t *testing.T, path string) contents {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c := contents{}
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return c
		}
		if err != nil {
			t.Fatal(err)
		}
		if c[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		if sum, ok := strings.CutPrefix(header.Name, "blobs/sha256/"); ok && sum != "" && fmt.Sprintf("%x", sha256.Sum256(c[header.Name])) != sum {
			t.Errorf("%s has other content", header.Name)
		}
	}
}

func (c contents) decode(t *testing.T, name string, into any) {
	t.Helper()
	if err := json.Unmarshal(c[name], into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// image is the one layer and the labels of a platform's image.
func (c contents) image(t *testing.T, architecture string) (layer []byte, labels map[string]string) {
	t.Helper()
	var layout, index struct{ Manifests []descriptor }
	c.decode(t, "index.json", &layout)
	c.decode(t, blob(layout.Manifests[0].Digest), &index)
	at := slices.IndexFunc(index.Manifests, func(d descriptor) bool {
		return d.Platform.OS == "linux" && d.Platform.Architecture == architecture
	})
	if at < 0 {
		t.Fatalf("no linux/%s in %+v", architecture, index)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	c.decode(t, blob(index.Manifests[at].Digest), &manifest)
	var config struct {
		Architecture, OS string
		Config           struct {
			User       string
			Entrypoint []string
			Labels     map[string]string
		}
	}
	c.decode(t, blob(manifest.Config.Digest), &config)
	if config.OS != "linux" || config.Architecture != architecture || config.Config.User != "65532:65532" || !slices.Equal(config.Config.Entrypoint, []string{"/" + program}) {
		t.Errorf("got %+v", config)
	}
	if len(manifest.Layers) != 1 {
		t.Fatalf("got %d layers", len(manifest.Layers))
	}
	return c[blob(manifest.Layers[0].Digest)], config.Config.Labels
}
