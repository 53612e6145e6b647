//go:build linux

package installed

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documented are the commands of the first block with this text that a page of the
// docs has below a heading, without what they print.
func documented(t *testing.T, page, heading, text string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(content), heading+"\n")
	if !found {
		t.Fatalf("docs/%s has no heading %q", page, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, block := range regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(section, -1) {
		if !strings.Contains(block[1], text) {
			continue
		}
		prompts := regexp.MustCompile(`(?m)^\$ (.*\n)`).FindAllStringSubmatch(block[1], -1)
		if len(prompts) == 0 {
			return block[1]
		}
		commands := ""
		for _, p := range prompts {
			commands += p[1]
		}
		return commands
	}
	t.Fatalf("docs/%s has no %q below %q", page, text, heading)
	return ""
}
