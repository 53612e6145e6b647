package security

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// page is a page of the docs.
func page(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section is what stands below a heading, up to the next one.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("there is no heading %q", heading)
	}
	out, _, _ := strings.Cut(rest, "\n#")
	return out
}

// rows are the cells of the tables in a text, without the heads.
func rows(text string) [][]string {
	var out [][]string
	head := true
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			head = true
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case strings.HasPrefix(cells[0], "---"):
			head = false
		case !head:
			out = append(out, cells)
		}
	}
	return out
}
