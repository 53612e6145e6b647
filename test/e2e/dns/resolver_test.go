package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// resolver asks one DNS server.
type resolver struct{ server string }

// answer is what the server said. Its records are sorted: those of SRV are
// target:port, names have no dot at their end.
type answer struct {
	code    string // NOERROR, NXDOMAIN and so on
	records []string
}

func (a answer) String() string {
	if len(a.records) > 0 {
		return strings.Join(a.records, " ")
	}
	if a.code == dns.RcodeToString[dns.RcodeSuccess] {
		return "no data"
	}
	return a.code
}

const nxdomain = "NXDOMAIN"

func (a answer) nxdomain() bool { return a.code == nxdomain && len(a.records) == 0 }

// mostTries is how often a datagram is sent that gets no answer.
const mostTries = 5

// ask asks for the records of one type: A, SRV, PTR, CNAME. An answer that says
// that there is nothing is no error.
func (r resolver) ask(ctx context.Context, name string, kind uint16) (answer, error) {
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	question.SetEdns0(4096, false)
	client := &dns.Client{Timeout: 3 * time.Second}
	var reply *dns.Msg
	var err error
	for range mostTries {
		reply, _, err = client.ExchangeContext(ctx, question, r.server)
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			break
		}
	}
	if err == nil && reply.Truncated {
		client.Net = "tcp"
		reply, _, err = client.ExchangeContext(ctx, question, r.server)
	}
	if err != nil {
		return answer{}, fmt.Errorf("ask for %s %s: %w", name, dns.TypeToString[kind], err)
	}
	out := answer{code: dns.RcodeToString[reply.Rcode]}
	for _, record := range reply.Answer {
		if record.Header().Rrtype != kind {
			continue
		}
		switch r := record.(type) {
		case *dns.A:
			out.records = append(out.records, r.A.String())
		case *dns.SRV:
			out.records = append(out.records, fmt.Sprintf("%s:%d", strings.TrimSuffix(r.Target, "."), r.Port))
		case *dns.PTR:
			out.records = append(out.records, strings.TrimSuffix(r.Ptr, "."))
		case *dns.CNAME:
			out.records = append(out.records, strings.TrimSuffix(r.Target, "."))
		}
	}
	slices.Sort(out.records)
	return out, nil
}

// askReverse asks for the names of an address.
func (r resolver) askReverse(ctx context.Context, address string) (answer, error) {
	name, err := dns.ReverseAddr(address)
	if err != nil {
		return answer{}, fmt.Errorf("ask for the names of %s: %w", address, err)
	}
	return r.ask(ctx, name, dns.TypePTR)
}

// dashed is the first part of the name of an endpoint that has no hostname.
func dashed(address string) string { return strings.ReplaceAll(address, ".", "-") }
