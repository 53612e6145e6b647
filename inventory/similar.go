package inventory

import (
	"iter"
	"sort"
	"strings"

	"github.com/agnivade/levenshtein"
)

const (
	// maxTypos is how many typing errors two similar names have at most.
	maxTypos = 2
	// longest is a Service's longest name with a typing error or two. Whoever asks
	// for a longer one need not mean any, and to compare it takes time and memory.
	longest = mostLabelLength + maxTypos
)

// similar says whether b may be what somebody meant who wrote a: it is the same
// but for typing errors, or one is the other with words before or behind it.
func similar(a, b string) bool {
	return a != "" && b != "" && (extends(a, b) || extends(b, a) || mistyped(a, b))
}

func extends(a, b string) bool { return strings.HasPrefix(a, b+"-") || strings.HasSuffix(a, "-"+b) }

// mistyped allows for up to two typing errors in words of some length.
func mistyped(a, b string) bool {
	if max(len(a), len(b)) > longest {
		return false
	}
	a, b = differing(a, b)
	shorter := min(len(a), len(b))
	return max(len(a), len(b))-shorter <= maxTypos && levenshtein.ComputeDistance(a, b) <= min(maxTypos, shorter/3)
}

// differing cuts off the words that both names begin and end with. What they
// share makes web-headless no likelier to be meant by db-headless than web by db.
func differing(a, b string) (string, string) {
	words := sharedWords(a, b)
	a, b = a[words:], b[words:]
	end := a[len(a)-commonSuffix(a, b):]
	if i := strings.IndexByte(end, '-'); i >= 0 {
		a, b = strings.TrimSuffix(a, end[i:]), strings.TrimSuffix(b, end[i:])
	}
	return a, b
}

// sharedWords is the length of the words that both names begin with.
func sharedWords(a, b string) int { return strings.LastIndexByte(a[:commonPrefix(a, b)], '-') + 1 }

// likeness is all Services of a namespace in the order of their names, to find
// mistyped ones without a look at each. Names are ASCII: what else is in them
// counts as one letter for each byte.
type likeness []*Service

// like yields those whose name is this one but for typing errors. It goes
// through the names in order and keeps the distances between what they begin
// with and what this one begins with. As soon as those are all too great, it
// goes past all that begin alike.
func (l likeness) like(name string) iter.Seq[*Service] {
	return func(yield func(*Service) bool) {
		if len(name) > longest {
			return
		}
		rows := [][]int{make([]int, len(name)+1)}
		for i := range rows[0] {
			rows[0][i] = i
		}
		before := ""
		for i := 0; i < len(l); {
			other := l[i].Name
			most := min(maxTypos, len(name[sharedWords(name, other):])/3)
			rows = rows[:1+min(len(rows)-1, commonPrefix(before, other))]
			for len(rows) <= len(other) {
				row, least := nextRow(rows[len(rows)-1], name, other[len(rows)-1])
				if least > most {
					break
				}
				rows = append(rows, row)
			}
			before = other
			if len(rows) <= len(other) {
				begin := other[:len(rows)]
				i += sort.Search(len(l)-i, func(k int) bool { return !strings.HasPrefix(l[i+k].Name, begin) })
				continue
			}
			if mistyped(other, name) && !yield(l[i]) {
				return
			}
			i++
		}
	}
}

// nextRow returns the distances of the beginnings of name from a text one
// letter longer than that of the row, and the least of them.
func nextRow(row []int, name string, letter byte) (next []int, least int) {
	next = make([]int, len(row))
	next[0] = row[0] + 1
	least = next[0]
	for i := range len(name) {
		substitute := row[i]
		if name[i] != letter {
			substitute++
		}
		next[i+1] = min(substitute, row[i+1]+1, next[i]+1)
		least = min(least, next[i+1])
	}
	return next, least
}

func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func commonSuffix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}
