package oauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"perch/pds/oauth/oauthtest"
)

type (
	change = oauthtest.Change
	fields = oauthtest.JSON
)

// badProofs are wrong in one thing each, wherever a proof is asked for. Each has the app's key in its header and is signed by it unless it says otherwise.
func badProofs(a *oauthtest.App) map[string]change {
	other, jwk := oauthtest.NewKey(""), a.Key.JWK()
	secret, err := a.Key.Private.Bytes()
	if err != nil {
		panic(err)
	}
	private := with(jwk, fields{"d": base64.RawURLEncoding.EncodeToString(secret)})
	key, err := json.Marshal(jwk)
	if err != nil {
		panic(err)
	}
	head := `{"typ":"dpop+jwt","alg":"ES256","jwk":` + string(key) + `}`
	return map[string]change{
		"no proof":                         {NoProof: true},
		"empty":                            {Proof: " "},
		"no JWS":                           {Proof: "proof"},
		"two parts":                        {Proof: "a.b"},
		"four parts":                       {Proof: "a.b.c.d"},
		"not base64":                       {Proof: "!.!.!"},
		"too large":                        {Claims: fields{"x": strings.Repeat("x", 9000)}},
		"signed by another key":            {ProofKey: other},
		"typ JWT":                          {Header: fields{"typ": "JWT"}},
		"no typ":                           {Header: fields{"typ": nil}},
		"typ in capitals":                  {Header: fields{"typ": "DPOP+JWT"}},
		"alg none":                         {Header: fields{"alg": "none"}},
		"alg HS256":                        {Header: fields{"alg": "HS256"}},
		"alg ES256K":                       {Header: fields{"alg": "ES256K"}},
		"alg RS256":                        {Header: fields{"alg": "RS256"}},
		"alg ES384":                        {Header: fields{"alg": "ES384"}},
		"no alg":                           {Header: fields{"alg": nil}},
		"alg a number":                     {Header: fields{"alg": 1}},
		"no jwk":                           {Header: fields{"jwk": nil}},
		"jwk a text":                       {Header: fields{"jwk": "key"}},
		"private jwk":                      {Header: fields{"jwk": private}},
		"private jwk, empty":               {Header: fields{"jwk": with(jwk, fields{"d": ""})}},
		"symmetric jwk":                    {Header: fields{"jwk": fields{"kty": "oct", "k": "c2VjcmV0"}}},
		"jwk with k":                       {Header: fields{"jwk": with(jwk, fields{"k": "c2VjcmV0"})}},
		"jwk of another curve":             {Header: fields{"jwk": with(jwk, fields{"crv": "P-384"})}},
		"jwk of secp256k1":                 {Header: fields{"jwk": with(jwk, fields{"crv": "secp256k1"})}},
		"jwk not on the curve":             {Header: fields{"jwk": with(jwk, fields{"x": jwk["y"], "y": jwk["y"]})}},
		"jwk without y":                    {Header: fields{"jwk": with(jwk, fields{"y": nil})}},
		"jwk RSA":                          {Header: fields{"jwk": fields{"kty": "RSA", "n": "AQAB", "e": "AQAB"}}},
		"jwk OKP":                          {Header: fields{"jwk": fields{"kty": "OKP", "crv": "Ed25519", "x": strings.Repeat("A", 43)}}},
		"crit":                             {Header: fields{"crit": []string{"exp"}}},
		"no jti":                           {Claims: fields{"jti": nil}},
		"empty jti":                        {Claims: fields{"jti": ""}},
		"jti a number":                     {Claims: fields{"jti": 7}},
		"long jti":                         {Claims: fields{"jti": strings.Repeat("j", 600)}},
		"no htm":                           {Claims: fields{"htm": nil}},
		"htm another verb":                 {Claims: fields{"htm": "DELETE"}},
		"htm in small letters":             {Claims: fields{"htm": "post"}},
		"no htu":                           {Claims: fields{"htu": nil}},
		"htu another path":                 {Claims: fields{"htu": a.Server + "/oauth/other"}},
		"htu another host":                 {Claims: fields{"htu": "https://evil.example.com/oauth/token"}},
		"htu another scheme":               {Claims: fields{"htu": strings.Replace(a.Server, "http:", "https:", 1) + "/oauth/token"}},
		"htu with a user":                  {Claims: fields{"htu": strings.Replace(a.Server, "http://", "http://user@", 1) + "/oauth/token"}},
		"htu a path only":                  {Claims: fields{"htu": "/oauth/token"}},
		"htu with a slash at the end":      {Claims: fields{"htu": a.Server + "/oauth/token/"}},
		"htu no URL":                       {Claims: fields{"htu": "::"}},
		"no iat":                           {Claims: fields{"iat": nil}},
		"iat a text":                       {Claims: fields{"iat": "now"}},
		"iat an hour ago":                  {Claims: fields{"iat": a.Now().Add(-time.Hour).Unix()}},
		"iat an hour ahead":                {Claims: fields{"iat": a.Now().Add(time.Hour).Unix()}},
		"iat five minutes ago":             {Claims: fields{"iat": a.Now().Add(-5 * time.Minute).Unix()}},
		"iat in milliseconds":              {Claims: fields{"iat": a.Now().UnixMilli()}},
		"exp in the past":                  {Claims: fields{"exp": a.Now().Add(-time.Hour).Unix()}},
		"claims no object":                 {Proof: "e30.W10.AAAA"},
		"ath of another token or for none": {Claims: fields{"ath": oauthtest.Hash("another")}},
		"a claim twice":                    {Proof: a.Key.SignText(head, `{"jti":"1","htm":"POST","htm":"GET","htu":"x","iat":1}`)},
		"alg twice":                        {Proof: a.Key.SignText(strings.Replace(head, `"alg"`, `"alg":"none","alg"`, 1), `{"jti":"1"}`)},
		"jwk twice":                        {Proof: a.Key.SignText(strings.Replace(head, `"jwk"`, `"jwk":{},"jwk"`, 1), `{"jti":"1"}`)},
		"crit null":                        {Proof: a.Key.SignText(strings.Replace(head, `"alg"`, `"crit":null,"alg"`, 1), `{"jti":"1"}`)},
		"jwk under another name":           {Header: fields{"jwk": nil, "JWK": jwk}},
		"jti under another name":           {Claims: fields{"jti": nil, "JTI": "1"}},
		"an encrypted JWT":                 {Proof: "a.b.c.d.e"},
		"two proofs":                       {HTTP: http.Header{"Dpop": {"a.b.c", "a.b.c"}}},
	}
}

// badNonces are proofs that are right but for the nonce.
func badNonces() map[string]change {
	return map[string]change{
		"no nonce":      {Claims: fields{"nonce": nil}, KeepNonce: true},
		"empty nonce":   {Claims: fields{"nonce": ""}, KeepNonce: true},
		"made-up nonce": {Claims: fields{"nonce": strings.Repeat("A", 43)}, KeepNonce: true},
	}
}

func TestBadProofs(t *testing.T) {
	w := newWorld(t)
	a := w.signIn(w.app())
	places := map[string]struct {
		send   func(c change) oauthtest.Answer
		status int
		only   string // part of the names of proofs that are tried
	}{
		"push":     {func(c change) oauthtest.Answer { return a.Push(c) }, 400, ""},
		"redeem":   {func(c change) oauthtest.Answer { return a.Redeem("cod-x", c) }, 400, ""},
		"refresh":  {func(c change) oauthtest.Answer { return a.Renew(c) }, 400, ""},
		"resource": {func(c change) oauthtest.Answer { return use(a, c) }, 401, ""},
	}
	for place, p := range places {
		for name, c := range badProofs(a) {
			t.Run(place+"/"+name, func(t *testing.T) {
				r := p.send(c)
				r.T = t
				r.Fails(p.status, "invalid_dpop_proof")
			})
		}
		for name, c := range badNonces() {
			t.Run(place+"/"+name, func(t *testing.T) {
				r := p.send(c)
				r.T = t
				r.Fails(p.status, "use_dpop_nonce")
				if r.Header.Get("DPoP-Nonce") == "" {
					t.Error("the nonce is not told")
				}
				if p.status == 401 && !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), `DPoP algs="ES256", error="use_dpop_nonce"`) {
					t.Errorf("WWW-Authenticate %q", r.Header.Get("WWW-Authenticate"))
				}
			})
		}
	}
	if r := use(a, change{}); r.Status != 200 { // none of that has hurt the session
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	a.Renew(change{}).OK()
}

func TestProofsAreUsedOnce(t *testing.T) {
	w := newWorld(t)
	a := w.signIn(w.app())
	use(a, change{}).OK() // and the nonce is known
	proof := a.Proof("GET", w.url+resource, a.Access, change{})
	use(a, change{Proof: proof}).OK()
	use(a, change{Proof: proof}).Fails(401, "invalid_dpop_proof")
	id := oauthtest.Random()
	use(a, change{Claims: fields{"jti": id}}).OK()
	use(a, change{Claims: fields{"jti": id}}).Fails(401, "invalid_dpop_proof")
	push := change{Claims: fields{"jti": id + "2"}}
	a.Push(push).OK()
	a.Push(push).Fails(400, "invalid_dpop_proof")
	w.pass(3 * time.Minute) // the nonce still counts: the proof must be remembered
	use(a, change{Proof: proof, KeepNonce: true}).Fails(401, "invalid_dpop_proof")
	w.pass(5 * time.Minute)
	if r := use(a, change{Proof: proof, KeepNonce: true}); r.Status != 401 {
		t.Fatalf("an old proof is good again: %d", r.Status)
	}
}

func TestClocksMayDiffer(t *testing.T) {
	for _, skew := range []time.Duration{-30 * time.Second, 30 * time.Second} {
		w := newWorld(t)
		a := w.confidential()
		a.Now = func() time.Time { return w.clock().Add(skew) }
		w.signIn(a)
		use(a, change{}).OK()
		a.Renew(change{}).OK()
		use(a, change{}).OK()
	}
}

func TestNonces(t *testing.T) {
	w := newWorld(t)
	a := w.signIn(w.app())
	use(a, change{}).OK()
	w.pass(2 * time.Minute)
	use(a, change{KeepNonce: true}).OK() // one that is not too old
	first := a.Nonce
	w.pass(time.Minute)
	use(a, change{}).OK()
	if a.Nonce == first {
		t.Error("the nonce does not change")
	}
	w.pass(6 * time.Minute)
	use(a, change{KeepNonce: true}).Fails(401, "use_dpop_nonce")
	use(a, change{KeepNonce: true}).OK() // with the one that came with the refusal
	a.Nonce = "lost"
	use(a, change{}).OK()
	a.Nonce = ""
	a.Renew(change{}).OK()
}

// TestBadPushes: parameters of a request that are wrong, one at a time.
func TestBadPushes(t *testing.T) {
	w := newWorld(t)
	a := w.app()
	a.Push(change{}).OK()
	long := strings.Repeat("s", 3000)
	for name, c := range map[string]struct {
		form fields
		code string
	}{
		"no client_id":                    {fields{"client_id": nil}, "invalid_request"},
		"empty client_id":                 {fields{"client_id": ""}, "invalid_request"},
		"two client_ids":                  {fields{"client_id": []string{clientID, clientID}}, "invalid_request"},
		"no response_type":                {fields{"response_type": nil}, "invalid_request"},
		"response_type token":             {fields{"response_type": "token"}, "unsupported_response_type"},
		"response_type code id_token":     {fields{"response_type": "code id_token"}, "unsupported_response_type"},
		"no state":                        {fields{"state": nil}, "invalid_request"},
		"long state":                      {fields{"state": long}, "invalid_request"},
		"zero byte in state":              {fields{"state": "a\x00"}, "invalid_request"},
		"no code_challenge":               {fields{"code_challenge": nil}, "invalid_request"},
		"short code_challenge":            {fields{"code_challenge": "abc"}, "invalid_request"},
		"long code_challenge":             {fields{"code_challenge": strings.Repeat("a", 44)}, "invalid_request"},
		"padded code_challenge":           {fields{"code_challenge": strings.Repeat("a", 42) + "="}, "invalid_request"},
		"no code_challenge_method":        {fields{"code_challenge_method": nil}, "invalid_request"},
		"code_challenge_method plain":     {fields{"code_challenge_method": "plain"}, "invalid_request"},
		"code_challenge_method s256":      {fields{"code_challenge_method": "s256"}, "invalid_request"},
		"no redirect_uri":                 {fields{"redirect_uri": nil}, "invalid_request"},
		"redirect_uri elsewhere":          {fields{"redirect_uri": "https://evil.example.com/callback"}, "invalid_request"},
		"redirect_uri with a slash":       {fields{"redirect_uri": redirect + "/"}, "invalid_request"},
		"redirect_uri with a query":       {fields{"redirect_uri": redirect + "?a=b"}, "invalid_request"},
		"redirect_uri with a fragment":    {fields{"redirect_uri": redirect + "#a"}, "invalid_request"},
		"redirect_uri with dots":          {fields{"redirect_uri": clientHost + "/x/../callback"}, "invalid_request"},
		"redirect_uri in capitals":        {fields{"redirect_uri": "https://APP.example.com/callback"}, "invalid_request"},
		"redirect_uri with a port":        {fields{"redirect_uri": "https://app.example.com:443/callback"}, "invalid_request"},
		"redirect_uri of a subdomain":     {fields{"redirect_uri": "https://x.app.example.com/callback"}, "invalid_request"},
		"redirect_uri http":               {fields{"redirect_uri": "http://app.example.com/callback"}, "invalid_request"},
		"redirect_uri loopback":           {fields{"redirect_uri": "http://127.0.0.1/callback"}, "invalid_request"},
		"redirect_uri with an empty user": {fields{"redirect_uri": "https://@app.example.com/callback"}, "invalid_request"},
		"redirect_uri with a backslash":   {fields{"redirect_uri": "https://app.example.com\\@evil.example.com/callback"}, "invalid_request"},
		"redirect_uri escaped":            {fields{"redirect_uri": clientHost + "/%63allback"}, "invalid_request"},
		"redirect_uri with a line end":    {fields{"redirect_uri": redirect + "\r\nX: y"}, "invalid_request"},
		"redirect_uri javascript":         {fields{"redirect_uri": "javascript:alert(1)"}, "invalid_request"},
		"no scope":                        {fields{"scope": nil}, "invalid_scope"},
		"scope without atproto":           {fields{"scope": "transition:generic"}, "invalid_scope"},
		"scope that is not declared":      {fields{"scope": "atproto transition:email"}, "invalid_scope"},
		"scope narrower but other text":   {fields{"scope": "atproto repo:app.bsky.feed.post?action=create"}, "invalid_scope"},
		"scope with two spaces":           {fields{"scope": "atproto  transition:generic"}, "invalid_scope"},
		"scope with a tab":                {fields{"scope": "atproto\ttransition:generic"}, "invalid_scope"},
		"scope with quotes":               {fields{"scope": `atproto "x"`}, "invalid_scope"},
		"scope in capitals":               {fields{"scope": "ATPROTO"}, "invalid_scope"},
		"endless scope":                   {fields{"scope": "atproto" + strings.Repeat(" a", 9000)}, "invalid_scope"},
		"unknown response_mode":           {fields{"response_mode": "web_message"}, "invalid_request"},
		"unknown prompt":                  {fields{"prompt": "please"}, "invalid_request"},
		"two prompts":                     {fields{"prompt": "login consent"}, "invalid_request"},
		"unknown display":                 {fields{"display": "wap"}, "invalid_request"},
		"login_hint that is nobody":       {fields{"login_hint": "not a handle"}, "invalid_request"},
		"request object":                  {fields{"request": "a.b.c"}, "invalid_request"},
		"request_uri":                     {fields{"request_uri": "urn:x"}, "invalid_request"},
		"dpop_jkt of another key":         {fields{"dpop_jkt": oauthtest.NewKey("").Thumbprint()}, "invalid_dpop_proof"},
		"malformed dpop_jkt":              {fields{"dpop_jkt": "x"}, "invalid_request"},
		"client_secret":                   {fields{"client_secret": "s"}, "invalid_client"},
		"assertion of a public client":    {fields{"client_assertion": "a.b.c", "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "invalid_client"},
		"client_id of nothing":            {fields{"client_id": clientHost + "/none.json"}, "invalid_client_metadata"},
		"client_id http":                  {fields{"client_id": "http://app.example.com/oauth-client-metadata.json"}, "invalid_client_metadata"},
		"client_id with a port":           {fields{"client_id": "https://app.example.com:8443/c.json"}, "invalid_client_metadata"},
		"client_id without a path":        {fields{"client_id": clientHost}, "invalid_client_metadata"},
		"client_id with the path /":       {fields{"client_id": clientHost + "/"}, "invalid_client_metadata"},
		"client_id that ends in a slash":  {fields{"client_id": clientHost + "/c/"}, "invalid_client_metadata"},
		"client_id with a fragment":       {fields{"client_id": clientID + "#x"}, "invalid_client_metadata"},
		"client_id with a user":           {fields{"client_id": "https://u:p@app.example.com/c.json"}, "invalid_client_metadata"},
		"client_id with dots":             {fields{"client_id": clientHost + "/a/../c.json"}, "invalid_client_metadata"},
		"client_id in capitals":           {fields{"client_id": "https://APP.example.com/c.json"}, "invalid_client_metadata"},
		"client_id of an address":         {fields{"client_id": "https://192.0.2.1/c.json"}, "invalid_client_metadata"},
		"client_id of a private address":  {fields{"client_id": "https://10.0.0.1/c.json"}, "invalid_client_metadata"},
		"client_id of IPv6":               {fields{"client_id": "https://[::1]/c.json"}, "invalid_client_metadata"},
		"client_id of a local name":       {fields{"client_id": "https://printer.local/c.json"}, "invalid_client_metadata"},
		"client_id of one label":          {fields{"client_id": "https://intranet/c.json"}, "invalid_client_metadata"},
		"client_id https localhost":       {fields{"client_id": "https://localhost/c.json"}, "invalid_client_metadata"},
		"client_id localhost and a port":  {fields{"client_id": "http://localhost:8080"}, "invalid_client_metadata"},
		"client_id localhost and a path":  {fields{"client_id": "http://localhost/x"}, "invalid_client_metadata"},
		"client_id localhost.evil":        {fields{"client_id": "http://localhost.evil.example.com/"}, "invalid_client_metadata"},
		"client_id localhost, parameter":  {fields{"client_id": "http://localhost?evil=1"}, "invalid_client_metadata"},
		"client_id localhost, redirect":   {fields{"client_id": "http://localhost?redirect_uri=https%3A%2F%2Fevil.example.com%2F"}, "invalid_client_metadata"},
		"client_id localhost, itself":     {fields{"client_id": "http://localhost?redirect_uri=http%3A%2F%2Flocalhost%2F"}, "invalid_client_metadata"},
		"client_id localhost, scope":      {fields{"client_id": "http://localhost?scope=transition%3Ageneric"}, "invalid_client_metadata"},
		"client_id no URL":                {fields{"client_id": "client"}, "invalid_client_metadata"},
		"client_id endless":               {fields{"client_id": clientHost + "/" + long}, "invalid_client_metadata"},
		"client_id of somebody's upload":  {fields{"client_id": "https://pds.example.com/xrpc/com.atproto.sync.getBlob?did=did:web:a&cid=b"}, "invalid_client_metadata"},
		"the same, disguised":             {fields{"client_id": "https://pds.example.com/%78rpc/com.atproto.sync.getBlob?did=did:web:a&cid=b"}, "invalid_client_metadata"},
		"client_id with an empty user":    {fields{"client_id": "https://@app.example.com/c.json"}, "invalid_client_metadata"},
		"client_id with a backslash":      {fields{"client_id": "https://app.example.com\\@evil.example.com/c.json"}, "invalid_client_metadata"},
		"client_id with escaped dots":     {fields{"client_id": clientHost + "/a/%2e%2e/c.json"}, "invalid_client_metadata"},
		"client_id of wide letters":       {fields{"client_id": "https://ａpp.example.com/c.json"}, "invalid_client_metadata"},
		"client_id of a short address":    {fields{"client_id": "https://127.1/c.json"}, "invalid_client_metadata"},
		"client_id localhost, user":       {fields{"client_id": "http://localhost@evil.example.com/"}, "invalid_client_metadata"},
		"client_id data":                  {fields{"client_id": "data:application/json,{}"}, "invalid_client_metadata"},
		"client_id file":                  {fields{"client_id": "file:///etc/passwd"}, "invalid_client_metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			r := a.Push(change{Form: c.form})
			r.T = t
			status := 400
			if c.code == "invalid_client" {
				status = 401
			}
			r.Fails(status, c.code)
			if r.JSON["error_description"] == "" || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("DPoP-Nonce") == "" {
				t.Errorf("%s %v", r.Body, r.Header)
			}
		})
	}
	a.Push(change{Form: fields{"x": strings.Repeat("x", 70_000)}}).Fails(413, "invalid_request") // RFC 9126, 2.3
	for name, h := range map[string]http.Header{
		"JSON": {"Content-Type": {"application/json"}}, "no type": {"Content-Type": {""}}, "Basic": {"Authorization": {"Basic eDp5"}},
	} {
		if r := a.Push(change{HTTP: h}); r.Status != 400 && r.Status != 401 {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
	}
}

func TestChallengesAndStatesAreUsedOnce(t *testing.T) {
	for name, form := range map[string]fields{"code_challenge": {"code_challenge": oauthtest.Hash("x")}, "state": {"state": "one"}} {
		w := newWorld(t)
		a := w.app()
		a.Push(change{Form: form}).OK()
		a.Push(change{Form: form}).Fails(400, "invalid_request")
		w.pass(23 * time.Hour)
		a.Push(change{Form: form}).Fails(400, "invalid_request")
		if err := w.svc.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		r := a.Push(change{Form: form})
		r.Fails(400, "invalid_request")
		if d, _ := r.JSON["error_description"].(string); !strings.HasPrefix(d, name+" was used before") {
			t.Errorf("%s: %s", name, d)
		}
		w.pass(2 * time.Hour)
		if err := w.svc.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.Push(change{Form: form}).OK()
	}
	w := newWorld(t)
	w.app().Push(change{Form: fields{"state": "one"}}).OK()
	other := oauthtest.New(t, w.url, "atproto")
	other.Now = w.clock
	other.Push(change{Form: fields{"state": "one"}}).OK() // another app's
}

// TestRequestsAreEmptied: what strangers push does not stay for the day for which its marks are kept.
func TestRequestsAreEmptied(t *testing.T) {
	w := newWorld(t)
	a := w.app()
	id := func(r oauthtest.Answer) []byte {
		uri, _ := r.OK()["request_uri"].(string)
		sum := sha256.Sum256([]byte(uri[strings.LastIndex(uri, "req-")+4:]))
		return sum[:]
	}
	old := id(a.Push(change{}))
	w.pass(14 * time.Minute)
	a.Push(change{}).OK()
	if row, err := w.st.OAuthRequest(t.Context(), old); err != nil || row.Data == "" {
		t.Errorf("just after its end: %+v, %v", row, err)
	}
	w.pass(2 * time.Minute)
	a.Push(change{}).OK()
	if row, err := w.st.OAuthRequest(t.Context(), old); err != nil || row.Data != "" || row.ClientID != "" {
		t.Errorf("%+v, %v", row, err)
	}
}
