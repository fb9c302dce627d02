package oauth_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"perch/pds/oauth/oauthtest"
)

// TestBadClients: metadata that are wrong in one thing each.
func TestBadClients(t *testing.T) {
	key := oauthtest.NewKey("key-1")
	private := with(key.JWK(), fields{"d": "AAAA"})
	keys := func(all ...fields) fields { return fields{"keys": all} }
	proven := func(more fields) fields { return with(confidentialDoc(key), more) }
	native := func(more fields) fields {
		return with(publicDoc(), with(fields{"application_type": "native"}, more))
	}
	uris := func(uri string) fields { return fields{"redirect_uris": []string{uri}} }
	w := newWorld(t)
	for name, doc := range map[string]fields{
		"client_id of another":              with(publicDoc(), fields{"client_id": clientHost + "/other.json"}),
		"no client_id":                      with(publicDoc(), fields{"client_id": nil}),
		"client_id a number":                with(publicDoc(), fields{"client_id": 1}),
		"no redirect_uris":                  with(publicDoc(), fields{"redirect_uris": nil}),
		"empty redirect_uris":               with(publicDoc(), fields{"redirect_uris": []string{}}),
		"redirect_uris a text":              with(publicDoc(), fields{"redirect_uris": redirect}),
		"redirect http":                     with(publicDoc(), uris("http://app.example.com/callback")),
		"redirect localhost":                with(publicDoc(), uris("https://localhost/callback")),
		"redirect loopback of a web client": with(publicDoc(), uris("http://127.0.0.1/callback")),
		"redirect private address":          with(publicDoc(), uris("https://10.0.0.1/callback")),
		"redirect with a fragment":          with(publicDoc(), uris(redirect+"#x")),
		"redirect with an empty fragment":   with(publicDoc(), uris(redirect+"#")),
		"redirect with a user":              with(publicDoc(), uris("https://u@app.example.com/callback")),
		"redirect relative":                 with(publicDoc(), uris("/callback")),
		"redirect javascript":               with(publicDoc(), uris("javascript:alert(1)")),
		"redirect with a list in its host":  with(publicDoc(), uris("https://a.example.com,b/callback")),
		"redirect with a policy in it":      with(publicDoc(), uris("https://a.example.com;script-src/callback")),
		"redirect to any host":              with(publicDoc(), uris("https://*/callback")),
		"redirect with wide letters":        with(publicDoc(), uris("https://bücher.example.com/callback")),
		"redirect data":                     with(publicDoc(), uris("data:text/html,x")),
		"redirect scheme of a web client":   with(publicDoc(), uris("com.example.app:/callback")),
		"redirect endless":                  with(publicDoc(), uris(redirect+strings.Repeat("x", 3000))),
		"native, https of another host":     native(uris("https://other.example.com/callback")),
		"native, scheme of another":         native(uris("com.example.evil:/callback")),
		"native, scheme not reversed":       native(uris("app.example.com:/callback")),
		"native, scheme with two slashes":   native(uris("com.example.app://callback")),
		"native, scheme without a slash":    native(uris("com.example.app:callback")),
		"native, scheme without a dot":      native(uris("myapp:/callback")),
		"native, http elsewhere":            native(uris("http://app.example.com/callback")),
		"native, http localhost":            native(uris("http://localhost/callback")),
		"native, https loopback":            native(uris("https://127.0.0.1/callback")),
		"native with a key":                 native(proven(fields{"application_type": "native"})),
		"application_type browser":          with(publicDoc(), fields{"application_type": "browser"}),
		"no scope":                          with(publicDoc(), fields{"scope": nil}),
		"scope without atproto":             with(publicDoc(), fields{"scope": "transition:generic"}),
		"scope with doubles":                with(publicDoc(), fields{"scope": "atproto atproto"}),
		"scope with two spaces":             with(publicDoc(), fields{"scope": "atproto  x"}),
		"scope a list":                      with(publicDoc(), fields{"scope": []string{"atproto"}}),
		"tokens not bound":                  with(publicDoc(), fields{"dpop_bound_access_tokens": false}),
		"tokens not said to be bound":       with(publicDoc(), fields{"dpop_bound_access_tokens": nil}),
		"bound a text":                      with(publicDoc(), fields{"dpop_bound_access_tokens": "true"}),
		"response_types token":              with(publicDoc(), fields{"response_types": []string{"token"}}),
		"grant_types without the code":      with(publicDoc(), fields{"grant_types": []string{"refresh_token"}}),
		"grant_types implicit":              with(publicDoc(), fields{"grant_types": []string{"authorization_code", "implicit"}}),
		"grant_types password":              with(publicDoc(), fields{"grant_types": []string{"authorization_code", "password"}}),
		"grant_types twice":                 with(publicDoc(), fields{"grant_types": []string{"authorization_code", "authorization_code"}}),
		"no auth method":                    with(publicDoc(), fields{"token_endpoint_auth_method": nil}),
		"auth method secret":                with(publicDoc(), fields{"token_endpoint_auth_method": "client_secret_basic"}),
		"auth alg without method":           with(publicDoc(), fields{"token_endpoint_auth_signing_alg": "ES256"}),
		"subject_type pairwise":             with(publicDoc(), fields{"subject_type": "pairwise"}),
		"TLS certificates":                  with(publicDoc(), fields{"tls_client_certificate_bound_access_tokens": true}),
		"encrypted responses":               with(publicDoc(), fields{"authorization_encrypted_response_alg": "RSA-OAEP"}),
		"authorization_details":             with(publicDoc(), fields{"authorization_details_types": []string{"x"}}),
		"client_uri of another host":        with(publicDoc(), fields{"client_uri": "https://bank.example.com"}),
		"client_uri http":                   with(publicDoc(), fields{"client_uri": "http://app.example.com"}),
		"logo_uri http":                     with(publicDoc(), fields{"logo_uri": "http://app.example.com/logo.png"}),
		"logo_uri javascript":               with(publicDoc(), fields{"logo_uri": "javascript:alert(1)"}),
		"policy_uri data":                   with(publicDoc(), fields{"policy_uri": "data:text/html,x"}),
		"tos_uri relative":                  with(publicDoc(), fields{"tos_uri": "/tos"}),
		"no keys":                           proven(fields{"jwks": nil}),
		"empty keys":                        proven(fields{"jwks": keys()}),
		"keys a list":                       proven(fields{"jwks": []fields{key.JWK()}}),
		"private key":                       proven(fields{"jwks": keys(private)}),
		"symmetric key":                     proven(fields{"jwks": keys(fields{"kty": "oct", "k": "AAAA", "kid": "a"})}),
		"key without kid":                   proven(fields{"jwks": keys(with(key.JWK(), fields{"kid": nil}))}),
		"key for encryption":                proven(fields{"jwks": keys(with(key.JWK(), fields{"use": "enc"}))}),
		"key not on the curve":              proven(fields{"jwks": keys(with(key.JWK(), fields{"x": "AAAA"}))}),
		"jwks and jwks_uri":                 proven(fields{"jwks_uri": clientHost + "/jwks.json"}),
		"jwks_uri http":                     proven(fields{"jwks": nil, "jwks_uri": "http://app.example.com/jwks.json"}),
		"jwks_uri of nothing":               proven(fields{"jwks": nil, "jwks_uri": clientHost + "/none.json"}),
		"RSA key that is too small":         proven(fields{"jwks": keys(rsaKey(1024))}),
		"RSA key that is too large":         proven(fields{"jwks": keys(rsaKey(16384))}),
		"auth alg none":                     proven(fields{"token_endpoint_auth_signing_alg": "none"}),
		"auth alg HS256":                    proven(fields{"token_endpoint_auth_signing_alg": "HS256"}),
		"no auth alg":                       proven(fields{"token_endpoint_auth_signing_alg": nil}),
	} {
		t.Run(name, func(t *testing.T) {
			a := w.app()
			a.ClientID = clientHost + "/" + fmt.Sprintf("%x", name) + ".json"
			if doc["client_id"] == clientID {
				doc["client_id"] = a.ClientID
			}
			w.serve(strings.TrimPrefix(a.ClientID, clientHost), doc)
			pushFails(t, a, false)
		})
	}
}

// rsaKey is a public key of the size in bits, whose private one nobody has.
func rsaKey(bits int) fields {
	n := bytes.Repeat([]byte{0xff}, bits/8)
	return fields{"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(n), "e": "AQAB", "kid": "key-1"}
}

// TestFormPostNeedsAWebSite: the page that sends the form cannot send it to an installed program.
func TestFormPostNeedsAWebSite(t *testing.T) {
	w := newWorld(t)
	a := w.app()
	a.Redirect = "com.example.app:/callback"
	w.serve("/oauth-client-metadata.json", with(publicDoc(), fields{"application_type": "native", "redirect_uris": []string{a.Redirect}}))
	a.Push(change{Form: fields{"response_mode": "form_post"}}).Fails(400, "invalid_request")
	a.Push(change{Form: fields{"response_mode": "fragment"}}).OK()
}

// TestUploadsAreNoClients: on any server of the protocol anybody may upload a document that its host does not answer for.
func TestUploadsAreNoClients(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"/xrpc/com.atproto.sync.getBlob?did=did:web:a&cid=b", "/%78rpc/com.atproto.sync.getBlob?cid=b", "/XRPC/x", "//xrpc/com.atproto.sync.getBlob?cid=b"} {
		a := w.app()
		a.ClientID = clientHost + id
		doc := with(publicDoc(), fields{"client_id": a.ClientID})
		w.serve("/xrpc/com.atproto.sync.getBlob", doc)
		w.serve("/XRPC/x", doc)
		w.serve("//xrpc/com.atproto.sync.getBlob", doc)
		pushFails(t, a, false)
	}
	if w.fetched.Load() != 0 {
		t.Error("they were asked for")
	}
}

// TestClientIDsAreASCII: pages show the client_id, and its host as the app's name. Letters that look like others, or that hide or turn what stands beside them, are none of it.
func TestClientIDsAreASCII(t *testing.T) {
	w := newWorld(t)
	for what, id := range map[string]string{
		"a host in another script":        "https://%D0%B5xample.com/m.json", // its е is Cyrillic
		"a host in wide letters":          "https://%EF%BD%85xample.com/m.json",
		"a host with a space of no width": "https://example%E2%80%8B.com/m.json",
		"a host with another dot":         "https://www%E3%80%82example.com/m.json",
		"a host with a comma":             "https://good.example,example.com/m.json",
		"a host with quotes":              "https://good.example\"example.com/m.json",
		"a query that turns round":        "https://example.com/m.json?\u202emoc.doog//:sptth",
		"a query that hides":              "https://example.com/m.json?\u200b",
	} {
		t.Run(what, func(t *testing.T) {
			a := w.app()
			a.ClientID = id
			w.serve("/m.json", with(publicDoc(), fields{"client_id": id, "client_uri": nil}))
			pushFails(t, a, false)
		})
	}
	if w.fetched.Load() != 0 {
		t.Error("they were asked for")
	}
	a := w.app()
	a.ClientID = "https://xn--xample-2of.com/m.json?a=%E2%80%8B"
	w.serve("/m.json", with(publicDoc(), fields{"client_id": a.ClientID, "client_uri": nil}))
	a.Push(change{}).OK()
}

// TestMembersTwice: a document that two readers may understand in two ways is none.
func TestMembersTwice(t *testing.T) {
	w := newWorld(t)
	a := w.app()
	body, err := json.Marshal(publicDoc())
	if err != nil {
		t.Fatal(err)
	}
	for what, doc := range map[string]string{
		"twice": strings.Replace(string(body), "{", `{"scope":"atproto",`, 1), "in other letters": strings.Replace(string(body), `"redirect_uris"`, `"REDIRECT_URIS"`, 1),
	} {
		w.docs["/oauth-client-metadata.json"] = func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = rw.Write([]byte(doc))
		}
		if r := a.Push(change{}); r.Status != 400 || r.JSON["error"] != "invalid_client_metadata" {
			t.Errorf("%s: %d %s", what, r.Status, r.Body)
		}
		w.pass(time.Minute)
	}
}

// pushFails expects that the client is not accepted: that its metadata are not right, or that its host is away, which is not its fault and may be over soon.
func pushFails(t *testing.T, a *oauthtest.App, away bool) {
	t.Helper()
	r := a.Push(change{})
	r.T = t
	if away {
		r.Fails(503, "temporarily_unavailable")
	} else {
		r.Fails(400, "invalid_client_metadata")
	}
	if later := r.Header.Get("Retry-After"); (later != "") != away {
		t.Errorf("Retry-After %q", later)
	}
	if d, _ := r.JSON["error_description"].(string); d == "" || strings.Contains(d, "127.0.0.1:") {
		t.Errorf("description %q", d)
	}
}

// TestBadClientHosts: what hosts of clients may answer with.
func TestBadClientHosts(t *testing.T) {
	w := newWorld(t)
	send := func(status int, kind, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", kind)
			rw.WriteHeader(status)
			_, _ = rw.Write([]byte(body))
		}
	}
	for name, h := range map[string]http.HandlerFunc{
		"404":         send(404, "application/json", "{}"),
		"429":         send(429, "application/json", "{}"),
		"500":         send(500, "application/json", "{}"),
		"503":         send(503, "text/html", "{}"),
		"201":         send(201, "application/json", "{}"),
		"204":         send(204, "application/json", ""),
		"HTML":        send(200, "text/html", "{}"),
		"no type":     send(200, "", "{}"),
		"text":        send(200, "text/plain", "{}"),
		"no JSON":     send(200, "application/json", "<html>"),
		"empty":       send(200, "application/json", ""),
		"null":        send(200, "application/json", "null"),
		"a list":      send(200, "application/json", "[]"),
		"a number":    send(200, "application/json", "7"),
		"too large":   send(200, "application/json", `{"x":"`+strings.Repeat("x", 300_000)+`"}`),
		"two values":  send(200, "application/json", "{}{}"),
		"deep":        send(200, "application/json", strings.Repeat("[", 20_000)),
		"a redirect":  func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, clientID, 302) },
		"another 308": func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "http://127.0.0.1/", 308) },
		"slow":        func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"slow body": func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = rw.Write([]byte("{"))
			rw.(http.Flusher).Flush()
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // or the end could still reach who has just given up, and the body would be whole
		},
		"cut off": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			rw.Header().Set("Content-Length", "100")
			_, _ = rw.Write([]byte("{"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.app() // serves the document that redirects lead to
			a.ClientID = clientHost + "/" + fmt.Sprintf("%x", name) + ".json"
			w.docs[strings.TrimPrefix(a.ClientID, clientHost)] = h
			w.client.Timeout = 0
			if strings.HasPrefix(name, "slow") {
				w.client.Timeout = 100 * time.Millisecond
			}
			away := slices.Contains([]string{"429", "500", "503", "slow", "slow body", "cut off"}, name)
			pushFails(t, a, away)
			before := w.fetched.Load()
			pushFails(t, a, away)
			if w.fetched.Load() != before {
				t.Error("the host is asked again at once")
			}
		})
	}
}

func TestGoodClients(t *testing.T) {
	w := newWorld(t)
	native := with(publicDoc(), fields{"application_type": "native"})
	for name, c := range map[string]struct {
		doc      fields
		redirect string
	}{
		"web":                        {publicDoc(), redirect},
		"web, redirect elsewhere":    {with(publicDoc(), fields{"redirect_uris": []string{"https://elsewhere.example.com/cb"}}), "https://elsewhere.example.com/cb"},
		"native, scheme of its own":  {with(native, fields{"redirect_uris": []string{"com.example.app:/cb"}}), "com.example.app:/cb"},
		"native, loopback":           {with(native, fields{"redirect_uris": []string{"http://127.0.0.1/cb"}}), "http://127.0.0.1:49152/cb"},
		"native, loopback IPv6":      {with(native, fields{"redirect_uris": []string{"http://[::1]/cb"}}), "http://[::1]:49152/cb"},
		"no refresh":                 {with(publicDoc(), fields{"grant_types": []string{"authorization_code"}}), redirect},
		"unknown members and scopes": {with(publicDoc(), fields{"contacts": []string{"a@b"}, "scope": "atproto transition:generic future:thing"}), redirect},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.app()
			a.ClientID, a.Redirect = clientHost+"/"+fmt.Sprintf("%x", name)+".json", c.redirect
			w.serve(strings.TrimPrefix(a.ClientID, clientHost), with(c.doc, fields{"client_id": a.ClientID}))
			w.signIn(a)
			use(a, change{}).OK()
			if (a.Refresh == "") != (name == "no refresh") {
				t.Errorf("refresh token %q", a.Refresh)
			}
		})
	}
}

func TestLoopbackPorts(t *testing.T) {
	w := newWorld(t)
	a := oauthtest.New(t, w.url, "atproto")
	a.Now = w.clock
	a.ClientID = oauthtest.Localhost("http://127.0.0.1:8080/cb", "atproto")
	for uri, status := range map[string]int{
		"http://127.0.0.1:8080/cb": 201, "http://127.0.0.1:9999/cb": 201, "http://127.0.0.1/cb": 201, "http://127.0.0.1:8080/other": 400, "http://[::1]:8080/cb": 400,
		"http://localhost:8080/cb": 400, "http://127.0.0.2:8080/cb": 400, "https://127.0.0.1:8080/cb": 400, "http://127.0.0.1:8080/cb?a=b": 400, "http://127.0.0.1:8080/cb#": 400,
	} {
		a.Redirect = uri
		if r := a.Push(change{}); r.Status != status {
			t.Errorf("%s: %d %s", uri, r.Status, r.Body)
		}
	}
}

// TestBadAssertions: how confidential clients may fail to prove who they are.
func TestBadAssertions(t *testing.T) {
	w := newWorld(t)
	a := w.confidential()
	w.signIn(a)
	stranger, now := oauthtest.NewKey("key-1"), w.clock()
	for name, c := range map[string]change{
		"none":                       {Form: fields{"client_assertion": nil}},
		"no type":                    {Form: fields{"client_assertion_type": nil}},
		"another type":               {Form: fields{"client_assertion_type": "saml"}},
		"no JWT":                     {Form: fields{"client_assertion": "x"}},
		"too large":                  {AuthClaim: fields{"x": strings.Repeat("x", 9000)}},
		"signed by another key":      {AuthKey: stranger},
		"alg none":                   {AuthHead: fields{"alg": "none"}},
		"alg HS256":                  {AuthHead: fields{"alg": "HS256"}},
		"alg RS256":                  {AuthHead: fields{"alg": "RS256"}},
		"alg ES384":                  {AuthHead: fields{"alg": "ES384"}},
		"no kid":                     {AuthHead: fields{"kid": nil}},
		"unknown kid":                {AuthHead: fields{"kid": "key-2"}},
		"empty kid":                  {AuthHead: fields{"kid": ""}},
		"crit":                       {AuthHead: fields{"crit": []string{"x"}}},
		"iss of another":             {AuthClaim: fields{"iss": clientHost + "/other.json"}},
		"no iss":                     {AuthClaim: fields{"iss": nil}},
		"sub of another":             {AuthClaim: fields{"sub": clientHost + "/other.json"}},
		"no sub":                     {AuthClaim: fields{"sub": nil}},
		"aud of another server":      {AuthClaim: fields{"aud": "https://other.example.com"}},
		"aud of the token endpoint":  {AuthClaim: fields{"aud": w.url + "/oauth/token"}},
		"aud of several":             {AuthClaim: fields{"aud": []string{w.url, "https://other.example.com"}}},
		"no aud":                     {AuthClaim: fields{"aud": nil}},
		"no jti":                     {AuthClaim: fields{"jti": nil}},
		"no exp":                     {AuthClaim: fields{"exp": nil}},
		"expired":                    {AuthClaim: fields{"exp": now.Add(-2 * time.Minute).Unix()}},
		"exp too far away":           {AuthClaim: fields{"exp": now.Add(2 * time.Hour).Unix()}},
		"no iat":                     {AuthClaim: fields{"iat": nil}},
		"iat an hour ago":            {AuthClaim: fields{"iat": now.Add(-time.Hour).Unix()}},
		"iat ahead":                  {AuthClaim: fields{"iat": now.Add(time.Hour).Unix()}},
		"nbf ahead":                  {AuthClaim: fields{"nbf": now.Add(time.Hour).Unix()}},
		"a client_secret beside":     {Form: fields{"client_secret": "s"}},
		"the token of another place": {Form: fields{"client_assertion": a.Access}},
	} {
		for place, send := range map[string]func(change) oauthtest.Answer{"push": a.Push, "refresh": a.Renew} {
			t.Run(place+"/"+name, func(t *testing.T) {
				r := send(c)
				r.T = t
				r.Fails(401, "invalid_client")
			})
		}
	}
	twin := *a
	twin.Key = &oauthtest.Key{Private: a.Auth.Private}
	twin.Push(change{}).Fails(401, "invalid_client") // one key for both
	a.Renew(change{}).OK()                           // none of it has hurt the session
}

func TestClientKeysAreBoundToTheSession(t *testing.T) {
	w := newWorld(t)
	a := w.confidential()
	first, second := a.Auth, oauthtest.NewKey("key-2")
	w.serve("/oauth-client-metadata.json", confidentialDoc(first, second))
	w.signIn(a)
	a.Auth = second
	a.Renew(change{}).Fails(400, "invalid_grant") // the client's, but not the session's
	a.Auth = first
	a.Renew(change{}).OK()
	w.serve("/oauth-client-metadata.json", confidentialDoc(second))
	w.pass(11 * time.Minute)
	a.Auth = second
	a.Renew(change{}).Fails(400, "invalid_grant")
	use(a, change{}).Fails(401, "invalid_token") // the key was withdrawn: so is the session
}

func TestClientKeysByAddress(t *testing.T) {
	w := newWorld(t)
	a := w.confidential()
	w.serve("/jwks.json", fields{"keys": []fields{a.Auth.JWK()}})
	w.serve("/oauth-client-metadata.json", with(confidentialDoc(a.Auth), fields{"jwks": nil, "jwks_uri": clientHost + "/jwks.json"}))
	w.signIn(a)
	a.Renew(change{}).OK()
}

// TestClientGetsNewKeys: a client may use a new key at once; who makes up keys has its host asked now and then only.
func TestClientGetsNewKeys(t *testing.T) {
	w := newWorld(t)
	a := w.confidential()
	old, next, strange := a.Auth, oauthtest.NewKey("key-2"), oauthtest.NewKey("key-3")
	a.Push(change{}).OK()
	w.serve("/oauth-client-metadata.json", confidentialDoc(old, next))
	w.pass(time.Minute)
	a.Auth = next
	a.Push(change{}).OK()
	w.pass(time.Minute)
	asked := w.fetched.Load()
	for range 5 {
		a.Auth = strange
		a.Push(change{}).Fails(401, "invalid_client")
	}
	w.docs["/oauth-client-metadata.json"] = func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) }
	w.pass(time.Minute)
	for range 5 {
		a.Push(change{}).Fails(401, "invalid_client")
	}
	if n := w.fetched.Load() - asked; n != 2 {
		t.Errorf("the client's host was asked %d times", n)
	}
	a.Auth = next
	a.Push(change{}).OK()
}

// TestClientHostIsAway: sessions go on while the client's host does not answer.
func TestClientHostIsAway(t *testing.T) {
	w := newWorld(t)
	a := w.signIn(w.app())
	w.docs["/oauth-client-metadata.json"] = func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) }
	w.pass(time.Hour)
	a.Renew(change{}).OK()
	asked := w.fetched.Load()
	a.Renew(change{}).OK()
	use(a, change{}).OK()
	if w.fetched.Load() != asked { // a slow one would hold up each renewal
		t.Error("the host is asked again at once")
	}
	w.pass(time.Minute)
	a.Renew(change{}).OK()
	if w.fetched.Load() == asked {
		t.Error("the host is never asked again")
	}
	w.pass(25 * time.Hour)
	a.Renew(change{}).Fails(503, "temporarily_unavailable") // and the session is there still
	w.serve("/oauth-client-metadata.json", publicDoc())
	w.pass(time.Minute)
	a.Renew(change{}).OK()
}

// TestFreshClientsStay: a stranger can have the metadata fetched anew at any moment, by a key that nobody knows. What comes of it then takes nothing from a client.
func TestFreshClientsStay(t *testing.T) {
	w := newWorld(t)
	a := w.signIn(w.confidential())
	known, strange := a.Auth, oauthtest.NewKey("key-3")
	for _, h := range []http.HandlerFunc{http.NotFound, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) }, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = rw.Write([]byte("{}"))
	}} {
		w.docs["/oauth-client-metadata.json"] = h
		w.pass(time.Minute)
		asked := w.fetched.Load()
		a.Auth = strange
		a.Push(change{}).Fails(401, "invalid_client")
		if w.fetched.Load() == asked {
			t.Fatal("nothing was fetched")
		}
		a.Auth = known
		a.Push(change{}).OK()
		a.Renew(change{}).OK()
	}
	w.docs["/oauth-client-metadata.json"] = http.NotFound
	w.pass(10 * time.Minute)
	a.Push(change{}).Fails(400, "invalid_client_metadata") // its time is over
}
