package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
)

// program is what the image runs. The command line tool is not in it: nobody
// runs that in a cluster.
const program = "stsguard-webhook"

// architectures are those of the image's platforms, all on Linux.
var architectures = []string{"amd64", "arm64"}

// binary is the program for one platform.
type binary struct {
	architecture string
	content      []byte
	// info is what Go wrote into it: its version, the commit and its modules.
	info *debug.BuildInfo
}

// build builds the program for every platform.
func build(ctx context.Context, source string) ([]binary, error) {
	if _, err := os.Stat(filepath.Join(source, ".git")); err != nil {
		return nil, fmt.Errorf("the image's version and date come from git, so build it in a clone: %w", err)
	}
	dir, err := os.MkdirTemp("", "stsguard-image-")
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", program, err)
	}
	defer os.RemoveAll(dir)
	var binaries []binary
	for _, architecture := range architectures {
		b, err := buildFor(ctx, source, architecture, filepath.Join(dir, architecture))
		if err != nil {
			return nil, fmt.Errorf("build %s for linux/%s: %w", program, architecture, err)
		}
		binaries = append(binaries, b)
	}
	return binaries, nil
}

func buildFor(ctx context.Context, source, architecture, path string) (binary, error) {
	// Without DWARF, a quarter of the size; but with the symbols, by which
	// govulncheck tells what is linked from what is only required.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=true", "-ldflags=-w", "-o", path, "./cmd/"+program)
	cmd.Dir = source
	// What else changes the bytes is not left to the environment. GOFLAGS has a
	// value since an empty one lets those of `go env -w` in.
	cmd.Env = append(os.Environ(),
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH="+architecture, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-mod=readonly", "GOWORK=off",
	)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return binary{}, fmt.Errorf("%w\n%s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return binary{}, err
	}
	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return binary{}, err
	}
	return binary{architecture, content, info}, nil
}

// setting is one of the build's, "" if it has none of that name.
func (b binary) setting(name string) string {
	for _, s := range b.info.Settings {
		if s.Key == name {
			return s.Value
		}
	}
	return ""
}
