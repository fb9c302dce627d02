package identity

import (
	"errors"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

func TestLexiconAuthority(t *testing.T) {
	dns := newDNS(t)
	const did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	dns.txt("_lexicon.app.example.com", "v=spf1", "did="+did)
	dns.txt("_lexicon.two.example.com", "did="+did, "did=did:web:other.example.com")
	dns.txt("_lexicon.example.org", "did="+did)
	r := New(Options{Nameservers: []string{dns.addr}})
	for nsid, want := range map[syntax.NSID]error{
		"com.example.app.authBasic": nil, "com.example.two.authBasic": ErrHandleAmbiguous,
		"com.example.authBasic": ErrNotFound, "com.example.app.sub.authBasic": ErrNotFound, // neither up nor down
		"org.example.authBasic": nil, "org.example.sub.authBasic": ErrNotFound,
	} {
		got, err := r.LexiconAuthority(t.Context(), nsid)
		if !errors.Is(err, want) || want == nil && got != did {
			t.Errorf("%s: %s, %v; want %v", nsid, got, err, want)
		}
	}
}
