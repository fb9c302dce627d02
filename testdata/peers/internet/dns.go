package internet

import (
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// TXT is the DNS server of the small internet: it knows text records, and that there is nothing else.
type TXT struct {
	mu      sync.Mutex
	records map[string]string
}

// ServeTXT answers at the address that resolv.conf names.
func ServeTXT(t *testing.T) *TXT {
	t.Helper()
	zone := &TXT{records: map[string]string{}}
	conn, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: zone}
	go server.ActivateAndServe()
	t.Cleanup(func() { server.Shutdown() })
	return zone
}

// Set gives a name its text.
func (z *TXT) Set(name, text string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[dns.CanonicalName(name)] = text
}

// ServeDNS implements dns.Handler.
func (z *TXT) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	answer := new(dns.Msg).SetReply(query)
	z.mu.Lock()
	text, known := z.records[dns.CanonicalName(query.Question[0].Name)]
	z.mu.Unlock()
	switch {
	case !known:
		answer.Rcode = dns.RcodeNameError
	case query.Question[0].Qtype == dns.TypeTXT:
		header := dns.RR_Header{Name: query.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1}
		answer.Answer = []dns.RR{&dns.TXT{Hdr: header, Txt: []string{text}}}
	}
	w.WriteMsg(answer)
}
