package adopt

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"strings"
	"testing"

	"perch/testdata/peers/peertest"
)

// The releases whose data are taken over. 0.4.11 is of April 2024: it knows no privileged app passwords, no OAuth, and an older stream.
var releases = map[string]release{
	"0.5":       {pkg: "@atproto/pds"},
	"0.5 on S3": {pkg: "@atproto/pds", s3: true},
	"0.4.217":   {pkg: "pds-0.4"},
	"0.4.11":    {pkg: "pds-0.4.11", untyped: true},
}

func TestAdopt(t *testing.T) {
	if testing.Short() {
		t.Skip("starts several servers")
	}
	for name, r := range releases {
		t.Run(name, r.adopt)
	}
}

func (r release) adopt(t *testing.T) {
	w := newWorld(t, r)
	w.startReference()
	w.live()
	w.refusesWhileRunning()
	peertest.Must(t, w.server.Stop())
	w.confirmEmail()

	if w.s3 {
		w.harmedBucket()
	}
	before := files(t, w.theirs, w.bucketDir)
	w.killed()
	dry := w.perch(0, "adopt", w.theirs, "--into", w.ours, "--dry-run")
	if _, err := os.Stat(w.ours); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a dry run made the data folder")
	}
	t.Logf("%s", dry)
	t.Logf("%s", w.perch(0, "adopt", w.theirs, "--into", w.ours))
	unchanged(t, "the reference's directory", before, files(t, w.theirs, w.bucketDir))
	if out := w.perch(0, "check", "--blobs"); strings.TrimSpace(out) != "no problems" {
		t.Errorf("check: %s", out)
	}
	rows := w.dump(w.ours)
	again := w.perch(0, "adopt", w.theirs, "--into", w.ours)
	if !strings.Contains(again, "4 were here already") {
		t.Errorf("second run: %s", again)
	}
	unchanged(t, "the database by a second run", rows, w.dump(w.ours))

	w.startPerch()
	t.Run("sessions", w.inner((*world).sessions))
	t.Run("passwords", w.inner((*world).passwords))
	t.Run("content", w.inner((*world).content))
	t.Run("stream", w.inner((*world).follow))
	peertest.Must(t, w.server.Stop())
	if out := w.perch(0, "check", "--blobs"); strings.TrimSpace(out) != "no problems" {
		t.Errorf("check at the end: %s", out)
	}
	rows = w.dump(w.ours)
	w.perch(0, "adopt", w.theirs, "--into", w.ours)
	unchanged(t, "the database by a run after the server has served", rows, w.dump(w.ours))
	unchanged(t, "the reference's directory at the end", before, files(t, w.theirs, w.bucketDir))
	w.goBack()
}

// goBack: the reference starts on its directory as if nothing had been.
func (w *world) goBack() {
	w.t.Helper()
	w.server = w.start(w.reference)
	if a := w.signIn("alice.test", w.alice.password); a.status != 200 {
		w.t.Errorf("sign-in at the reference: %s", a.body)
	}
	for _, u := range []*person{w.alice, w.bob} {
		if head := w.mustGet("com.atproto.sync.getLatestCommit", "", "did", u.did).json(w.t); !maps.Equal(head, w.heads[u.did]) {
			w.t.Errorf("head of %s: %v, want %v", u.handle, head, w.heads[u.did])
		}
	}
	peertest.Must(w.t, w.server.Stop())
}

func (w *world) refusesWhileRunning() {
	w.t.Helper()
	if out := w.perch(1, "adopt", w.theirs, "--into", w.ours); !strings.Contains(out, "still running") {
		w.t.Errorf("while the reference runs: %s", out)
	}
	if out := w.perch(0, "adopt", w.theirs, "--into", w.ours, "--dry-run"); !strings.Contains(out, "figures of a moment") {
		w.t.Errorf("dry run while the reference runs: %s", out)
	}
}
