package proxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
)

// Nothing of the client's own credentials may reach another service.
func TestNoCredentialLeaves(t *testing.T) {
	var got http.Header
	p := newPDS(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() }, nil)
	secret := []string{
		"Authorization", "DPoP secret-access-token", "DPoP", "secret-proof", "Cookie", "session=secret-cookie", "Proxy-Authorization", "Basic secret",
		"X-Forwarded-For", "secret-ip", "Forwarded", "for=secret-ip", "X-Real-Ip", "secret-ip", "Referer", "https://secret/", "Origin", "https://secret",
		"X-Api-Key", "secret", "Atproto-Proxy", service + "#atproto_labeler", "User-Agent", "secret-agent", "If-None-Match", "secret", "Range", "bytes=0-1",
	}
	for _, method := range []string{"GET", "HEAD", "POST"} {
		res := p.do(method, "/xrpc/app.bsky.feed.getTimeline", "", append(secret, "Accept-Language", "de", "Atproto-Accept-Labelers", "did:plc:x;redact",
			"X-Bsky-Topics", "cats", "Accept-Encoding", "br, gzip")...)
		if res.StatusCode != 200 {
			t.Fatalf("%s: %s", method, res.Status)
		}
		for name, values := range got {
			if strings.Contains(strings.Join(values, " "), "secret") {
				t.Errorf("%s: leaked %s: %s", method, name, values)
			}
		}
		want := map[string]string{"Authorization": "Bearer token:" + alice.String() + ":" + service + ":app.bsky.feed.getTimeline", "Accept-Language": "de",
			"Atproto-Accept-Labelers": "did:plc:x;redact", "X-Bsky-Topics": "cats", "Accept-Encoding": "br, gzip", "User-Agent": "Perch"}
		for name, v := range want {
			if got.Get(name) != v {
				t.Errorf("%s: %s = %q, want %q", method, name, got.Get(name), v)
			}
			delete(got, name)
		}
		delete(got, "Content-Length")
		if len(got) > 0 {
			t.Errorf("%s: more headers: %v", method, got)
		}
	}
}

func TestProxyHeader(t *testing.T) {
	p := newPDS(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Authorization")) }, func(o *Options) {
		o.Resolver.(docs)["did:web:mail.example.com"] = "mailto:x@example.com"
		o.Resolver.(docs)["did:web:user.example.com"] = "https://u:p@example.com"
	})
	for header, want := range map[string]string{
		"#atproto_labeler":                          "no did specified in proxy header",
		"#":                                         "no did specified in proxy header",
		service:                                     "no service id specified in proxy header",
		service + "#":                               "no service id specified in proxy header",
		service + "#atproto_labeler#x":              "invalid proxy header format",
		service + "##":                              "invalid proxy header format",
		service + " #atproto_labeler":               "proxy header cannot contain spaces",
		service + "# atproto_labeler":               "proxy header cannot contain spaces",
		service + "#atproto_labeler, a#b":           "invalid proxy header format",
		"foo#atproto_labeler":                       "could not resolve proxy did",
		"did:plc:unknownaaaaaaaaaaaaaaaaa#x":        "could not resolve proxy did",
		service + "#unknown":                        "could not resolve proxy did service url",
		service + "#Atproto_labeler":                "could not resolve proxy did service url",
		"did:web:mail.example.com#atproto_labeler":  "could not resolve proxy did service url",
		"did:web:user.example.com#atproto_labeler":  "could not resolve proxy did service url",
		"did:web:api.example.com#bsky_notification": "could not resolve proxy did",
	} {
		res := p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "", "Atproto-Proxy", header)
		if body := read(t, res); res.StatusCode != 400 || body != fmt.Sprintf(`{"error":"InvalidRequest","message":%q}`, want) {
			t.Errorf("%q: %d %s, want %s", header, res.StatusCode, body, want)
		}
	}
	two := p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "", "Atproto-Proxy", service+"#atproto_labeler", "Atproto-Proxy", service+"#atproto_labeler")
	if two.StatusCode != 400 {
		t.Errorf("two headers: %s", two.Status)
	}
	for header, aud := range map[string]string{"": appView.String(), appView.String() + "#bsky_appview": appView.String(), service + "#atproto_labeler": service} {
		res := p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "", "Atproto-Proxy", header)
		if body := read(t, res); body != "Bearer token:"+alice.String()+":"+aud+":app.bsky.feed.getTimeline" {
			t.Errorf("%q: %s", header, body)
		}
	}
}

func TestFragmentAudienceAndAllow(t *testing.T) {
	p := newPDS(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Authorization")) }, func(o *Options) { o.FragmentAudience = true })
	refusal := &Error{Status: 403, Name: "ScopeMissingError", Message: "no"}
	p.caller.Allow = func(method syntax.NSID, aud string) error {
		if method == "app.bsky.feed.getTimeline" && aud == appView.String()+"#bsky_appview" {
			return nil
		}
		return refusal
	}
	if body := read(t, p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "")); !strings.Contains(body, ":"+appView.String()+"#bsky_appview:") {
		t.Error(body)
	}
	if res := p.do("GET", "/xrpc/app.bsky.feed.getFeed", ""); res.StatusCode != 403 {
		t.Errorf("method outside the grant: %s", res.Status)
	}
	if res := p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "", "Atproto-Proxy", service+"#atproto_labeler"); res.StatusCode != 403 {
		t.Errorf("service outside the grant: %s", res.Status)
	}
}

func TestRefusals(t *testing.T) {
	p := newPDS(t, func(http.ResponseWriter, *http.Request) { t.Error("reached the service") }, nil)
	for path, want := range map[string]int{"/xrpc/": 400, "/xrpc/nope": 400, "/xrpc/app.bsky.feed.getTimeline/": 400, "/xrpc/app.bsky.feed.getTimeline/x": 400,
		"/xrpc/app.bsky.feed..getTimeline": 400, "/xrpc/app.bsky.feed.get%2fTimeline": 400, "/other/app.bsky.feed.getTimeline": 400, "/xrpc/..%2fadmin": 400} {
		if res := p.do("GET", path, ""); res.StatusCode != want {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	for _, verb := range []string{"PUT", "DELETE", "PATCH", "OPTIONS"} {
		if res := p.do(verb, "/xrpc/app.bsky.feed.getTimeline", ""); res.StatusCode != 400 {
			t.Errorf("%s: %s", verb, res.Status)
		}
	}
	if res := p.do("GET", "/xrpc/com.atproto.sync.subscribeRepos", "", "Connection", "Upgrade", "Upgrade", "websocket"); res.StatusCode != 400 {
		t.Errorf("websocket: %s", res.Status)
	}
	for _, m := range []string{"tools.ozone.moderation.emitEvent", "com.atproto.moderation.createReport"} {
		if body := read(t, p.do("POST", "/xrpc/"+m, "")); !strings.Contains(body, "No service configured for "+m) {
			t.Errorf("%s: %s", m, body)
		}
	}
	for status, want := range map[string]string{"deactivated": "AccountDeactivated", "takendown": "AccountTakedown", "suspended": "AccountTakedown", "deleted": "AccountNotFound"} {
		p.caller = Caller{DID: alice, Allow: allowAll, Status: status}
		if body := read(t, p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "")); !strings.Contains(body, want) {
			t.Errorf("%s account: %s", status, body)
		}
	}
	p.caller = Caller{DID: alice}
	if res := p.do("GET", "/xrpc/app.bsky.feed.getTimeline", ""); res.StatusCode != 403 || !strings.Contains(read(t, res), "Forbidden") {
		t.Errorf("nothing decides about the caller: %s", res.Status)
	}
	p.caller = Caller{Allow: allowAll}
	if res := p.do("GET", "/xrpc/app.bsky.feed.getTimeline", ""); res.StatusCode != 401 || !strings.Contains(read(t, res), "AuthMissing") {
		t.Errorf("nobody signed in: %s", res.Status)
	}
}

// Every request that is passed on is asked about first, in the spelling that it came in, with whom it is for.
func TestAllowIsAskedAboutEverything(t *testing.T) {
	p := newPDS(t, func(http.ResponseWriter, *http.Request) { t.Error("reached the service") }, func(o *Options) { o.Moderation = o.AppView })
	var asked []string
	p.caller.Allow = func(method syntax.NSID, aud string) error {
		asked = append(asked, method.String()+" "+aud)
		return &Error{Status: 400, Name: "InvalidToken", Message: "Bad token method"}
	}
	for _, m := range []string{"com.atproto.server.getSession", "COM.atproto.Server.ActivateAccount", "chat.bsky.convo.getLog", "app.bsky.feed.getTimeline", "tools.ozone.server.getConfig"} {
		for verb, header := range map[string]string{"GET": "", "HEAD": "", "POST": service + "#atproto_labeler"} {
			res := p.do(verb, "/xrpc/"+m, "", "Atproto-Proxy", header)
			if res.StatusCode != 400 {
				t.Errorf("%s %s: %s", verb, m, res.Status)
			}
			aud := header
			if aud == "" {
				aud = appView.String() + "#bsky_appview"
			}
			if want := m + " " + aud; len(asked) != 1 || asked[0] != want {
				t.Errorf("%s %s: asked %q, want %q", verb, m, asked, want)
			}
			asked = nil
		}
	}
}

func TestGuardStandsUnlessSwitchedOff(t *testing.T) {
	p := newPDS(t, func(http.ResponseWriter, *http.Request) { t.Error("reached a private address") }, func(o *Options) { o.AllowPrivate = false })
	for _, header := range []string{"", service + "#atproto_labeler"} { // http://127.0.0.1
		if res := p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "", "Atproto-Proxy", header); res.StatusCode != 502 {
			t.Errorf("%q: %s", header, res.Status)
		}
	}
	if err := <-p.errs; !errors.Is(err, identity.ErrBlocked) {
		t.Errorf("cause: %v", err)
	}
}

func TestPassesOn(t *testing.T) {
	p := newPDS(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for k, v := range map[string]string{"Content-Type": "application/json; charset=utf-8", "Content-Language": "de", "Atproto-Repo-Rev": "3k", "Atproto-Content-Labelers": "did:plc:x",
			"Set-Cookie": "a=b", "Access-Control-Allow-Origin": "https://evil", "X-Secret": "y", "Location": "/x", "Www-Authenticate": "z"} {
			w.Header().Set(k, v)
		}
		fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding"), body)
	}, nil)
	res := p.do("GET", "/xrpc/app.bsky.feed.getPosts?uris=at://a%2Fb&uris=c&x=%00", "", "Content-Type", "text/x")
	if got := read(t, res); got != "GET /xrpc/app.bsky.feed.getPosts?uris=at://a%2Fb&uris=c&x=%00   " {
		t.Errorf("GET: %q", got)
	}
	for name, want := range map[string]string{"Content-Type": "application/json; charset=utf-8", "Content-Language": "de", "Atproto-Repo-Rev": "3k", "Atproto-Content-Labelers": "did:plc:x",
		"X-Content-Type-Options": "nosniff", "Set-Cookie": "", "Access-Control-Allow-Origin": "", "X-Secret": "", "Location": "", "Www-Authenticate": ""} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	res = p.do("POST", "/xrpc/app.bsky.graph.muteActor?a=b", `{"actor":"x"}`, "Content-Type", "application/json", "Content-Encoding", "x-test")
	if got := read(t, res); got != `POST /xrpc/app.bsky.graph.muteActor?a=b application/json x-test {"actor":"x"}` {
		t.Errorf("POST: %q", got)
	}
	res = p.do("HEAD", "/xrpc/app.bsky.feed.getPosts", "")
	if res.StatusCode != 200 || res.Header.Get("Content-Length") == "" || res.Header.Get("Atproto-Repo-Rev") != "3k" {
		t.Errorf("HEAD: %s %v", res.Status, res.Header)
	}
}

// A body without known length, and a compressed answer, go through as they are.
func TestStreams(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte("hello"))
	z.Close()
	p := newPDS(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("X", r.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Encoding", "gzip")
		fmt.Fprint(w, packed.String())
	}, nil)
	req, _ := http.NewRequest("POST", p.url+"/xrpc/app.bsky.graph.muteActor", io.MultiReader(strings.NewReader("a"), strings.NewReader("b")))
	req.Header.Set("Accept-Encoding", "gzip")
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := read(t, res); got != packed.String() || res.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%q %v", got, res.Header)
	}
	r, err := p.proxy.Fetch(context.Background(), Call{Method: "app.bsky.feed.getPosts", Target: *p.proxy.opts.AppView, Header: http.Header{"Accept-Encoding": {"br"}}})
	if err != nil || string(r.Body) != "hello" || r.Header.Get("Content-Encoding") != "" {
		t.Errorf("Fetch: %+v, %v", r, err)
	}
}
