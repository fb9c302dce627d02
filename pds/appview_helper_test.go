package pds

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/lexicons"
)

// appView is a small AppView: it reads accounts when it is told to, answers about what it has read, and says how far that is. It takes nothing
// but tokens that the account's key has signed for it and for the method.
type appView struct {
	t    *testing.T
	did  string
	url  string
	net  *network
	mu   sync.Mutex
	rev  string                    // of the last account read
	post map[string]map[string]any // post views by URI
	feed []string                  // their URIs, the latest first
	who  map[string]map[string]any // profile views by DID
	more string                    // cursor of the feeds
	fail map[string]bool           // methods that answer 500
	gzip bool
	seen []serviceCall
}

// serviceCall is a request as a service got it.
type serviceCall struct {
	method, iss, aud, lxm string
	query                 url.Values
	body                  string
}

// startAppView starts an AppView and a network that uses it.
func startAppView(t *testing.T, change func(*Config)) (*appView, *network) {
	v := newAppView(t)
	v.net = startNetwork(t, func(c *Config) {
		c.AppViewURL, c.AppViewDID = v.url, v.did
		if change != nil {
			change(c)
		}
	})
	return v, v.net
}

func newAppView(t *testing.T) *appView {
	v := &appView{t: t, post: map[string]map[string]any{}, who: map[string]map[string]any{}, fail: map[string]bool{}}
	srv := httptest.NewServer(v)
	t.Cleanup(srv.Close)
	v.url = srv.URL
	v.did = "did:web:localhost%3A" + srv.URL[strings.LastIndexByte(srv.URL, ':')+1:]
	return v
}

// read makes the AppView read the whole account.
func (v *appView) read(c *client) {
	anyone := c.anonymous(c.t)
	who := map[string]any{"did": c.did, "handle": c.handle}
	for _, rec := range anyone.get("com.atproto.repo.listRecords", "repo", c.did, "collection", "app.bsky.actor.profile").ok().at("records").([]any) {
		if name := object(rec.(map[string]any)).str("value.displayName"); name != "" {
			who["displayName"] = name
		}
	}
	posts := anyone.get("com.atproto.repo.listRecords", "repo", c.did, "collection", postCollection, "limit", "100").ok().at("records").([]any)
	rev := anyone.get("com.atproto.sync.getLatestCommit", "did", c.did).ok().str("rev")
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rev, v.who[c.did] = rev, who
	for _, rec := range slices.Backward(posts) {
		r := object(rec.(map[string]any))
		if v.post[r.str("uri")] == nil {
			v.feed = slices.Insert(v.feed, 0, r.str("uri"))
		}
		v.post[r.str("uri")] = map[string]any{"uri": r["uri"], "cid": r["cid"], "author": who, "record": r["value"], "indexedAt": r.str("value.createdAt")}
	}
}

// calls returns the requests for a method that came in so far.
func (v *appView) calls(method string) (all []serviceCall) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.seen {
		if c.method == method {
			all = append(all, c)
		}
	}
	return all
}

// ServeHTTP answers as an AppView, or any other service, does.
func (v *appView) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/.well-known/did.json" {
		service := func(id string) map[string]any {
			return map[string]any{"id": "#" + id, "type": "Service", "serviceEndpoint": v.url}
		}
		json.NewEncoder(w).Encode(map[string]any{"id": v.did, "service": []any{service("bsky_appview"), service("bsky_notif"), service("atproto_labeler")}})
		return
	}
	method := strings.TrimPrefix(r.URL.Path, "/xrpc/")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // half a request is none
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	call := serviceCall{method: method, query: r.URL.Query(), body: string(body)}
	call.iss, call.aud, call.lxm = v.token(r)
	v.seen = append(v.seen, call)
	if v.fail[method] {
		http.Error(w, `{"error":"InternalServerError"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Atproto-Repo-Rev", v.rev)
	out, failure := v.answer(method, r.URL.Query(), call.iss)
	if failure != "" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":%q,"message":"no"}`, failure)
		return
	}
	if out == nil {
		return
	}
	b, _ := json.Marshal(out)
	if m, err := lexicons.Default().Method(method); err != nil || m.ValidateOutput(b) != nil {
		v.t.Errorf("the test's AppView answers %s wrongly: %v %s", method, m.ValidateOutput(b), b)
	}
	if v.gzip && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		z.Write(b)
		return
	}
	w.Write(b)
}

// token checks the request's token, and that nothing else of the client's came along.
func (v *appView) token(r *http.Request) (iss, aud, lxm string) {
	for _, name := range []string{"Cookie", "DPoP", "X-Secret", "Atproto-Proxy"} {
		if r.Header.Get(name) != "" {
			v.t.Errorf("%s: header %s came through", r.URL.Path, name)
		}
	}
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", "", ""
	}
	parts := strings.Split(strings.TrimPrefix(header, "Bearer "), ".")
	var claims struct {
		Iss, Aud, Lxm, Scope string
		Exp, Iat             int64
	}
	if len(parts) == 3 {
		raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
		json.Unmarshal(raw, &claims)
		sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
		doc, err := v.net.srv.identity.ResolveDID(r.Context(), syntax.DID(claims.Iss))
		if err == nil {
			key, kerr := doc.SigningKey()
			if err = kerr; err == nil {
				err = key.HashAndVerify([]byte(parts[0]+"."+parts[1]), sig)
			}
		}
		if err == nil && claims.Scope == "" && claims.Exp-claims.Iat <= 60 {
			return claims.Iss, claims.Aud, claims.Lxm
		}
	}
	v.t.Errorf("%s: not a service token: %q %+v", r.URL.Path, header, claims)
	return "", "", ""
}

// answer is the answer to a method, or the name of an error.
func (v *appView) answer(method string, q url.Values, caller string) (any, string) {
	switch method {
	case "app.bsky.feed.getTimeline", "app.bsky.feed.getAuthorFeed", "app.bsky.feed.getActorLikes", "app.bsky.feed.getFeed":
		out := map[string]any{"feed": v.items(q.Get("cursor"))}
		if v.more != "" && q.Get("cursor") == "" {
			out["cursor"] = v.more
		}
		return out, ""
	case "app.bsky.actor.getProfile":
		return v.who[q.Get("actor")], ""
	case "app.bsky.actor.getProfiles":
		profiles := []any{}
		for _, a := range q["actors"] {
			profiles = append(profiles, v.who[a])
		}
		return map[string]any{"profiles": profiles}, ""
	case "app.bsky.feed.getPosts":
		posts := []any{}
		for _, uri := range q["uris"] {
			if p := v.post[uri]; p != nil {
				posts = append(posts, p)
			}
		}
		return map[string]any{"posts": posts}, ""
	case "app.bsky.feed.getPostThread":
		return v.thread(q.Get("uri"))
	case "com.atproto.repo.getRecord":
		if q.Get("rkey") != "known" {
			return nil, "RecordNotFound"
		}
		return map[string]any{"uri": "at://" + q.Get("repo") + "/app.bsky.feed.generator/known", "value": map[string]any{"did": "did:web:feeds.example.com"}}, ""
	case "app.bsky.actor.getPreferences":
		return map[string]any{"preferences": []any{map[string]any{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": true}}}, ""
	case "com.atproto.moderation.createReport":
		return map[string]any{"id": 7, "reasonType": "com.atproto.moderation.defs#reasonAppeal", "reportedBy": caller, "createdAt": "2026-11-23T12:00:00.000Z",
			"subject": map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": caller}}, ""
	}
	return nil, ""
}

// items are the feed from the first, or with a cursor from the second on.
func (v *appView) items(cursor string) []any {
	items := []any{}
	for i, uri := range v.feed {
		if v.more == "" || (cursor == "") == (i == 0) {
			items = append(items, map[string]any{"post": v.post[uri]})
		}
	}
	return items
}

func (v *appView) thread(uri string) (any, string) {
	if v.post[uri] == nil {
		return nil, "NotFound"
	}
	node := func(uri string) map[string]any {
		return map[string]any{"$type": "app.bsky.feed.defs#threadViewPost", "post": v.post[uri]}
	}
	top := node(uri)
	replies := []any{}
	for _, other := range v.feed {
		if parent := object(v.post[other]).str("record.reply.parent.uri"); parent == uri {
			replies = append(replies, node(other))
		}
	}
	top["replies"] = replies
	return map[string]any{"thread": top}, ""
}

// getWith is get with one more header.
func (c *client) getWith(name, value, method string, params ...string) *answer {
	c.t.Helper()
	req := c.query(method, params...)
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Cookie", "a=b")
	req.Header.Set("X-Secret", "s")
	req.Header.Set(name, value)
	return c.send(req, method)
}

// create writes a record and returns the answer.
func (c *client) create(collection string, record map[string]any) object {
	c.t.Helper()
	return c.post("com.atproto.repo.createRecord", map[string]any{"repo": c.did, "collection": collection, "record": record}).ok()
}

// fresh is the JSON of a post written now, with more fields.
func fresh(text string, more map[string]any) map[string]any {
	p := map[string]any{"$type": postCollection, "text": text, "createdAt": string(syntax.DatetimeNow())}
	for k, v := range more {
		p[k] = v
	}
	return p
}

func ref(o object) map[string]any { return map[string]any{"uri": o["uri"], "cid": o["cid"]} }

// texts are the texts of the posts in a feed.
func texts(o object) (all []string) {
	for i := range o.at("feed").([]any) {
		all = append(all, o.str(fmt.Sprintf("feed.%d.post.record.text", i)))
	}
	return all
}
