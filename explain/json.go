package explain

import (
	"encoding/json"
	"fmt"
	"io"
)

// WriteJSON writes the explanation for other tools. Its errors say that the
// output could not be written.
func (e *Explanation) WriteJSON(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	if err := out.Encode(e); err != nil {
		return fmt.Errorf("write the explanation as JSON: %w", err)
	}
	return nil
}
