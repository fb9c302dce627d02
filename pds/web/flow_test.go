package web

import (
	"testing"
	"time"

	"perch/pds/oauth"
)

func TestAppsPutNothingIntoThePolicy(t *testing.T) {
	for uri, want := range map[string]string{
		"https://app.example/cb":           "https:",
		"http://127.0.0.1:8080/cb":         "http:",
		"http://[::1]:8080/":               "http:",
		"com.example.app:/cb":              "com.example.app:",
		"https://a;sandbox/":               "https:",
		"https://a,default-src/":           "https:",
		"https://a'unsafe-inline'.example": "https:",
		"%%":                               "'none'",
		"/cb":                              "'none'",
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

// What is wrong with the way of an app is told apart, for whoever stands there: what will be over soon, what has ended, and what the app's makers must mend.
func TestWhatHoldsUpAnAppIsTold(t *testing.T) {
	for _, c := range []struct {
		refused oauth.Error
		name    string
		waits   bool
	}{
		{oauth.Error{Status: 503, Code: oauth.Unavailable, Away: true, RetryAfter: time.Minute}, "app-away", true},
		{oauth.Error{Status: 503, Code: oauth.Unavailable}, "busy", false},
		{oauth.Error{Status: 400, Code: oauth.InvalidRequest, Ended: true}, "app-ended", false},
		{oauth.Error{Status: 400, Code: oauth.InvalidClientMeta, Description: "x"}, "app", false},
	} {
		p := problemOf((&request{}).failFlow(&c.refused))
		if p.name != c.name || p.status != c.refused.Status || p.retry > 0 != c.waits {
			t.Errorf("%+v: %+v", c.refused, p)
		}
		for tag, words := range languages() {
			for _, part := range []string{".title", ".text"} {
				if key := "problem." + p.name + part; !words.has(key) {
					t.Errorf("%s has no %s", tag, key)
				}
			}
		}
	}
}
