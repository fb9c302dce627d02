package pds

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"perch/pds/account"
)

// held is a request whose body stops before its last byte, after the server has let in who sends it.
type held struct {
	t    *testing.T
	what string
	conn net.Conn
	in   *bufio.Reader
	last string
}

// hold sends all of a request but its end, and returns once the server waits for that.
func (c *client) hold(method, contentType string, body []byte) *held {
	c.t.Helper()
	u, err := url.Parse(c.url)
	if err != nil {
		c.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	// The server says "100 Continue" when it begins to read the body, which is after it has let the caller in.
	fmt.Fprintf(conn, "POST /xrpc/%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
		method, u.Host, c.token, contentType, len(body))
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil || !strings.Contains(line, "100 Continue") {
		c.t.Fatalf("%s: %q %v", method, line, err)
	}
	if _, err := conn.Write(body[:len(body)-1]); err != nil {
		c.t.Fatal(err)
	}
	if _, err := in.Discard(len("\r\n")); err != nil { // the end of the 100
		c.t.Fatal(err)
	}
	return &held{c.t, method, conn, in, string(body[len(body)-1:])}
}

// release sends the rest.
func (h *held) release() *answer {
	h.t.Helper()
	if _, err := h.conn.Write([]byte(h.last)); err != nil {
		h.t.Fatal(err)
	}
	resp, err := http.ReadResponse(h.in, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	a := &answer{t: h.t, what: h.what, status: resp.StatusCode, header: resp.Header}
	var raw json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&raw); err == nil {
		a.body = raw
	}
	return a
}

func (c *client) holdJSON(method string, input map[string]any) *held {
	c.t.Helper()
	body, err := json.Marshal(input)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.hold(method, "application/json", body)
}

// Who has a session can begin requests and send their last byte days later. They end with the session all the same.
func TestHeldRequestsEndWithTheSession(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	requests := map[string]map[string]any{
		"com.atproto.server.createAppPassword": {"name": "door", "privileged": true},
		updateNSID:                             {"email": "thief@example.com"},
		"com.atproto.identity.updateHandle":    {"handle": "thief.test"},
		deactivateNSID:                         {"deleteAfter": "2026-01-01T00:00:00Z"},
		"app.bsky.actor.putPreferences":        {"preferences": []any{}},
		"com.atproto.repo.createRecord":        {"repo": alice.did, "collection": postCollection, "record": postRecord("thief")},
	}
	var waiting []*held
	for method, input := range requests {
		waiting = append(waiting, alice.holdJSON(method, input))
	}
	n.anonymous(t).post(resetNSID, map[string]any{"token": makeCode(t, n, alice, account.ForResetPassword), "password": "new-password"}).ok()
	for _, h := range waiting {
		h.release().fails(400, "ExpiredToken")
	}
	acct := alice.account()
	if passwords, err := n.srv.store.AppPasswords(t.Context(), acct.ID); err != nil || len(passwords) > 0 {
		t.Errorf("app passwords made after the reset: %v %v", passwords, err)
	}
	if acct.Email != "alice@example.com" || acct.Handle != "alice.test" || !acct.Active() {
		t.Errorf("changed after the reset: %+v", acct)
	}
}

func TestHeldRequestsEndWithTheAccount(t *testing.T) {
	n := startNetwork(t, nil)
	alice, bob := n.signUp(t, "alice"), n.signUp(t, "bob")
	down := alice.holdJSON("app.bsky.actor.putPreferences", map[string]any{"preferences": []any{}})
	gone := bob.holdJSON(updateNSID, map[string]any{"email": "late@example.com"})
	off := bob.holdJSON("com.atproto.repo.createRecord", map[string]any{"repo": bob.did, "collection": postCollection, "record": postRecord("late")})
	alice.moderate(repoSubject(alice.did), takedown(true, "case")).ok()
	down.release().fails(401, "AccountTakedown")
	bob.post(deactivateNSID, map[string]any{}).ok()
	off.release().fails(401, "AccountDeactivated")
	bob.admin("com.atproto.admin.deleteAccount", map[string]any{"did": bob.did}).ok()
	gone.release().fails(403, "AccountNotFound")
}

func TestHeldImportEndsWithTheSession(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	alice.createPost("old")
	car := alice.get("com.atproto.sync.getRepo", "did", alice.did).body
	alice.createPost("new")
	alice.post(deactivateNSID, map[string]any{}).ok()
	h := alice.hold("com.atproto.repo.importRepo", "application/vnd.ipld.car", car)
	n.anonymous(t).post(resetNSID, map[string]any{"token": makeCode(t, n, alice, account.ForResetPassword), "password": "new-password"}).ok()
	h.release().fails(400, "ExpiredToken")
	if _, stats, err := n.srv.store.Head(t.Context(), alice.account().ID); err != nil || stats.Records != 2 {
		t.Errorf("the repository was changed: %+v %v", stats, err)
	}
}

// Who sends repositories slowly must not hold all places at which they are received.
func TestSlowImportsLeaveRoomForOthers(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.RateLimitsEnabled = true })
	var people []*client
	for i := range maxReceivingFrom + 2 {
		c := n.signUp(t, fmt.Sprint("person", i))
		c.post(deactivateNSID, map[string]any{}).ok()
		people = append(people, c)
	}
	car := people[0].get("com.atproto.sync.getRepo", "did", people[0].did).body
	var waiting []*held
	for i := range maxReceivingFrom {
		waiting = append(waiting, people[i].hold("com.atproto.repo.importRepo", "application/vnd.ipld.car", car))
	}
	last := people[maxReceivingFrom]
	last.importCAR(car).fails(503, "NotEnoughResources")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.url+"/xrpc/com.atproto.repo.importRepo", bytes.NewReader(car))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/vnd.ipld.car")
	req.Header.Set("Authorization", "Bearer "+last.token)
	req.Header.Set("X-Forwarded-For", "203.0.113.1")
	last.send(req, "import from elsewhere").fails(400, "InvalidCommit") // which is another's
	for _, h := range waiting {
		h.release()
	}
	last.importCAR(car).fails(400, "InvalidCommit")
}
