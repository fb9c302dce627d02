package web

import (
	"testing"

	"perch/pds/oauth"
)

func TestAppsPutNothingIntoThePolicy(t *testing.T) {
	for uri, want := range map[string]string{
		"https://app.example/cb":           "https://app.example",
		"http://127.0.0.1:8080/cb":         "http://127.0.0.1:8080",
		"http://[::1]:8080/":               "http:",
		"com.example.app:/cb":              "com.example.app:",
		"https://a;sandbox/":               "https:",
		"https://a,default-src/":           "https:",
		"https://a'unsafe-inline'.example": "https:",
		"%%":                               "'none'",
	} {
		if got := formTarget(uri); got != want {
			t.Errorf("%s: %q, want %q", uri, got, want)
		}
	}
	if got := originOf("https://a;script-src/logo.png"); got != "" {
		t.Errorf("a logo puts %q into the policy", got)
	}
}

// Names that run from right to left stay in their place in a sentence, and nothing hidden turns it around.
func TestAppsAreCalledWhatTheyAre(t *testing.T) {
	trusted := func(name string) oauth.Client {
		return oauth.Client{ID: "https://app.example.com/client.json", Trusted: true, Name: name}
	}
	for _, c := range []struct {
		client oauth.Client
		want   string
	}{
		{trusted("Kite"), "Kite"},
		{trusted("تطبيق"), "\u2068تطبيق\u2069"},
		{trusted("קול…"), "\u2068קול…\u2069"},
		{trusted("カイト 🪁…"), "カイト 🪁…"},
		{trusted(""), "app.example.com"},
		{oauth.Client{ID: "https://app.example.com/client.json", Name: "Your bank"}, "app.example.com"},
	} {
		if got := appName(c.client); got != c.want {
			t.Errorf("%+v is called %q, want %q", c.client, got, c.want)
		}
	}
}
