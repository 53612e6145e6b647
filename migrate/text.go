package migrate

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/stsguard/stsguard/report"
)

// WriteText writes the plan as Markdown: prose to read, and blocks for bash to
// copy. What a check prints stands below it as a comment.
func (p *Plan) WriteText(w io.Writer) error {
	var b bytes.Buffer
	say := func(text string) { b.WriteString(report.Fold("", text)) }
	list := func(items []string) {
		b.WriteByte('\n')
		for _, item := range items {
			lines := strings.Split(strings.TrimSuffix(report.Fold("", item), "\n"), "\n")
			fmt.Fprintf(&b, "- %s\n", strings.Join(lines, "\n  "))
		}
	}
	code := func(text string) { fmt.Fprintf(&b, "\n```bash\n%s```\n", text) }
	fmt.Fprintf(&b, "# %s\n", p.Title)
	list(p.About)
	if len(p.Steps) > 0 {
		b.WriteByte('\n')
		say("Nothing has been changed. Run the commands of one step after the other in bash, and go on when its checks print what stands below them, which may take a few seconds.")
	}
	if len(p.Before) > 0 {
		b.WriteString("\n## Before you begin\n")
		list(p.Before)
	}
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "\n## %d. %s\n\n", i+1, s.Title)
		say(strings.Join(s.Text, " "))
		code(s.Commands)
		if len(s.Checks) > 0 {
			b.WriteString("\nCheck:\n")
			var all strings.Builder
			for _, c := range s.Checks {
				all.WriteString(c.Command)
				for line := range strings.Lines(c.Prints) {
					all.WriteString("# " + line)
				}
			}
			code(all.String())
		}
		b.WriteByte('\n')
		say(s.Back.describe())
		if s.Back.Commands != "" {
			code(s.Back.Commands)
		}
	}
	if len(p.After) > 0 {
		b.WriteString("\n## Afterwards\n")
		list(p.After)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

// describe says how the commands, if there are any, lead back.
func (b Back) describe() string {
	text := "To go back"
	switch {
	case b.Commands == "" && b.Then == 0:
		return "There is nothing to go back to."
	case b.Commands == "":
		return fmt.Sprintf("To go back, do what step %d says.", b.Then)
	case b.Then > 0:
		text += fmt.Sprintf(", and then on with what step %d says", b.Then)
	}
	return strings.TrimSpace(b.Text + " " + text + ":")
}
