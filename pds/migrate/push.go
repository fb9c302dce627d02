package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ipfs/go-cid"

	"perch/pds/store"
	"perch/repo"
)

// importTime is how long the new host may work on a repository once it has all of it.
const importTime = 30 * time.Minute

// statusThere is what the new host says of the account.
type statusThere struct {
	Activated      *bool
	RepoCommit     string
	IndexedRecords int64
	ExpectedBlobs  int64
	ImportedBlobs  int64
}

func (m *Manager) statusThere(ctx context.Context, h *host) (st statusThere, err error) {
	err = h.json(ctx, call{method: "com.atproto.server.checkAccountStatus", token: accessToken}, &st)
	if err == nil && st.Activated == nil {
		err = errors.New("the new host does not tell how the account stands")
	}
	return st, err
}

// pushRepo streams the repository to the new host.
func (m *Manager) pushRepo(ctx context.Context, mv *move, h *host, r *runner) error {
	// So that a session that has expired is renewed before all the bytes are sent.
	if err := h.json(ctx, call{method: "com.atproto.server.getSession", token: accessToken}, nil); err != nil {
		return err
	}
	var run *exportRun
	body := &upload{kind: "application/vnd.ipld.car", answer: importTime, open: func() (io.ReadCloser, error) {
		r.loaded.n.Store(0)
		run = m.export(ctx, mv.Account, r.loaded)
		return run, nil
	}}
	err := h.json(ctx, call{method: "com.atproto.repo.importRepo", post: true, send: body, token: accessToken}, nil)
	if err != nil {
		return err
	}
	got, err := run.result()
	if err != nil {
		return err
	}
	mv.Commit, mv.Data, mv.State = got.Commit.String(), got.Data.String(), StateBlobs
	return nil
}

// exportRun is a repository on its way out.
type exportRun struct {
	*io.PipeReader
	done chan struct{}
	got  Exported
	err  error
}

func (m *Manager) export(ctx context.Context, acct store.AccountID, sent *counter) *exportRun {
	r, w := io.Pipe()
	run := &exportRun{PipeReader: r, done: make(chan struct{})}
	go func() {
		defer close(run.done)
		run.got, run.err = m.opts.Here.Export(ctx, acct, countedWriter{w, sent})
		w.CloseWithError(run.err)
	}()
	return run
}

// Close ends the export, if it still runs, and waits until it has let go of the store.
func (r *exportRun) Close() error {
	err := r.PipeReader.Close()
	<-r.done
	return err
}

func (r *exportRun) result() (Exported, error) {
	<-r.done
	return r.got, r.err
}

type countedWriter struct {
	io.Writer
	c *counter
}

func (w countedWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	w.c.n.Add(int64(n))
	return n, err
}

// pushBlobs uploads what the new host misses.
func (m *Manager) pushBlobs(ctx context.Context, mv *move, h *host, r *runner) error {
	st, err := m.statusThere(ctx, h)
	if err != nil {
		return err
	}
	r.blobs.n.Store(st.ImportedBlobs)
	t := &transfer{most: mv.mayLose(), carry: func(ctx context.Context, c cid.Cid) (why, error) { return m.pushBlob(ctx, mv, h, c, r) }}
	err = m.missingThere(ctx, mv, h, func(page []cid.Cid) error { return t.page(ctx, page) })
	if err != nil {
		return err
	}
	return t.settle(mv)
}

// missingThere lists the blobs that the new host misses, page by page. It cannot miss more than there are here.
func (m *Manager) missingThere(ctx context.Context, mv *move, h *host, yield func([]cid.Cid) error) error {
	facts, err := m.opts.Here.Facts(ctx, mv.Account)
	if err != nil {
		return err
	}
	left := facts.Blobs + blobPage // some may have come and gone since it got the records
	for cursor := ""; ; {
		q := url.Values{"limit": {strconv.Itoa(blobPage)}}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		var out struct {
			Cursor string
			Blobs  []struct{ CID string }
		}
		if err := h.json(ctx, call{method: "com.atproto.repo.listMissingBlobs", query: q, token: accessToken}, &out); err != nil {
			return err
		}
		page := make([]cid.Cid, len(out.Blobs))
		for i, b := range out.Blobs {
			var err error
			if page[i], err = cid.Decode(b.CID); err != nil {
				return fmt.Errorf("listMissingBlobs: %.100q is not a CID", b.CID)
			}
		}
		if left -= int64(len(page)); left < 0 {
			return fmt.Errorf("the new host misses more blobs than the %d that the account has", facts.Blobs)
		}
		if err := yield(page); err != nil {
			return err
		}
		if out.Cursor == "" || out.Cursor == cursor || len(page) == 0 {
			return nil
		}
		cursor = out.Cursor
	}
}

// pushBlob uploads one blob and sees that the new host has got these very bytes.
func (m *Manager) pushBlob(ctx context.Context, mv *move, h *host, c cid.Cid, r *runner) (lost why, err error) {
	b, err := m.opts.Here.OpenBlob(ctx, mv.Account, c)
	if errors.Is(err, store.ErrNotFound) {
		return why{LostMissing, "its bytes are not on this server"}, nil
	}
	if err != nil {
		return why{}, err
	}
	kind, size := b.Type, b.Size
	b.Close()
	body := &upload{kind: kind, size: size, open: func() (io.ReadCloser, error) { return m.opts.Here.OpenBlob(ctx, mv.Account, c) }}
	if size == 0 { // which would count as unknown
		body.open = func() (io.ReadCloser, error) { return http.NoBody, nil }
	}
	var out struct {
		Blob struct {
			Ref struct {
				Link string `json:"$link"`
			}
		}
	}
	err = h.json(ctx, call{method: "com.atproto.repo.uploadBlob", post: true, send: body, token: accessToken}, &out)
	var refused *HostError
	switch {
	case errors.As(err, &refused) && refused.ofBody():
		return refusedBlob(refused), nil
	case err != nil:
		return why{}, err
	case out.Blob.Ref.Link != c.String():
		return why{LostOther, "the bytes on this server, or what the new host got of them, are not those that the CID says"}, nil
	}
	r.blobs.n.Add(1)
	r.blobBytes.n.Add(size)
	return why{}, nil
}

// ofBody tells that it is what was sent that is refused, and not who sends it.
func (e *HostError) ofBody() bool {
	if e.expired() || e.Vague && e.Status != http.StatusRequestEntityTooLarge {
		return false
	}
	return e.Status == http.StatusBadRequest || e.Status == http.StatusRequestEntityTooLarge || e.Status == http.StatusUnsupportedMediaType
}

// pushPreferences brings the preferences to the new host and sees that those there are the same then.
func (m *Manager) pushPreferences(ctx context.Context, mv *move, h *host) error {
	here, err := m.opts.Here.Preferences(ctx, mv.Account)
	if err != nil {
		return err
	}
	there, err := m.preferencesAt(ctx, mv, h)
	if err != nil {
		return err
	}
	if there == nil {
		mv.note(NoteNoPrefsNew, "")
		return nil
	}
	if same, err := equalPreferences(here, there); same || err != nil {
		return err
	}
	put := map[string]json.RawMessage{"preferences": here}
	if err := h.json(ctx, call{method: "app.bsky.actor.putPreferences", post: true, input: put, token: accessToken}, nil); err != nil {
		return err
	}
	if there, err = m.preferencesAt(ctx, mv, h); err != nil {
		return err
	}
	same, err := equalPreferences(here, there)
	if err == nil && !same {
		err = errors.New("the preferences at the new host are not those of this one")
	}
	return err
}

// dataAt is the root of the tree that the new host has. Every proof begins with the commit, also that of a record that is not there.
func (m *Manager) dataAt(ctx context.Context, mv *move, h *host, commit string) (string, error) {
	want, err := cid.Decode(commit)
	if err != nil {
		return "", fmt.Errorf("the new host has the commit %.100q: %w", commit, err)
	}
	var block []byte
	query := mv.query("collection", "app.bsky.actor.profile", "rkey", "self")
	c := call{method: "com.atproto.sync.getRecord", query: query, token: accessToken}
	err = h.do(ctx, c, func(resp *http.Response) error {
		_, err := repo.ReadCAR(resp.Body, repo.EventCARLimits(), func(b repo.Block) error {
			if b.CID == want {
				block = bytes.Clone(b.Data)
			}
			return nil
		})
		return err
	})
	if err != nil {
		return "", err
	}
	head, err := repo.ParseHead(block)
	if err != nil {
		return "", fmt.Errorf("the commit of the new host: %w", err)
	}
	return head.Commit.Data.String(), nil
}

// completeThere tells whether the new host has all that is here. If not, the move goes back to push it.
func (m *Manager) completeThere(ctx context.Context, mv *move, h *host) (bool, error) {
	facts, err := m.opts.Here.Facts(ctx, mv.Account)
	if err != nil {
		return false, err
	}
	if facts.Commit.String() != mv.Commit && (mv.Holding || mv.Rounds < maxRounds) {
		return m.again(mv, StateRepo), nil
	}
	st, err := m.statusThere(ctx, h)
	switch {
	case err != nil:
		return false, err
	case *st.Activated:
		return false, errors.New("the account at the new host is active already, although its DID does not name that host")
	}
	data, err := m.dataAt(ctx, mv, h, st.RepoCommit)
	if err != nil {
		return false, err
	}
	if data != mv.Data || facts.Commit.String() == mv.Commit && st.IndexedRecords != facts.Records {
		return false, m.otherRecords(mv, &st, facts.Records)
	}
	return m.blobsThere(ctx, mv, h, &st)
}

// maxMismatches is how often a repository is pushed once more because the new host holds something else.
const maxMismatches = 3

func (m *Manager) otherRecords(mv *move, st *statusThere, records int64) error {
	if mv.Mismatches++; mv.Mismatches > maxMismatches {
		return fmt.Errorf("the new host holds other records than were sent: %d of %d, at commit %s", st.IndexedRecords, records, st.RepoCommit)
	}
	mv.State = StateRepo
	return nil
}

// blobsThere sees that the new host misses no blob but those that are known as lost.
func (m *Manager) blobsThere(ctx context.Context, mv *move, h *host, st *statusThere) (bool, error) {
	missing, lost := int64(0), make(map[string]bool, len(mv.Lost))
	for _, l := range mv.Lost {
		lost[l.CID] = true
	}
	err := m.missingThere(ctx, mv, h, func(page []cid.Cid) error {
		for _, c := range page {
			if !lost[c.String()] {
				missing++
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	if missing > 0 {
		return m.again(mv, StateBlobs), nil
	}
	if st.ImportedBlobs+int64(len(mv.Lost)) < st.ExpectedBlobs {
		return false, fmt.Errorf("the new host has %d of %d blobs and does not say which it misses", st.ImportedBlobs, st.ExpectedBlobs)
	}
	mv.BlobsThere, mv.RecordsThere = st.ImportedBlobs, st.IndexedRecords
	return true, m.pushPreferences(ctx, mv, h)
}
