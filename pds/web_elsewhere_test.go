package pds

import (
	"strings"
	"testing"
)

const homeOfPages = "https://pds.example.com"

func underOneName(c *Config) {
	c.Hostname, c.ServiceHandleDomains = "pds.example.com", []string{".test"}
}

// abroad expects the page that says where this server is, and that nothing is left in the browser.
func (v *visitor) abroad(path string) {
	v.t.Helper()
	v.shows(421, strings.SplitN(path, "?", 2)[0], "This server is at pds.example.com", `href="`+homeOfPages+path+`"`)
	if c := v.page.header.Values("Set-Cookie"); len(c) > 0 {
		v.t.Errorf("%s gives cookies to %s: %q", v.page.what, v.host, c)
	}
}

// Who owns a name decides where its cookies go tomorrow, so nobody may sign in under a name that is somebody's handle, or was.
func TestPagesAreUnderOneNameOnly(t *testing.T) {
	n := startNetwork(t, underOneName)
	n.signUp(t, "alice")
	v := n.visitor(t)

	for _, host := range []string{"alice.test", "Alice.TEST:8443", "alice.test."} {
		v.host = host
		for _, path := range []string{"/", "/account/sign-in?next=%2Faccount", "/oauth/authorize?request_uri=x", "/nothing/here"} {
			v.header.Set("Accept", "text/html")
			v.open(path)
			if to := v.page.header.Get("Location"); v.page.status != 303 || to != homeOfPages+path {
				t.Errorf("%s%s: %d %s", host, path, v.page.status, to)
			}
			if c := v.page.header.Values("Set-Cookie"); len(c) > 0 {
				t.Errorf("%s%s gives cookies: %q", host, path, c)
			}
		}
	}
	for _, host := range []string{"former-handle.com", "pds.example.com.evil.com", "a_b.evil.com", "xn--pds-bma.example.com"} {
		v.host = host
		v.open("/account/sign-in?lang=en").abroad("/account/sign-in?lang=en")
	}
}

func TestPagesTakeNoFormsUnderAnotherName(t *testing.T) {
	n := startNetwork(t, underOneName)
	n.signUp(t, "alice")
	for _, host := range []string{"alice.test", "former-handle.com"} {
		v := n.visitor(t)
		v.header.Set("Cookie", "__Host-perch-browser="+strings.Repeat("A", 32))
		v.open("/account/sign-in")
		v.host = host
		v.send("/account/sign-in", "identifier", "alice.test", "password", "alice-password").abroad("/account/sign-in")
	}
}

// Behind a proxy the Host may be a name of the network inside; and what is no page belongs to the names.
func TestOtherNamesKeepWhatIsTheirs(t *testing.T) {
	n := startNetwork(t, underOneName)
	alice := n.signUp(t, "alice")
	v := n.visitor(t)
	for _, host := range []string{"pds.example.com", "PDS.example.com:443", "localhost:2583", "127.0.0.1", "[::1]:2583", "perch", "perch.default.svc.cluster.local", "perch.internal"} {
		v.host = host
		v.open("/account/sign-in").shows(200, "/account/sign-in")
		if policy := v.page.header.Get("Content-Security-Policy"); !strings.Contains(policy, " pds.example.com/assets/;") {
			t.Errorf("%s: a browser at the public address may not load the files of the pages: %s", host, policy)
		}
	}
	v.host = "alice.test"
	if v.open("/.well-known/atproto-did"); string(v.page.body) != alice.did {
		t.Errorf("the handle leads to %s", v.page.body)
	}
	if v.open("/xrpc/_health"); v.page.status != 200 {
		t.Errorf("health: %d", v.page.status)
	}
}
