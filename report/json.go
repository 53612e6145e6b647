package report

import (
	"encoding/json"
	"fmt"
	"io"
)

type jsonWriter struct{ w io.Writer }

// NewJSON returns a Writer of the JSON that other tools rely on.
func NewJSON(w io.Writer) Writer { return jsonWriter{w} }

func (j jsonWriter) Write(r *Report) error {
	e := json.NewEncoder(j.w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write the report as JSON: %w", err)
	}
	return nil
}
