package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stsguard/stsguard/verdict"
)

const (
	// maxBody has room for an object and an old one of 3 MiB each, which is
	// what the API server accepts.
	maxBody = 8 << 20
	// pooledBody is the largest buffer worth keeping for the next request.
	pooledBody = 64 << 10

	// maxRoom is what all requests of one moment may take together: 512 that
	// are judged, more than several API servers send at once, or seven of the
	// largest bodies.
	maxRoom = 64 << 20
	// judging is what it takes to judge a request, or judgingItem for each of very
	// many ports, labels and the like.
	judging     = 128 << 10
	judgingItem = 4 << 10
	// maxItems is how many of these an object may have. To judge so many takes
	// about a second.
	maxItems = 5_000
	// decodingValue is what it takes to decode a field or an element, of which a
	// body may have maxValues.
	decodingValue = 256
	maxValues     = 200_000
	// freeBody is how much of a body takes nothing, so that who sends slowly
	// keeps nobody else out.
	freeBody = 64 << 10

	// defaultTimeout is that of a webhook configuration which gives none.
	defaultTimeout = 10 * time.Second
	// longestTimeout is the longest that one may give.
	longestTimeout = 30 * time.Second
)

// errFull is told at once, rather than to wait: then the API server's failurePolicy
// decides, and nothing piles up.
var errFull = refuse(http.StatusTooManyRequests, "too many requests at once")

// room is how many bytes are taken.
type room struct{ taken atomic.Int64 }

// share is what one request takes of it, while its body is read and after that.
type share struct {
	room  *room
	body  io.Reader
	read  int
	taken int64
}

func (s *share) take(size int) error {
	s.taken += int64(size)
	if s.room.taken.Add(int64(size)) > maxRoom {
		return errFull
	}
	return nil
}

// takeToDecode takes what it takes to decode the body, and to judge what most have.
func (s *share) takeToDecode(body []byte) error {
	values := bytes.Count(body, []byte{','})
	if values > maxValues {
		return refuse(http.StatusRequestEntityTooLarge, "the objects have %d fields and elements, and at most %d are read", values, maxValues)
	}
	return s.take(max(judging, values*decodingValue))
}

// takeToJudge takes what it takes besides to judge objects with very many items. One
// that has too many already may be made smaller, or go.
func (s *share) takeToJudge(r *verdict.Request) error {
	before := max(r.ServiceBefore.Items(), r.StatefulSetBefore.Items())
	after := max(r.ServiceAfter.Items(), r.StatefulSetAfter.Items())
	if after > maxItems {
		return refuse(http.StatusRequestEntityTooLarge, "%s has %d ports, labels and the like, and at most %d are judged: use several objects, or exempt the namespace", object(r), after, maxItems)
	}
	return s.take(max(0, (before+after)*judgingItem-judging))
}

func (s *share) giveBack() { s.room.taken.Add(-s.taken) }

// Read takes room for what has come, since what is announced need never come.
func (s *share) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	s.read += n
	if beyond := min(n, s.read-freeBody); beyond > 0 {
		if full := s.take(beyond); full != nil {
			return n, full
		}
	}
	return n, err
}

// readBody reads all of the body, which is at most maxBody.
func (s *share) readBody(into *bytes.Buffer, w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength > maxBody {
		return tooLarge()
	}
	into.Reset()
	if r.ContentLength > 0 {
		// ReadFrom wants room to see the end in.
		into.Grow(int(min(r.ContentLength, freeBody)) + bytes.MinRead)
	}
	s.body = http.MaxBytesReader(w, io.NopCloser(r.Body), maxBody)
	_, err := into.ReadFrom(s)
	var limit *http.MaxBytesError
	var refused *refusal
	switch {
	case errors.As(err, &limit):
		return tooLarge()
	case errors.As(err, &refused):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "the body did not come in time")
	case err != nil:
		return refuse(http.StatusBadRequest, "read the body: %v", err)
	case into.Len() == 0:
		return refuse(http.StatusBadRequest, "the request has no body")
	}
	return nil
}

func tooLarge() error {
	return refuse(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", maxBody)
}

// deadline ends a little before the API server stops waiting, so that it hears
// why there is no verdict. The end of the connection or of the server itself
// does not count: what has begun is judged.
func deadline(r *http.Request) (context.Context, context.CancelFunc) {
	timeout := defaultTimeout
	if _, given, ok := strings.Cut(r.URL.RawQuery, "timeout="); ok {
		given, _, _ = strings.Cut(given, "&")
		if d, err := time.ParseDuration(given); err == nil && d > 0 {
			timeout = min(d, longestTimeout)
		}
	}
	return context.WithTimeout(context.WithoutCancel(r.Context()), timeout-timeout/10)
}
