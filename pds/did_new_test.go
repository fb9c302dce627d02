package pds

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
)

// flakyPLC stands before a PLC directory. With mute it loses the answer to every operation that the directory has taken, with down it answers no question.
type flakyPLC struct {
	mute, down atomic.Bool
	refuse     atomic.Bool
	made       atomic.Value // path of the last operation
}

// startFlakyPLC starts a network behind one.
func startFlakyPLC(t *testing.T) (*flakyPLC, *network) {
	t.Helper()
	f := &flakyPLC{}
	directory := startNetwork(t, nil).plc
	target, err := url.Parse(directory)
	if err != nil {
		t.Fatal(err)
	}
	next := httputil.NewSingleHostReverseProxy(target)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet && f.down.Load():
			panic(http.ErrAbortHandler)
		case r.Method == http.MethodPost && f.refuse.Load():
			http.Error(w, `{"message":"no"}`, http.StatusBadRequest)
			return
		case r.Method == http.MethodPost && f.mute.Load():
			next.ServeHTTP(httptest.NewRecorder(), r)
			f.made.Store(r.URL.Path)
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return f, startNetwork(t, func(c *Config) { c.PLCURL = s.URL })
}

func (n *network) leftToGiveUp() int {
	n.t.Helper()
	jobs, err := n.srv.store.DueJobs(n.t.Context(), time.Now().Add(time.Hour), jobBatch, jobGiveUpDID)
	if err != nil {
		n.t.Fatal(err)
	}
	return len(jobs)
}

// The directory takes the operation, its answer is lost, and it can be asked nothing: the sign-up fails, and the DID that is there is given up later.
func TestCreateAccountLeavesNoDID(t *testing.T) {
	f, n := startFlakyPLC(t)
	alice := map[string]any{"handle": "alice.test", "email": "alice@example.com", "password": "alice-password"}
	f.mute.Store(true)
	f.down.Store(true)
	if a := n.anonymous(t).post("com.atproto.server.createAccount", alice); a.status < 500 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	path, _ := f.made.Load().(string)
	did := syntax.DID(path[1:])
	if n.leftToGiveUp() != 1 {
		t.Fatalf("%d jobs", n.leftToGiveUp())
	}
	job := func() error {
		jobs, err := n.srv.store.DueJobs(t.Context(), time.Now().Add(time.Hour), jobBatch, jobGiveUpDID)
		if err != nil || len(jobs) != 1 {
			t.Fatalf("%v %v", jobs, err)
		}
		return n.srv.giveUpDID(t.Context(), jobs[0].Payload)
	}
	if err := job(); err == nil {
		t.Error("a DID was given up without a directory")
	}
	f.mute.Store(false)
	f.down.Store(false)
	n.srv.makingDIDs.Store(did, true)
	if err := job(); err == nil {
		t.Error("given up while its account is being made")
	}
	n.srv.makingDIDs.Delete(did)
	if err := job(); err != nil {
		t.Fatal(err)
	}
	if last, err := n.srv.plc.Last(t.Context(), did); err != nil || last.Type != plc.TypeTombstone {
		t.Errorf("%s: %v %v", did, last.Type, err)
	}
	if err := job(); err != nil {
		t.Errorf("once more: %v", err)
	}
	n.anonymous(t).post("com.atproto.server.createAccount", alice).ok()
	if n.leftToGiveUp() != 1 {
		t.Errorf("%d jobs are left after a good sign-up", n.leftToGiveUp())
	}
}

// A lost answer does no harm when the directory can be asked; a refusal leaves nothing to do; and a DID with an account is never given up.
func TestCreateAccountThroughALostAnswer(t *testing.T) {
	f, n := startFlakyPLC(t)
	f.mute.Store(true)
	c := n.signUp(t, "alice")
	f.mute.Store(false)
	c.createPost("here")
	f.refuse.Store(true)
	n.anonymous(t).post("com.atproto.server.createAccount", map[string]any{
		"handle": "bob.test", "email": "bob@example.com", "password": "bob-password",
	}).fails(400, "InvalidRequest")
	f.refuse.Store(false)
	if n.leftToGiveUp() != 0 {
		t.Errorf("%d jobs are left", n.leftToGiveUp())
	}
	if err := n.srv.giveUpDID(t.Context(), `{"did":"`+c.did+`"}`); err != nil {
		t.Error(err)
	}
	if _, err := n.srv.plc.Data(t.Context(), syntax.DID(c.did)); errors.Is(err, plc.ErrTombstoned) {
		t.Error("the DID of an account was given up")
	}
}

// The owner's recovery key is stronger than the wish to tidy up.
func TestGiveUpKeepsAChangedDID(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	first := c.lastOp()
	if err := n.srv.updateDID(t.Context(), syntax.DID(c.did), func(op *plc.Operation) { op.AlsoKnownAs = []string{"at://kept.example.com"} }); err != nil {
		t.Fatal(err)
	}
	if err := n.srv.buryDID(t.Context(), newDID{syntax.DID(c.did), first}); err != nil {
		t.Fatal(err)
	}
	if c.lastOp().Type == plc.TypeTombstone {
		t.Error("given up")
	}
}
