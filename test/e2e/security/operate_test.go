package security

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/stsguard/stsguard/test/docs"
)

var (
	metricName = regexp.MustCompile(`stsguard_[a-z_]+`)
	sample     = regexp.MustCompile(`(?m)^(stsguard_[a-z_]+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? [^ ]+$`)
	labelName  = regexp.MustCompile(`([a-z_]+)="`)
)

// TestMetricsAreDocumented holds the table of docs/operate.md against what a
// running server exposes, read with the rights that the page gives.
func TestMetricsAreDocumented(t *testing.T) {
	text := page(t, "operate.md")
	for _, b := range docs.Blocks(t, "docs/operate.md", "apiVersion: rbac") {
		if out, err := kubectl(t, b.Text, "create", "-f", "-"); err != nil {
			t.Fatal(out)
		}
	}
	// What Prometheus is told of TLS is what the client below goes by.
	for _, b := range docs.Blocks(t, "docs/operate.md", "tls_config:") {
		var job struct {
			TLS struct {
				CAFile     string `json:"ca_file"`
				ServerName string `json:"server_name"`
			} `json:"tls_config"`
		}
		if err := yaml.UnmarshalStrict([]byte(b.Text), &job); err != nil || job.TLS.ServerName != hostname || filepath.Base(job.TLS.CAFile) != authority {
			t.Errorf("%s: %+v %v", b, job, err)
		}
	}
	account := token(t, "operator")
	mayScrape(t, "operator", "stsguard-metrics-reader")
	c := client(t)
	var exposed string
	eventually(t, "the role counts", func() error {
		code, text := scrape(t, c, http.MethodGet, account)
		exposed = text
		if code != http.StatusOK {
			return fmt.Errorf("%d: %s", code, text)
		}
		return nil
	})

	// There is a sample of each: the start of these tests was denied something.
	got := map[string]string{}
	for _, m := range sample.FindAllStringSubmatch(exposed, -1) {
		var labels []string
		for _, l := range labelName.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		slices.Sort(labels)
		got[m[1]] = strings.Join(labels, " ")
	}
	want := map[string]string{}
	for _, cells := range rows(section(t, text, "## Metrics")) {
		labels := strings.FieldsFunc(cells[1], func(r rune) bool { return strings.ContainsRune("`, ", r) })
		slices.Sort(labels)
		want[strings.Trim(cells[0], "`")] = strings.Join(labels, " ")
	}
	if !maps.Equal(got, want) {
		t.Errorf("exposed are\n%v\nthe docs say\n%v", got, want)
	}
	for _, name := range metricName.FindAllString(section(t, text, "## Alerts worth having"), -1) {
		if _, ok := want[strings.TrimSuffix(name, "_bucket")]; !ok {
			t.Errorf("an alert is about %s, which there is not", name)
		}
	}
}

var logged = regexp.MustCompile(`(?:log(?:\(\))?|OrDiscard\([^\n]*\))(\.V\(1\))?\.(Info|Error)\((?:err, |fmt\.Errorf\([^)]*\), )?(?:"([^"]+)"|o\.decision)`)

// TestLogIsDocumented holds the table of docs/operate.md against the sources.
func TestLogIsDocumented(t *testing.T) {
	got := map[string]string{}
	for _, dir := range []string{"certs", "cmd/stsguard-webhook", "inventory/cluster", "registration", "verdict", "webhook"} {
		files, err := filepath.Glob(filepath.Join("..", "..", "..", dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(files), err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range logged.FindAllStringSubmatch(string(source), -1) {
				level := strings.ToLower(m[2])
				messages := []string{m[3]}
				switch {
				case m[1] != "":
					level, messages = "debug", []string{"warned"}
				case m[3] == "":
					messages = []string{"denied", "mutated"}
				}
				for _, message := range messages {
					got[message] = level
				}
			}
		}
	}
	want := map[string]string{}
	for _, cells := range rows(section(t, page(t, "operate.md"), "## Log")) {
		want[strings.Trim(cells[0], "`")] = cells[1]
	}
	if !maps.Equal(got, want) {
		for _, message := range slices.Sorted(maps.Keys(got)) {
			if want[message] != got[message] {
				t.Errorf("%q is logged as %s; the docs say %q", message, got[message], want[message])
			}
		}
		for message := range want {
			if got[message] == "" {
				t.Errorf("%q is nowhere logged", message)
			}
		}
	}
}
