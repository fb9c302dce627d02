package pds

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/auth"
	"perch/pds/oauth/oauthtest"
	"perch/pds/store"
)

var updateRights = flag.Bool("update-rights", false, "write testdata/rights.txt anew")

const (
	rightsFile    = "testdata/rights.txt"
	rightsAppView = "did:web:appview.test"
)

// credential is a way to be somebody: it makes the headers of a request.
type credential struct {
	name    string
	headers func(verb, address, method string) http.Header
}

// rightsRow is one line of the table: a method, with an input that gets as far as the question of rights.
type rightsRow struct {
	name        string
	method      string
	query       string
	contentType string
	body        string
	proxy       string // atproto-proxy header
	shows       string // unless "", the right is to see this in the answer
}

// rightsRefusals are the names of errors by which a caller learns that he may not.
var rightsRefusals = []string{
	"AuthMissing", "AuthenticationRequired", "InvalidToken", "ExpiredToken", "ScopeMissingError", "Forbidden", "MissingJwt", "BadJwt", "BadJwtType",
	"AccountTakedown", "AccountDeactivated", "MissingTokenId", "invalid_token", "use_dpop_nonce", "invalid_dpop_proof", "UntrustedIss",
	"BadJwtSignature", "BadJwtAudience", "AccountNotFound",
}

// TestRights asks every method with every kind of credential and compares who was let in with the file, so that a change of rights shows in review.
func TestRights(t *testing.T) {
	view := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(view.Close)
	n := startNetwork(t, func(c *Config) {
		c.AppViewURL, c.AppViewDID = view.URL, rightsAppView
		c.ModServiceURL, c.ModServiceDID = view.URL, "did:web:mod.test"
	})
	people := rightsCredentials(t, n)
	got := rightsTable(t, n, people, rightsRows(n))
	if *updateRights {
		if err := os.MkdirAll(filepath.Dir(rightsFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(rightsFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(rightsFile)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	t.Errorf("who may call what has changed. If that is meant, run: go test ./pds -run TestRights -update-rights")
	old := slices.Collect(strings.Lines(string(want)))
	for line := range strings.Lines(got) {
		if !slices.Contains(old, line) {
			t.Errorf("now %s", line)
		}
	}
}

// rightsTable makes the table: + for let in, . for refused, ! for a failure of the server.
func rightsTable(t *testing.T, n *network, people []credential, rows []rightsRow) string {
	var b strings.Builder
	b.WriteString("Who may call what: made by TestRights from the running server. + is let in, . is refused.\n\n")
	for i, p := range people {
		fmt.Fprintf(&b, "%c  %s\n", 'a'+i, p.name)
	}
	fmt.Fprintf(&b, "\n%-72s ", "")
	for i := range people {
		fmt.Fprintf(&b, "%c", 'a'+i)
	}
	b.WriteString("\n")
	for _, row := range rows {
		fmt.Fprintf(&b, "%-72s ", row.name)
		for _, p := range people {
			b.WriteByte(askRight(t, n, p, row))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func askRight(t *testing.T, n *network, p credential, row rightsRow) byte {
	t.Helper()
	verb := http.MethodGet
	if m, err := n.srv.lexicons.Method(row.method); err == nil && m.Kind == "procedure" {
		verb = http.MethodPost
	}
	if row.contentType == "" && row.body != "" {
		row.contentType = "application/json"
	}
	address := n.srv.cfg.PublicURL() + "/xrpc/" + row.method
	target := address
	if row.query != "" {
		target += "?" + row.query
	}
	req, err := http.NewRequestWithContext(t.Context(), verb, target, strings.NewReader(row.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = p.headers(verb, address, row.method)
	req.Header.Set("X-Forwarded-For", netip.AddrFrom4([4]byte{198, 18, byte(rand.N(256)), byte(rand.N(256))}).String()) // a wrong guess there shuts out nobody here
	if row.contentType != "" {
		req.Header.Set("Content-Type", row.contentType)
	}
	if row.proxy != "" {
		req.Header.Set("Atproto-Proxy", row.proxy)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	var e struct{ Error, Message string }
	_ = json.Unmarshal(body, &e)
	switch {
	case res.StatusCode == 500:
		t.Errorf("%s as %s: 500 %s", row.name, p.name, body)
		return '!'
	case slices.Contains(rightsRefusals, e.Error), row.shows != "" && !strings.Contains(string(body), row.shows):
		return '.'
	}
	return '+'
}

// rightsRows are all methods of the server, those that ask about their input with several inputs, and some that are passed on.
func rightsRows(n *network) []rightsRow {
	did := "did=did:web:nobody.test"
	inputs := map[string]rightsRow{
		"com.atproto.server.getServiceAuth":        {query: "aud=" + rightsAppView + "%23bsky_appview&lxm=app.bsky.feed.getTimeline"},
		"com.atproto.admin.getAccountInfo":         {query: did},
		"com.atproto.admin.getAccountInfos":        {query: "dids=did:web:nobody.test"},
		"com.atproto.repo.getRecord":               {query: "repo=did:web:nobody.test&collection=app.bsky.feed.post&rkey=a"},
		"com.atproto.repo.listRecords":             {query: "repo=did:web:nobody.test&collection=app.bsky.feed.post"},
		"com.atproto.repo.describeRepo":            {query: "repo=did:web:nobody.test"},
		"com.atproto.sync.getRepo":                 {query: did},
		"com.atproto.sync.getCheckout":             {query: did},
		"com.atproto.sync.getRecord":               {query: did + "&collection=app.bsky.feed.post&rkey=a"},
		"com.atproto.sync.getBlocks":               {query: did + "&cids=bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"},
		"com.atproto.sync.getLatestCommit":         {query: did},
		"com.atproto.sync.getHead":                 {query: did},
		"com.atproto.sync.getRepoStatus":           {query: did},
		"com.atproto.sync.listReposByCollection":   {query: "collection=app.bsky.feed.post"},
		"com.atproto.sync.getBlob":                 {query: did + "&cid=bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"},
		"com.atproto.sync.listBlobs":               {query: did},
		"com.atproto.identity.resolveHandle":       {query: "handle=nobody.test"},
		"com.atproto.identity.resolveDid":          {query: did},
		"com.atproto.identity.resolveIdentity":     {query: "identifier=nobody.test"},
		"com.atproto.temp.checkHandleAvailability": {query: "handle=nobody.test"},
		"app.bsky.actor.getProfile":                {query: "actor=nobody.test"},
		"app.bsky.actor.getProfiles":               {query: "actors=nobody.test"},
		"app.bsky.feed.getAuthorFeed":              {query: "actor=nobody.test"},
		"app.bsky.feed.getActorLikes":              {query: "actor=nobody.test"},
		"app.bsky.feed.getPostThread":              {query: "uri=at://did:web:nobody.test/app.bsky.feed.post/a"},
		"app.bsky.feed.getFeed":                    {query: "feed=at://did:web:nobody.test/app.bsky.feed.generator/a"},
		"app.bsky.actor.putPreferences":            {body: `{"preferences":[]}`},
		"app.bsky.notification.registerPush":       {body: `{"serviceDid":"` + rightsAppView + `","token":"t","platform":"web","appId":"a"}`},
		"app.bsky.notification.unregisterPush":     {body: `{"serviceDid":"` + rightsAppView + `","token":"t","platform":"web","appId":"a"}`},
		"com.atproto.repo.uploadBlob":              {contentType: "image/png", body: "\x89PNG\r\n\x1a\n"},
		"com.atproto.admin.getSubjectStatus":       {query: did},
		"com.atproto.moderation.createReport":      {body: `{"reasonType":"com.atproto.moderation.defs#reasonSpam","subject":{"$type":"com.atproto.admin.defs#repoRef","did":"did:web:nobody.test"}}`},
		"com.atproto.server.deactivateAccount":     {contentType: "text/plain", body: "x"},
		"com.atproto.identity.refreshIdentity":     {body: `{}`},
	}
	var rows []rightsRow
	for _, m := range n.srv.mux.Methods() {
		if m == "com.atproto.sync.subscribeRepos" || strings.HasPrefix(m, "com.atproto.repo.") && strings.HasSuffix(m, "Record") && !strings.HasSuffix(m, "getRecord") || m == applyWritesNSID {
			continue
		}
		row := inputs[m]
		row.name, row.method = m, m
		rows = append(rows, row)
	}
	return append(rows, rightsByInput()...)
}

// rightsByInput are the methods whose right depends on what is asked for. The repository of the writes is the caller's.
func rightsByInput() []rightsRow {
	call := func(name, method, query, proxy string) rightsRow {
		return rightsRow{name: name, method: method, query: query, proxy: proxy}
	}
	serviceAuth := func(lxm, aud string) rightsRow {
		q := url.Values{"aud": {aud}}
		if lxm != "" {
			q.Set("lxm", lxm)
		}
		return rightsRow{name: "getServiceAuth for " + lxm + " at " + aud, method: "com.atproto.server.getServiceAuth", query: q.Encode()}
	}
	rows := []rightsRow{
		{name: "getSession shows the e-mail address", method: "com.atproto.server.getSession", shows: "@example.com"},
		{name: "uploadBlob of text", method: "com.atproto.repo.uploadBlob", contentType: "text/plain", body: "text"},
		call("app.bsky.graph.getFollows, passed on", "app.bsky.graph.getFollows", "actor=nobody.test", ""),
		call("chat.bsky.convo.getLog, passed on", "chat.bsky.convo.getLog", "", rightsAppView+"#bsky_appview"),
		call("com.example.unknown, passed on", "com.example.unknown", "", rightsAppView+"#bsky_appview"),
		serviceAuth("", rightsAppView), serviceAuth("app.bsky.feed.getTimeline", rightsAppView), serviceAuth("chat.bsky.convo.getLog", rightsAppView+"#bsky_chat"),
		serviceAuth("com.atproto.server.createAccount", "did:web:else.test"), serviceAuth("com.atproto.server.deactivateAccount", rightsAppView),
	}
	for _, c := range []string{"app.bsky.feed.post", "app.bsky.feed.like"} {
		rkey := `"repo":"alice.test","collection":"` + c + `","rkey":"self"`
		for method, body := range map[string]string{
			"createRecord": `{"repo":"alice.test","collection":"` + c + `","record":{"$type":"x.y.z"}}`,
			"putRecord":    `{` + rkey + `,"record":{"$type":"x.y.z"}}`,
			"deleteRecord": `{` + rkey + `}`,
		} {
			rows = append(rows, rightsRow{name: method + " in " + c, method: "com.atproto.repo." + method, body: body})
		}
		for op, rest := range map[string]string{"create": `,"value":{"$type":"x.y.z"}`, "update": `,"rkey":"a","value":{"$type":"x.y.z"}`, "delete": `,"rkey":"a"`} {
			rows = append(rows, rightsRow{name: "applyWrites: " + op + " in " + c, method: applyWritesNSID,
				body: `{"repo":"alice.test","writes":[{"$type":"com.atproto.repo.applyWrites#` + op + `","collection":"` + c + `"` + rest + `}]}`})
		}
	}
	slices.SortStableFunc(rows[10:], func(a, b rightsRow) int { return strings.Compare(a.name, b.name) })
	return rows
}

// rightsCredentials are all kinds of callers. Each acts for the account of its own, but what apps and passwords may is alice's.
func rightsCredentials(t *testing.T, n *network) []credential {
	alice, gone := n.signUp(t, "alice"), n.signUp(t, "gone")
	bearer := func(token string) func(string, string, string) http.Header {
		return func(string, string, string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	}
	session := func(identifier, password string) object {
		return n.anonymous(t).post("com.atproto.server.createSession", map[string]any{"identifier": identifier, "password": password, "allowTakendown": true}).ok()
	}
	appPassword := func(name string, privileged bool) string {
		p := alice.post("com.atproto.server.createAppPassword", map[string]any{"name": name, "privileged": privileged}).ok().str("password")
		return session(alice.handle, p).str("accessJwt")
	}
	if err := n.srv.accounts.Takedown(t.Context(), mustAccount(t, n, gone.did), "x", nil); err != nil {
		t.Fatal(err)
	}
	basic := func(string, string, string) http.Header {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth("admin", "admin-pass")
		return r.Header
	}
	out := []credential{
		{"nobody", func(string, string, string) http.Header { return http.Header{} }},
		{"session of the main password", bearer(alice.token)},
		{"session of an app password", bearer(appPassword("plain", false))},
		{"session of a privileged app password", bearer(appPassword("privileged", true))},
		{"session of a taken-down account, good for leaving", bearer(session(gone.handle, "gone-password").str("accessJwt"))},
		{"refresh token", func(string, string, string) http.Header {
			return http.Header{"Authorization": {"Bearer " + session(alice.handle, "alice-password").str("refreshJwt")}}
		}},
		{"service token for the method", serviceCredential(t, n, alice)},
		{"admin password", basic},
	}
	for _, scope := range []string{
		"atproto", "atproto transition:generic", "atproto transition:generic transition:chat.bsky", "atproto transition:chat.bsky", "atproto transition:email",
		"atproto repo:*", "atproto repo:app.bsky.feed.post?action=create", "atproto rpc:*?aud=" + rightsAppView + "%23bsky_appview",
		"atproto rpc:app.bsky.feed.getTimeline?aud=*", "atproto blob:image/*", "atproto account:email", "atproto account:email?action=manage",
		"atproto account:repo?action=manage", "atproto account:status?action=manage", "atproto identity:handle", "atproto identity:*",
	} {
		out = append(out, credential{"app with " + scope, appCredential(alice.letIn(scope))})
	}
	return out
}

func mustAccount(t *testing.T, n *network, did string) store.AccountID {
	acct, err := n.srv.store.AccountByDID(t.Context(), syntax.DID(did))
	if err != nil {
		t.Fatal(err)
	}
	return acct.ID
}

func appCredential(app *oauthtest.App) func(verb, address, method string) http.Header {
	return func(verb, address, _ string) http.Header {
		return http.Header{"Authorization": {"DPoP " + app.Access}, "Dpop": {app.Proof(verb, address, app.Access, oauthtest.Change{})}}
	}
}

func serviceCredential(t *testing.T, n *network, c *client) func(verb, address, method string) http.Header {
	acct, err := n.srv.store.AccountByDID(t.Context(), syntax.DID(c.did))
	if err != nil {
		t.Fatal(err)
	}
	key, err := n.srv.accounts.SigningKey(acct)
	if err != nil {
		t.Fatal(err)
	}
	return func(_, _, method string) http.Header {
		token, err := auth.ServiceToken(key, auth.ServiceClaims{Issuer: acct.DID, Audience: n.srv.serviceDID.String(), Method: syntax.NSID(method)})
		if err != nil {
			t.Fatal(err)
		}
		return http.Header{"Authorization": {"Bearer " + token}}
	}
}
