package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestProgressLine(t *testing.T) {
	for ticks, want := range map[int]string{
		0:                 "",
		progressAfter:     "",
		progressAfter + 1: "\r\x1b[K1 file\r\x1b[K",
		progressAfter + 2: "\r\x1b[K1 file\r\x1b[K2 files\r\x1b[K",
	} {
		var out strings.Builder
		lines := []string{"1 file", "2 files"}
		clock := make(chan time.Time)
		erase := showProgress(&out, clock, func() string {
			line := lines[0]
			lines = lines[1:]
			return line
		})
		for range ticks {
			clock <- time.Time{}
		}
		erase()
		erase()
		if out.String() != want {
			t.Errorf("after %d ticks: %q, want %q", ticks, out.String(), want)
		}
	}
}

// A log or a pipe never gets to see it, however long the run takes.
func TestProgressIsForTerminals(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there is no /dev/ptmx")
	}
	defer terminal.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	asked := make(chan struct{}, 100)
	line := func() string { asked <- struct{}{}; return "" }
	shown := func() bool {
		select {
		case <-asked:
			return true
		case <-time.After((progressAfter + 5) * progressEvery):
			return false
		}
	}
	getenv := func(term string) func(string) string {
		return func(name string) string { return map[string]string{"TERM": term}[name] }
	}
	var stops []func()
	for _, c := range []Command{
		{Stderr: terminal, Getenv: getenv("dumb")},
		{Stderr: file, Getenv: getenv("xterm")},
		{Stderr: io.Discard, Getenv: getenv("xterm")},
	} {
		stops = append(stops, c.progress(&output{}, line))
	}
	c := Command{Stderr: terminal, Getenv: getenv("xterm")}
	stops = append(stops, c.progress(&output{quiet: true}, line))
	if shown() {
		t.Error("it is shown where nobody wants it, or nothing can erase it")
	}
	for _, stop := range stops {
		stop()
	}
	stop := c.progress(&output{}, line)
	if !shown() {
		t.Error("it is not shown on a terminal")
	}
	stop()
}
