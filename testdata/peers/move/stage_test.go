package move

import (
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	_ "modernc.org/sqlite"

	"perch/identity/plc"
	"perch/pds/auth"
)

// stage lets the programs that walk through the pages arrange what happens around them: one POST is one order.
type stage struct {
	*world
	far   *host    // another Perch
	toFar *between // the way to it
	db    *sql.DB  // of the Perch whose pages are walked

	mu    sync.Mutex
	rules map[string]*rules   // by the door at which they hold; guarded by mu
	webs  map[string]*webSite // by DID; guarded by mu
}

// order is what a walk asks for.
type order struct {
	Do  string
	DID string

	// "show": how the account's move stands from now on, as a move that nobody works on. Data is merged into what is stored.
	State string
	Data  map[string]any

	// "spoil", "mend": what becomes of requests at a door: the account's to a method, or all to a path.
	Door, Method, Path, Body string
	Status                   int // 0: the requests wait until that is mended
	After                    int // so many are let through

	// "name": what the DID says from now on, where it is not ""
	PDS, Handle, Key string
}

// rules are what a door does to requests.
type rules struct {
	mu  sync.Mutex
	all map[string]*rule // guarded by mu
}

type rule struct {
	order
	seen   int
	mended chan struct{}
}

func openStage(t *testing.T, w *world, far *host, toFar *between) (*stage, string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(w.dir, "here", "perch.db")+"?_pragma=busy_timeout(10000)")
	must(t, err)
	t.Cleanup(func() { db.Close() })
	s := &stage{world: w, far: far, toFar: toFar, db: db, rules: map[string]*rules{}, webs: map[string]*webSite{}}
	for name, door := range map[string]*between{"far": toFar, "plc": w.toPLC} {
		r := &rules{all: map[string]*rule{}}
		s.rules[name] = r
		door.set(func(method, about string, _ int) fault { return r.find(method, about) })
	}
	srv := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { // or those who wait would hold the servers up
		for _, r := range s.rules {
			r.mendAll()
		}
	})
	return s, srv.URL
}

func (s *stage) serve(w http.ResponseWriter, r *http.Request) {
	var o order
	err := json.NewDecoder(r.Body).Decode(&o)
	var out any = struct{}{}
	if err == nil {
		out, err = s.do(r, o)
	}
	if err != nil {
		http.Error(w, fmt.Sprintf("%+v: %v", o, err), http.StatusBadRequest)
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (s *stage) do(r *http.Request, o order) (any, error) {
	switch o.Do {
	case "show":
		return nil, s.show(o)
	case "spoil":
		s.rules[o.Door].add(o)
	case "mend":
		s.rules[o.Door].mend(o)
	case "name":
		return nil, s.name(r, o)
	case "web":
		return s.openWeb(r)
	default:
		return nil, fmt.Errorf("no such order")
	}
	return nil, nil
}

// show writes how a move stands into the database. Nobody works on moves that wait for their owners, so it stays so.
func (s *stage) show(o order) error {
	data, err := json.Marshal(o.Data)
	if err != nil {
		return err
	}
	res, err := s.db.Exec("UPDATE migration SET state = ?, data = json_patch(data, ?) WHERE did = ?", o.State, string(data), o.DID)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); n != 1 || err != nil {
		return fmt.Errorf("%d moves, %v", n, err)
	}
	return nil
}

func (o order) key() string { return o.Method + " " + o.DID + " " + o.Path }

func (r *rules) add(o order) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all[o.key()] = &rule{order: o, mended: make(chan struct{})}
}

func (r *rules) mend(o order) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if was := r.all[o.key()]; was != nil {
		close(was.mended)
		delete(r.all, o.key())
	}
}

func (r *rules) mendAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, rule := range r.all {
		close(rule.mended)
		delete(r.all, key)
	}
}

// find returns what becomes of a request; about is its account, or its path.
func (r *rules) find(method, about string) fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rule := range r.all {
		if rule.Method != method || rule.Path != "" && rule.Path != about || rule.DID != "" && rule.DID != about {
			continue
		}
		if rule.seen++; rule.seen <= rule.After {
			return nil
		}
		if rule.Status != 0 {
			return answer(rule.Status, rule.Body, "Content-Type", "application/json", "Retry-After", "60")
		}
		return halved(rule.mended)
	}
	return nil
}

// halved gives half of the answer back, and the rest when go is closed.
func halved(goOn <-chan struct{}) fault {
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		r.Header.Del("Accept-Encoding") // half of what is compressed may be nothing yet
		rec := record(r, pass)
		head(w, rec)
		w.WriteHeader(rec.Code)
		body := rec.Body.Bytes()
		_, _ = w.Write(body[:len(body)/2])
		w.(http.Flusher).Flush()
		select {
		case <-goOn:
			_, _ = w.Write(body[len(body)/2:])
		case <-r.Context().Done():
		}
	}
}

// name has a DID of the far server's say something else: where the account lives, which handle it has.
func (s *stage) name(r *http.Request, o order) error {
	s.mu.Lock()
	site := s.webs[o.DID]
	s.mu.Unlock()
	if site != nil {
		site.set(o.Handle, o.Key, o.PDS)
		return nil
	}
	raw, err := hex.DecodeString(s.far.rotation)
	if err != nil {
		return err
	}
	key, err := atcrypto.ParsePrivateBytesK256(raw)
	if err != nil {
		return err
	}
	client := plc.NewClient(s.directory, nil)
	last, err := client.Last(r.Context(), syntax.DID(o.DID))
	if err != nil {
		return err
	}
	op, err := plc.Update(last, func(op *plc.Operation) {
		switch o.PDS {
		case "":
		case "none":
			op.Services = map[string]plc.Service{}
		case "door":
			op.SetPDS(s.toFar.URL)
		default:
			op.SetPDS(o.PDS)
		}
		if o.Handle != "" {
			op.AlsoKnownAs = []string{"at://" + o.Handle}
		}
	})
	if err == nil {
		op, err = plc.Sign(op, key)
	}
	if err != nil {
		return err
	}
	return client.Submit(r.Context(), syntax.DID(o.DID), op)
}

// webSite is the site of a did:web.
type webSite struct {
	did string

	mu  sync.Mutex
	doc any // guarded by mu
}

func (h *webSite) set(handle, key, endpoint string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.doc = map[string]any{
		"id": h.did, "alsoKnownAs": []string{"at://" + handle},
		"verificationMethod": []any{map[string]any{"id": "#atproto", "type": "Multikey", "controller": h.did, "publicKeyMultibase": key}},
		"service":            []any{map[string]any{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": endpoint}},
	}
}

func (h *webSite) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = json.NewEncoder(w).Encode(h.doc)
}

// openWeb opens the site of a did:web, which names the far server. It returns the DID, and the token with which its account is made there.
func (s *stage) openWeb(r *http.Request) (any, error) {
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		return nil, err
	}
	pub, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	site := &webSite{}
	srv := httptest.NewServer(site)
	s.t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		return nil, err
	}
	site.did = "did:web:localhost%3A" + u.Port()
	site.set("web.far.pub", pub.Multibase(), s.far.origin())
	s.mu.Lock()
	s.webs[site.did] = site
	s.mu.Unlock()
	token, err := auth.ServiceToken(key, auth.ServiceClaims{
		Issuer: syntax.DID(site.did), Audience: "did:web:localhost%3A" + portOf(s.toFar.URL), Method: "com.atproto.server.createAccount",
	})
	return map[string]string{"did": site.did, "token": token}, err
}

func portOf(origin string) string { return origin[strings.LastIndexByte(origin, ':')+1:] }
