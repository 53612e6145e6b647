package security

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

const mebibyte = 1 << 20

// raw is a connection on which a test may misbehave.
func raw(t *testing.T) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", shared.server.Address(), trusted(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// head is that of a request with a body of this size.
func head(path string, size int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, hostname, size)
}

func write(t *testing.T, to io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(to, text); err != nil {
		t.Fatal(err)
	}
}

// status is that of the answer that comes.
func status(t *testing.T, c net.Conn) int {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// TestTimeLimits: the limits are those of docs/security.md, and nobody is cut off
// before.
func TestTimeLimits(t *testing.T) {
	const limit = 10 * time.Second
	for what, do := range map[string]func(t *testing.T) net.Conn{
		"a handshake that doesn't begin": func(t *testing.T) net.Conn {
			c, err := net.DialTimeout("tcp", shared.server.Address(), 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
				t.Fatal(err)
			}
			return c
		},
		"a header that doesn't end": func(t *testing.T) net.Conn {
			c := raw(t)
			write(t, c, "POST /validate HTTP/1.1\r\nHost: a\r\n")
			return c
		},
		"a body that doesn't come": func(t *testing.T) net.Conn {
			c := raw(t)
			write(t, c, head("/validate", 1000)+"{")
			if code := status(t, c); code != http.StatusRequestTimeout {
				t.Errorf("got %d", code)
			}
			return c
		},
		"a body that nobody wants": func(t *testing.T) net.Conn {
			c := raw(t)
			write(t, c, head("/elsewhere", 1000)+"{")
			return c
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			if _, err := io.Copy(io.Discard, do(t)); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("it stays open")
			}
			if took := time.Since(began); took < limit-time.Second || took > 2*limit {
				t.Errorf("open for %s", took)
			}
		})
	}
}

func TestSizeLimits(t *testing.T) {
	c := raw(t)
	write(t, c, head("/validate", 8*mebibyte+1))
	if code := status(t, c); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a body over 8 MiB: %d", code)
	}
	c = raw(t)
	// The server answers and closes without reading the rest.
	go func() { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 2*mebibyte)) }()
	if code := status(t, c); code != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header over 1 MiB: %d", code)
	}
}

// TestRoom: ten bodies that are all but complete are more than there is room for.
// Somebody hears so at once, and all is well afterwards.
func TestRoom(t *testing.T) {
	refused := func() (int, error) {
		log, err := os.ReadFile(shared.server.Process.Log())
		return strings.Count(string(log), "too many requests at once"), err
	}
	before, err := refused()
	if err != nil {
		t.Fatal(err)
	}
	most := strings.Repeat(" ", 8*mebibyte-1)
	var open []*tls.Conn
	for range 10 {
		c := raw(t)
		open = append(open, c)
		go func() { _, _ = io.WriteString(c, head("/validate", 8*mebibyte)+most) }()
	}
	eventually(t, "there is no room", func() error {
		now, err := refused()
		if err == nil && now == before {
			err = errors.New("nobody was refused")
		}
		return err
	})
	for _, c := range open {
		c.Close()
	}
	response, err := client(t).Post("https://"+shared.server.Address()+"/validate", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("afterwards: %s", response.Status)
	}
}
