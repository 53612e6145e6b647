package migrate

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// plan is what somebody reads in the Markdown.
type plan struct{ steps []step }

type step struct {
	title, text, commands string
	checks                []check
	back                  string
	// then is the number of the step with which to go back further.
	then int
}

type check struct{ command, prints string }

var (
	heading = regexp.MustCompile(`(?m)^## `)
	further = regexp.MustCompile(`step (\d+) says:?$`)
)

func parse(text string) (*plan, error) {
	p := &plan{}
	for _, part := range heading.Split(text, -1)[1:] {
		title, body, _ := strings.Cut(part, "\n")
		number, title, numbered := strings.Cut(title, ". ")
		if !numbered {
			continue
		}
		if number != strconv.Itoa(len(p.steps)+1) {
			return nil, fmt.Errorf("step %s comes after %d others", number, len(p.steps))
		}
		s := step{title: title}
		for i, piece := range strings.Split("\n"+body, "\n```") {
			if i%2 == 0 {
				if s.text == "" {
					s.text = strings.Join(strings.Fields(piece), " ")
				}
				said := strings.TrimSpace(piece)
				if m := further.FindStringSubmatch(strings.Join(strings.Fields(said), " ")); m != nil {
					s.then, _ = strconv.Atoi(m[1])
				}
				continue
			}
			code := strings.TrimPrefix(piece, "bash\n") + "\n"
			switch {
			case s.commands == "":
				s.commands = code
			case len(s.checks) == 0:
				s.checks = checks(code)
			default:
				s.back = code
			}
		}
		if s.commands == "" || len(s.checks) == 0 {
			return nil, fmt.Errorf("step %q has no commands, or no checks", title)
		}
		p.steps = append(p.steps, s)
	}
	return p, nil
}

// checks are commands, each with what it prints below it.
func checks(code string) []check {
	var out []check
	for line := range strings.Lines(code) {
		if prints, ok := strings.CutPrefix(line, "# "); ok {
			out[len(out)-1].prints += prints
		} else {
			out = append(out, check{command: line})
		}
	}
	return out
}
