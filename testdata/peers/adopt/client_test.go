package adopt

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/api/atproto"
	"github.com/coder/websocket"
	cbg "github.com/whyrusleeping/cbor-gen"

	"perch/testdata/peers/peertest"
)

type object = map[string]any

// pds talks to the server, whichever it is at the moment.
type pds struct {
	t   *testing.T
	url string
}

// answer is what the server said.
type answer struct {
	status int
	body   []byte
}

func (a answer) json(t *testing.T) object {
	t.Helper()
	var m object
	if err := json.Unmarshal(a.body, &m); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return m
}

// do sends a request. auth is a token, "admin", or "".
func (p *pds) do(method, nsid string, params url.Values, auth, contentType string, body []byte) answer {
	p.t.Helper()
	req, err := http.NewRequest(method, p.url+"/xrpc/"+nsid+"?"+params.Encode(), bytes.NewReader(body))
	peertest.Must(p.t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	switch auth {
	case "":
	case "admin":
		req.SetBasicAuth("admin", "admin")
	default:
		req.Header.Set("Authorization", "Bearer "+auth)
	}
	res, err := http.DefaultClient.Do(req)
	peertest.Must(p.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	peertest.Must(p.t, err)
	return answer{res.StatusCode, b}
}

// post sends JSON, nil for no body, and wants 200.
func (p *pds) post(nsid, auth string, in any) object {
	p.t.Helper()
	a := p.tryPost(nsid, auth, in)
	if a.status != http.StatusOK {
		p.t.Fatalf("%s: %d %s", nsid, a.status, a.body)
	}
	if len(a.body) == 0 {
		return nil
	}
	return a.json(p.t)
}

func (p *pds) tryPost(nsid, auth string, in any) answer {
	p.t.Helper()
	if in == nil {
		return p.do("POST", nsid, nil, auth, "", nil)
	}
	body, err := json.Marshal(in)
	peertest.Must(p.t, err)
	return p.do("POST", nsid, nil, auth, "application/json", body)
}

func (p *pds) get(nsid, auth string, params ...string) answer {
	p.t.Helper()
	q := url.Values{}
	for i := 0; i < len(params); i += 2 {
		q.Add(params[i], params[i+1])
	}
	return p.do("GET", nsid, q, auth, "", nil)
}

// mustGet is get for answers with 200.
func (p *pds) mustGet(nsid, auth string, params ...string) answer {
	p.t.Helper()
	a := p.get(nsid, auth, params...)
	if a.status != http.StatusOK {
		p.t.Fatalf("%s %v: %d %s", nsid, params, a.status, a.body)
	}
	return a
}

// fails wants an error of a name.
func (p *pds) fails(a answer, name string) {
	p.t.Helper()
	if a.status < 400 || a.status >= 500 || !strings.Contains(string(a.body), `"`+name+`"`) {
		p.t.Errorf("got %d %s, want %s", a.status, a.body, name)
	}
}

// person is an account with what its client has kept.
type person struct {
	did, handle, password   string
	access, refresh, before string // before: the refresh token that was exchanged for refresh
	appPasswords            map[string]string
	appSessions             map[string]object
}

func (p *pds) signUp(handle, invite string) *person {
	p.t.Helper()
	u := &person{handle: handle, password: "the password of " + handle, appPasswords: map[string]string{}, appSessions: map[string]object{}}
	s := p.post("com.atproto.server.createAccount", "", object{"handle": handle, "email": handle + "@mail.example", "password": u.password, "inviteCode": invite})
	u.did, u.access, u.refresh = s["did"].(string), s["accessJwt"].(string), s["refreshJwt"].(string)
	return u
}

func (p *pds) signIn(identifier, password string) answer {
	p.t.Helper()
	return p.tryPost("com.atproto.server.createSession", "", object{"identifier": identifier, "password": password})
}

func (p *pds) appPassword(u *person, name string, privileged bool) {
	p.t.Helper()
	made := p.post("com.atproto.server.createAppPassword", u.access, object{"name": name, "privileged": privileged})
	u.appPasswords[name] = made["password"].(string)
	a := p.signIn(u.handle, u.appPasswords[name])
	if a.status != http.StatusOK {
		p.t.Fatalf("sign in with %s: %s", name, a.body)
	}
	u.appSessions[name] = a.json(p.t)
}

func (p *pds) refreshSession(token string) answer {
	p.t.Helper()
	return p.tryPost("com.atproto.server.refreshSession", token, nil)
}

// create writes a record and returns its strong reference.
func (p *pds) create(u *person, collection string, record object) object {
	p.t.Helper()
	record["createdAt"] = time.Now().UTC().Format(time.RFC3339)
	in := object{"repo": u.did, "collection": collection, "record": record}
	if !strings.HasPrefix(collection, "app.bsky.") {
		in["validate"] = false // 0.4.11 refuses what it has no lexicon for
	}
	out := p.post("com.atproto.repo.createRecord", u.access, in)
	return object{"uri": out["uri"], "cid": out["cid"]}
}

func (p *pds) upload(u *person, contentType string, b []byte) object {
	p.t.Helper()
	a := p.do("POST", "com.atproto.repo.uploadBlob", nil, u.access, contentType, b)
	if a.status != http.StatusOK {
		p.t.Fatalf("upload: %d %s", a.status, a.body)
	}
	return a.json(p.t)["blob"].(object)
}

func cidOfBlob(blob object) string { return blob["ref"].(object)["$link"].(string) }

// frame is one message of the firehose.
type frame struct {
	seq  int64
	kind string
	did  string
	raw  []byte
}

// frames reads messages after a cursor until n have come.
func (p *pds) frames(cursor int64, n int) []frame {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	address := strings.Replace(p.url, "http", "ws", 1) + fmt.Sprintf("/xrpc/com.atproto.sync.subscribeRepos?cursor=%d", cursor)
	conn, _, err := websocket.Dial(ctx, address, nil)
	peertest.Must(p.t, err)
	defer conn.CloseNow()
	conn.SetReadLimit(8 << 20)
	var all []frame
	for len(all) < n {
		_, raw, err := conn.Read(ctx)
		if err != nil {
			p.t.Fatalf("firehose after %d of %d messages: %v", len(all), n, err)
		}
		all = append(all, parseFrame(p.t, raw))
	}
	return all
}

// gone is a kind of message that releases before #account and #sync had, and that nobody reads any more.
const gone = "gone"

func parseFrame(t *testing.T, raw []byte) frame {
	t.Helper()
	f := frame{raw: raw}
	r := bytes.NewReader(raw)
	var header cbg.Deferred
	peertest.Must(t, header.UnmarshalCBOR(r))
	switch {
	case bytes.Contains(header.Raw, []byte("#commit")):
		var m atproto.SyncSubscribeRepos_Commit
		peertest.Must(t, m.UnmarshalCBOR(r))
		f.kind, f.seq, f.did = "commit", m.Seq, m.Repo
	case bytes.Contains(header.Raw, []byte("#sync")):
		var m atproto.SyncSubscribeRepos_Sync
		peertest.Must(t, m.UnmarshalCBOR(r))
		f.kind, f.seq, f.did = "sync", m.Seq, m.Did
	case bytes.Contains(header.Raw, []byte("#identity")):
		var m atproto.SyncSubscribeRepos_Identity
		peertest.Must(t, m.UnmarshalCBOR(r))
		f.kind, f.seq, f.did = "identity", m.Seq, m.Did
	case bytes.Contains(header.Raw, []byte("#account")):
		var m atproto.SyncSubscribeRepos_Account
		peertest.Must(t, m.UnmarshalCBOR(r))
		f.kind, f.seq, f.did = "account", m.Seq, m.Did
	case bytes.Contains(header.Raw, []byte("#handle")), bytes.Contains(header.Raw, []byte("#tombstone")):
		f.kind = gone
	default:
		t.Fatalf("unexpected message %q", raw)
	}
	return f
}

// jti is the id of the session in a refresh token.
func jti(t *testing.T, session object) string {
	t.Helper()
	token, _ := session["refreshJwt"].(string)
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no token in %v", session)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	peertest.Must(t, err)
	var claims struct{ JTI string }
	peertest.Must(t, json.Unmarshal(b, &claims))
	return claims.JTI
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	peertest.Must(t, json.Unmarshal([]byte(a), &x))
	peertest.Must(t, json.Unmarshal([]byte(b), &y))
	return reflect.DeepEqual(x, y)
}
