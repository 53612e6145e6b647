package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	kubectl "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/stsguard/stsguard/parallel"
)

// readAndSplit does the least that any program must do: it reads each file and
// has apimachinery's YAMLReader take it apart, on all cores and with a setting of
// the garbage collector that makes it faster than the CLI's would.
func readAndSplit(ctx context.Context, dir string) error {
	debug.SetGCPercent(400)
	files, err := manifests(dir)
	if err != nil {
		return err
	}
	errs := make([]error, len(files))
	parallel.Do(ctx, len(files), func(i int) { errs[i] = readFile(files[i]) })
	return errors.Join(errs...)
}

func readFile(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	r := kubectl.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		if _, err := r.Read(); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("split %s: %w", path, err)
		}
	}
}
