package identity

import "testing"

// One server has one origin, however a document writes it: who moves from here to here would lose the account, and each form would have limits of its own.
func TestOriginHasOneForm(t *testing.T) {
	for text, want := range map[string]string{
		"https://PDS.Example.com": "https://pds.example.com", "https://pds.example.com:443/": "https://pds.example.com", "http://localhost:80": "http://localhost",
		"https://pds.example.com:8443": "https://pds.example.com:8443", "https://pds.example.com:80": "https://pds.example.com:80", "https://[2001:DB8::443]": "https://[2001:db8::443]",
		"https://pds.example.com:": "https://pds.example.com",
	} {
		if got, ok := Origin(text); !ok || got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"javascript:alert(1)", "https://", "https://a/b", "https://u@a", "https://a?b", "https://a#", "ftp://a"} {
		if got, ok := Origin(text); ok {
			t.Errorf("%s is taken as %s", text, got)
		}
	}
}
