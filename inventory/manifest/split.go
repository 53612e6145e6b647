package manifest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// utf8Text takes a byte order mark away and turns UTF-16, which YAML allows,
// into UTF-8.
func utf8Text(data []byte) ([]byte, error) {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return data[3:], nil
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}):
		order = binary.LittleEndian
	case bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		order = binary.BigEndian
	default:
		return data, nil
	}
	if len(data)%2 != 0 {
		return nil, errors.New("incomplete UTF-16 text")
	}
	units := make([]uint16, len(data)/2-1)
	for i := range units {
		units[i] = order.Uint16(data[2*i+2:])
	}
	return []byte(string(utf16.Decode(units))), nil
}

// split takes a file apart into documents as kubectl does, which is not quite
// as YAML has it.
//
// A file that begins with a brace is a sequence of JSON values. If the first
// of them turns out not to be JSON, the file is YAML after all; if what
// follows the only one is a separator, the rest is.
func split(data []byte) (documents []*document, errs []Error) {
	if !bytes.HasPrefix(bytes.TrimLeftFunc(data, unicode.IsSpace), []byte("{")) {
		return splitYAML(data, 0, 1)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	for end := 0; ; end = int(decoder.InputOffset()) {
		var value json.RawMessage
		err := decoder.Decode(&value)
		if err == io.EOF {
			return documents, nil
		}
		if err == nil {
			// A copy from the decoder; the file's own bytes are kept anyway.
			stop := int(decoder.InputOffset())
			start := stop - len(value)
			line, column := position(data, start)
			documents = append(documents, &document{data: data[start:stop], start: start, end: stop, line: line, column: column, json: true})
			continue
		}
		if len(documents) == 0 {
			return splitYAML(data, 0, 1)
		}
		rest := bytes.TrimLeftFunc(data[end:], unicode.IsSpace)
		line, column := position(data, len(data)-len(rest))
		if len(documents) == 1 && bytes.HasPrefix(rest, []byte(separator)) {
			more, errs := splitYAML(data, len(data)-len(rest), line)
			return append(documents, more...), errs
		}
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line, column = position(data, max(end, int(syntax.Offset)-1))
		}
		return documents, []Error{{Line: line, Column: column, Message: "not valid JSON, as which the file begins: " + err.Error()}}
	}
}

const separator = "---"

// splitYAML splits at every line that begins with three dashes, wherever it
// stands. Where nothing came before, the line belongs to the document. The
// text begins at start, with the line of that number.
func splitYAML(data []byte, start, line int) (documents []*document, errs []Error) {
	startLine := line
	cut := func(end int) {
		if end > start {
			documents = append(documents, &document{data: data[start:end], start: start, end: end, line: startLine, column: 1})
		}
	}
	for at := start; at < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if after, ok := bytes.CutPrefix(data[at:end], []byte(separator)); ok {
			text := bytes.TrimSpace(after)
			if len(text) > 0 && text[0] != '#' {
				column := 1 + len(separator) + utf8.RuneCount(after[:bytes.Index(after, text)])
				errs = append(errs, Error{Line: line, Column: column,
					Message: fmt.Sprintf("only a comment may follow the document separator %s on its line", separator)})
				cut(at)
				start, startLine = end, line+1
			} else if at > start {
				cut(at)
				start, startLine = end, line+1
			}
		}
		at = end
	}
	cut(len(data))
	return documents, errs
}

// position turns a byte offset into line and column.
func position(data []byte, offset int) (line, column int) {
	before := data[:min(offset, len(data))]
	line = 1 + bytes.Count(before, []byte("\n"))
	return line, 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
}
