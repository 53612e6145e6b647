package manifest

import (
	"encoding/json"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// jsonScanner makes a tree with positions of what is known to be a valid JSON
// value. The YAML parser doesn't do: not all JSON is YAML to it.
type jsonScanner struct {
	data         []byte
	line, column int
}

// take moves on by n bytes.
func (s *jsonScanner) take(n int) []byte {
	text := s.data[:n]
	for i := 0; i < n; {
		_, size := utf8.DecodeRune(text[i:])
		s.column++
		if text[i] == '\n' {
			s.line, s.column = s.line+1, 1
		}
		i += size
	}
	s.data = s.data[n:]
	return text
}

// skip passes all that stands between two values.
func (s *jsonScanner) skip() byte {
	for len(s.data) > 0 {
		switch s.data[0] {
		case ' ', '\t', '\r', '\n', ',', ':':
			s.take(1)
		default:
			return s.data[0]
		}
	}
	return 0
}

func (s *jsonScanner) value() *node {
	n := &node{Kind: yaml.ScalarNode}
	switch s.skip() {
	case '{', '[':
		n.Line, n.Column = s.line, s.column
		n.Kind, n.Style = yaml.SequenceNode, yaml.FlowStyle
		if s.take(1)[0] == '{' {
			n.Kind = yaml.MappingNode
		}
		for c := s.skip(); c != '}' && c != ']' && c != 0; c = s.skip() {
			n.Content = append(n.Content, s.value())
		}
		s.take(min(1, len(s.data)))
	case '"':
		n.Line, n.Column, n.Style = s.line, s.column, yaml.DoubleQuotedStyle
		end := 1
		for end < len(s.data) && s.data[end] != '"' {
			if s.data[end] == '\\' {
				end++
			}
			end++
		}
		_ = json.Unmarshal(s.take(min(end+1, len(s.data))), &n.Value)
	default:
		n.Line, n.Column = s.line, s.column
		end := 0
		for end < len(s.data) && s.data[end] > ' ' && s.data[end] != ',' && s.data[end] != '}' && s.data[end] != ']' {
			end++
		}
		n.Value = string(s.take(end))
	}
	return n
}
