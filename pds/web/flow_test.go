package web

import "testing"

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
