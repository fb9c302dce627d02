package identity

import "testing"

// One server has one origin, however a document writes it: who moves from here to here would lose the account, and each form would have limits of its own.
func TestOriginHasOneForm(t *testing.T) {
	for text, want := range map[string]string{
		"https://PDS.Example.com": "https://pds.example.com", "https://pds.example.com:443/": "https://pds.example.com", "http://localhost:80": "http://localhost",
		"https://pds.example.com:8443": "https://pds.example.com:8443", "https://pds.example.com:80": "https://pds.example.com:80", "https://[2001:DB8::443]": "https://[2001:db8::443]",
		"https://pds.example.com:": "https://pds.example.com", "https://pds.example.com.": "https://pds.example.com", "https://pds.example.com.:443": "https://pds.example.com",
		"https://ＰＤＳ.example.com": "https://pds.example.com", "https://pds。example。com": "https://pds.example.com", "https://pds%EF%BC%8Eexample.com": "https://pds.example.com",
		"https://pds.exa\u200bmple.com": "https://pds.example.com", "https://bsk%D1%83.example:8443": "https://xn--bsk-ffd.example:8443", "https://münchen.example": "https://xn--mnchen-3ya.example",
		"https://[2001:0db8:0::443]:443": "https://[2001:db8::443]", "https://a_b.example": "https://a_b.example",
	} {
		if got, ok := Origin(text); !ok || got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"javascript:alert(1)", "https://", "https://a/b", "https://u@a", "https://a?b", "https://a#", "ftp://a", "https://.", "https://a;b.example", "https://a,b.example", "https://a\"b.example",
		"https://pds.example.com\u202e", "https://%E2%80%AEmoc.elpmaxe.sdp", "https://[fe80::1%25eth0]"} {
		if got, ok := Origin(text); ok {
			t.Errorf("%s is taken as %s", text, got)
		}
	}
}
