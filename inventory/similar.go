package inventory

import (
	"cmp"
	"iter"
	"slices"
	"sort"
	"strings"

	"github.com/agnivade/levenshtein"
)

// maxTypos is how many typing errors two similar names have at most.
const maxTypos = 2

// similar says whether b may be what somebody meant who wrote a: up to two
// typing errors in words of some length, or one the other with words before or
// behind it.
func similar(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	if strings.HasPrefix(a, b+"-") || strings.HasPrefix(b, a+"-") || strings.HasSuffix(a, "-"+b) || strings.HasSuffix(b, "-"+a) {
		return true
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

// likeness finds similar names among many without a look at each. Names are
// ASCII: what else is in them counts as one letter for each byte.
type likeness struct {
	// forwards and backwards are all Services of a namespace, in the order of
	// their names, and in that of their names spelt backwards.
	forwards, backwards []*Service
}

// newLikeness takes the list over.
func newLikeness(services []*Service) *likeness {
	slices.SortFunc(services, compareNames)
	l := &likeness{forwards: services, backwards: slices.Clone(services)}
	slices.SortFunc(l.backwards, func(a, b *Service) int { return compareBackwards(a.Name, b.Name) })
	return l
}

func compareNames(a, b *Service) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Place.index(), b.Place.index()))
}

func compareBackwards(a, b string) int {
	for i := 1; i <= min(len(a), len(b)); i++ {
		if c := cmp.Compare(a[len(a)-i], b[len(b)-i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// like yields the Services with a name similar to this one, in the order of
// their names.
func (l *likeness) like(name string) iter.Seq[*Service] {
	return func(yield func(*Service) bool) {
		worded := l.worded(name)
		for s := range l.mistyped(name) {
			for len(worded) > 0 && compareNames(worded[0], s) <= 0 {
				if worded[0] != s && !yield(worded[0]) {
					return
				}
				worded = worded[1:]
			}
			if !yield(s) {
				return
			}
		}
		for _, s := range worded {
			if !yield(s) {
				return
			}
		}
	}
}

// worded returns those whose name has words more or less than this one, before
// or behind it.
func (l *likeness) worded(name string) []*Service {
	var out []*Service
	collect := func(list []*Service, compare func(a, b string) int, start string, match func(s, start string) bool) {
		i := sort.Search(len(list), func(i int) bool { return compare(list[i].Name, start) >= 0 })
		for ; i < len(list) && match(list[i].Name, start); i++ {
			out = append(out, list[i])
		}
	}
	same := func(a, b string) bool { return a == b }
	collect(l.forwards, cmp.Compare, name+"-", strings.HasPrefix)
	collect(l.backwards, compareBackwards, "-"+name, strings.HasSuffix)
	for i := range len(name) {
		if name[i] == '-' {
			collect(l.forwards, cmp.Compare, name[:i], same)
			collect(l.forwards, cmp.Compare, name[i+1:], same)
		}
	}
	out = slices.DeleteFunc(out, func(s *Service) bool { return !similar(s.Name, name) })
	slices.SortFunc(out, compareNames)
	return slices.Compact(out)
}

// mistyped yields those whose name is this one but for typing errors. It goes
// through the names in order and keeps the distances between what they begin
// with and what this one begins with. As soon as those are all too great, it
// goes past all that begin alike.
func (l *likeness) mistyped(name string) iter.Seq[*Service] {
	return func(yield func(*Service) bool) {
		rows := [][]int{make([]int, len(name)+1)}
		for i := range rows[0] {
			rows[0][i] = i
		}
		before := ""
		for i := 0; i < len(l.forwards); {
			other := l.forwards[i].Name
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
				i += sort.Search(len(l.forwards)-i, func(k int) bool { return !strings.HasPrefix(l.forwards[i+k].Name, begin) })
				continue
			}
			if similar(other, name) && !yield(l.forwards[i]) {
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
