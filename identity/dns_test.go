package identity

import (
	"bytes"
	"compress/gzip"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// dnsServer is a name server on loopback that knows what tests tell it.
type dnsServer struct {
	addr string

	mu     sync.Mutex
	txts   map[string][]string
	addrs  map[string][]string
	rcodes map[string]int
	asked  map[string]int // questions for TXT by name
}

func newDNS(t testing.TB) *dnsServer {
	t.Helper()
	s := &dnsServer{txts: map[string][]string{}, addrs: map[string][]string{}, rcodes: map[string]int{}, asked: map[string]int{}}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = pc.LocalAddr().String()
	ready := make(chan struct{})
	srv := &dns.Server{PacketConn: pc, Handler: s, NotifyStartedFunc: func() { close(ready) }}
	go srv.ActivateAndServe()
	<-ready
	t.Cleanup(func() { srv.Shutdown() })
	return s
}

func (s *dnsServer) resolver() *net.Resolver { return nameserver(s.addr) }

func (s *dnsServer) txt(name string, values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.txts[name] = values
}

func (s *dnsServer) a(name string, values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addrs[name] = values
}

func (s *dnsServer) fail(name string, rcode int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rcodes[name] = rcode
}

func (s *dnsServer) questions(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[name]
}

func (s *dnsServer) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(req)
	q := req.Question[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	hdr := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 1}
	if q.Qtype == dns.TypeTXT {
		s.asked[name]++
		for _, v := range s.txts[name] {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: hdr, Txt: []string{v}})
		}
	}
	for _, v := range s.addrs[name] {
		addr := netip.MustParseAddr(v)
		if addr.Is4() && q.Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{Hdr: hdr, A: addr.AsSlice()})
		}
		if addr.Is6() && q.Qtype == dns.TypeAAAA {
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: hdr, AAAA: addr.AsSlice()})
		}
	}
	if len(m.Answer) == 0 && s.addrs[name] == nil {
		m.Rcode = dns.RcodeNameError
	}
	if rcode, ok := s.rcodes[name]; ok {
		m.Rcode, m.Answer = rcode, nil
	}
	w.WriteMsg(m)
}

// gzipped returns n zero bytes, packed.
func gzipped(n int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(make([]byte, n))
	z.Close()
	return b.Bytes()
}
