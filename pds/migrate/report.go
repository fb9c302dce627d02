package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/store"
)

// Report is what is left of a move that is done.
type Report struct {
	Records   int64  `json:"records"`
	Blobs     int64  `json:"blobs"`
	BlobBytes int64  `json:"blobBytes"`
	Lost      []Lost `json:"lost,omitempty"`
	Notes     []Note `json:"notes,omitempty"`
	Seconds   int64  `json:"seconds"`
	Follows   int64  `json:"follows,omitempty"` // of the records; of a move out
}

func (m *Manager) report(ctx context.Context, mv *move) error {
	facts, err := m.opts.Here.Facts(ctx, mv.Account)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if mv.Out {
		return m.reportOut(ctx, mv, &facts)
	}
	mv.Report = &Report{
		Records: facts.Records, Blobs: facts.BlobsHere, BlobBytes: facts.BlobBytes,
		Lost: mv.Lost, Notes: mv.Notes, Seconds: int64(mv.EndedAt.Sub(mv.BeganAt) / time.Second),
	}
	return nil
}

// reportOut tells what the new host had when the DID was about to be changed.
func (m *Manager) reportOut(ctx context.Context, mv *move, facts *Facts) error {
	follows, err := m.opts.Here.Follows(ctx, mv.Account)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	mv.Report = &Report{
		Records: mv.RecordsThere, Follows: follows, Blobs: mv.BlobsThere, BlobBytes: facts.BlobBytes,
		Lost: mv.Lost, Notes: mv.Notes, Seconds: int64(mv.EndedAt.Sub(mv.BeganAt) / time.Second),
	}
	return nil
}

// Status is how a move stands.
type Status struct {
	Out       bool          `json:"out,omitempty"` // to another server; else from one
	DID       syntax.DID    `json:"did"`
	Handle    syntax.Handle `json:"handle,omitempty"` // at the new host
	OldHandle string        `json:"oldHandle,omitempty"`
	Host      string        `json:"host"` // the other one
	State     State         `json:"state,omitempty"`
	Needs     string        `json:"needs,omitempty"`   // see NeedsBegin and the rest; "" when it goes on by itself
	Changed   bool          `json:"changed"`           // the DID has been changed, so that it only goes forward
	Error     string        `json:"error,omitempty"`   // of the last attempt, which is repeated
	Trouble   string        `json:"trouble,omitempty"` // what kind of Error it is: see TroubleSilent and the rest
	RetryAt   time.Time     `json:"retryAt,omitzero"`
	RepoBytes int64         `json:"repoBytes"` // of the repository, received so far
	Records   int64         `json:"records"`
	Blobs     int64         `json:"blobs"` // that records refer to
	BlobsHere int64         `json:"blobsHere"`
	BlobBytes int64         `json:"blobBytes"`
	// SecondsLeft is how long the blobs will take that are not at the new host yet; 0: not known.
	SecondsLeft int64           `json:"secondsLeft,omitempty"`
	Lost        []Lost          `json:"lost,omitempty"`
	Document    json.RawMessage `json:"document,omitempty"` // a did:web's, as its owner should publish it
	Report      *Report         `json:"report,omitempty"`

	// Of a move out.
	Endpoint   string         `json:"endpoint,omitempty"` // that the DID will name, as the new host wants
	Domains    []string       `json:"domains,omitempty"`  // of handles at the new host, when it Needs one
	BlobsThere int64          `json:"blobsThere,omitempty"`
	Operation  *plc.Operation `json:"operation,omitempty"` // for its owner to sign
	Held       bool           `json:"held,omitempty"`      // the account here is deactivated by the move
	Notes      []Note         `json:"notes,omitempty"`
}

// MayEnd tells whether the move can be given up, or that can be tried.
func (st *Status) MayEnd() bool {
	return st.State != StateAbandoning && !st.State.Ended() && (!st.Changed || st.Out && st.State == StateSubmit)
}

// Status tells how an account's move stands, or store.ErrNotFound.
func (m *Manager) Status(ctx context.Context, did syntax.DID) (*Status, error) {
	mv, err := m.load(ctx, did)
	if err != nil {
		return nil, err
	}
	return m.status(ctx, mv)
}

func (m *Manager) status(ctx context.Context, mv *move) (*Status, error) {
	st := &Status{
		Out: mv.Out, DID: mv.DID, Handle: mv.Handle, OldHandle: mv.OldHandle, Host: mv.Host, State: mv.State, Needs: mv.waits(), Changed: mv.State.Changed(),
		Error: mv.Error, RetryAt: mv.RetryAt, Lost: mv.Lost, Report: mv.Report,
	}
	mv.describe(st)
	if mv.Error != "" {
		st.Trouble = mv.Trouble
	}
	m.mu.Lock()
	r := m.runners[mv.DID]
	if r != nil {
		st.RepoBytes = r.loaded.n.Load()
		mv.sending(st, r)
	}
	m.mu.Unlock()
	if mv.Account == 0 {
		return st, nil
	}
	facts, err := m.opts.Here.Facts(ctx, mv.Account)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrReplacing) {
		return st, nil
	}
	if err != nil {
		return nil, err
	}
	st.Records, st.Blobs, st.BlobsHere, st.BlobBytes = facts.Records, facts.Blobs, facts.BlobsHere, facts.BlobBytes
	st.SecondsLeft = m.left(r, st)
	if st.Needs == NeedsDocument && !mv.Out {
		var want Recommended
		if want, err = m.opts.Here.Credentials(ctx, mv.Account); err != nil {
			return nil, err
		}
		st.Document, err = want.document(mv.DID)
	}
	return st, err
}

// describe adds what only a move out has.
func (mv *move) describe(st *Status) {
	if !mv.Out {
		return
	}
	st.BlobsThere, st.Held, st.Notes, st.Endpoint = mv.BlobsThere, mv.Holding, mv.Notes, mv.Endpoint
	switch st.Needs {
	case NeedsDocument:
		st.Document = mv.Document
	case NeedsSignature:
		st.Operation = mv.Unsigned
	}
}

// sending adds what the step that is under way has sent.
func (mv *move) sending(st *Status, r *runner) {
	if mv.Out && mv.State == StateBlobs {
		st.BlobsThere = r.blobs.n.Load()
		st.RepoBytes += r.blobBytes.n.Load()
	}
}

// Find returns the DID of a move by a handle that the account has or had, or store.ErrNotFound. Moves that have ended count only if ended is true.
func (m *Manager) Find(ctx context.Context, handle string, ended bool) (syntax.DID, error) {
	rows, err := m.opts.Store.Migrations(ctx)
	if err != nil {
		return "", err
	}
	for _, row := range slices.Backward(rows) {
		var mv move
		if err := json.Unmarshal(row.Data, &mv); err != nil {
			return "", fmt.Errorf("migration of %s: %w", row.DID, err)
		}
		if State(row.State).Ended() == ended && (strings.EqualFold(mv.Handle.String(), handle) || strings.EqualFold(mv.OldHandle, handle)) {
			return row.DID, nil
		}
	}
	return "", store.ErrNotFound
}

// All tells how all moves stand, the oldest first.
func (m *Manager) All(ctx context.Context) ([]*Status, error) {
	rows, err := m.opts.Store.Migrations(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*Status, 0, len(rows))
	for _, row := range rows {
		mv, err := parseMove(row, m.opts.Seal)
		if err != nil {
			return nil, err
		}
		st, err := m.status(ctx, mv)
		if err != nil {
			return nil, err
		}
		all = append(all, st)
	}
	return all, nil
}
