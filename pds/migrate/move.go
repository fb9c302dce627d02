package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/seal"
	"perch/pds/store"
)

// State is how far a move has come; see the package's comment.
type State string

// The states.
const (
	StateConsent     State = "consent"
	StateAccount     State = "account"
	StateRepo        State = "repo"
	StateBlobs       State = "blobs"
	StatePreferences State = "preferences"
	StateVerify      State = "verify"
	StateCode        State = "code"
	StateDocument    State = "document"
	StateSigned      State = "signed"
	StateSubmit      State = "submit"
	StateMoved       State = "moved"
	StateActive      State = "active"
	StateLeft        State = "left"
	StateHeld        State = "held"
	StateReopen      State = "reopen"
	StateDone        State = "done"
	StateAbandoned   State = "abandoned"
	StateAbandoning  State = "abandoning"
)

// Changed tells whether the DID has been changed, or may have been.
func (s State) Changed() bool {
	switch s {
	case StateSubmit, StateMoved, StateActive, StateLeft, StateDone:
		return true
	}
	return false
}

// Ended tells whether there is nothing left to do.
func (s State) Ended() bool { return s == StateDone || s == StateAbandoned }

// What a move waits for.
const (
	NeedsBegin    = "begin"    // password of the old host, and a new one for here
	NeedsConsent  = "consent"  // the owner must sign in at the old host in a browser
	NeedsAccount  = "account"  // that is done; a new password for here
	NeedsFarewell = "farewell" // the password of the old host, because it lets nobody deactivate an account who has signed in in a browser
	NeedsFactor   = "factor"   // the code that the old host asks for beside the password
	NeedsSignIn   = "sign-in"  // password of the old host, because the session there has ended
	NeedsCode     = "code"     // the code that was mailed for the change of the DID
	NeedsKey      = "key"      // the rotation key of the DID that the move was begun with, in place of that code
	NeedsDocument = "document" // a change of the did:web's document

	// Of a move out only. The first four are asked for before it begins.
	NeedsHandle    = "handle"    // one for the new host
	NeedsEmail     = "email"     // an address for the new host
	NeedsInvite    = "invite"    // a code of the new host's
	NeedsPassword  = "password"  // a new one, for the new host
	NeedsSignature = "signature" // of the operation, by a rotation key of the owner's
)

// Lost is a blob that could not be brought along.
type Lost struct {
	CID    string `json:"cid"`
	Code   string `json:"code,omitempty"` // see LostMissing and the rest
	Reason string `json:"reason"`         // in English, or what the other host says
}

// move is what is stored of a move, as JSON.
type move struct {
	DID       syntax.DID      `json:"-"`
	Out       bool            `json:"out,omitempty"` // to another server; else from one
	State     State           `json:"-"`
	Handle    syntax.Handle   `json:"handle,omitempty"` // at the new host
	OldHandle string          `json:"oldHandle"`        // at the old one, to sign in with
	Host      string          `json:"host"`             // origin of the other one
	Account   store.AccountID `json:"account,omitempty"`
	Existed   bool            `json:"existed,omitempty"` // the account was here before the move, deactivated
	Commit    string          `json:"commit,omitempty"`  // of the old host, that was imported last
	Data      string          `json:"data,omitempty"`    // root of its tree
	Rounds    int             `json:"rounds,omitempty"`  // how often the old host had something new
	Lost      []Lost          `json:"lost,omitempty"`
	Operation *plc.Operation  `json:"operation,omitempty"` // signed
	MailReset bool            `json:"mailReset,omitempty"` // at the end
	Keys      []string        `json:"keys,omitempty"`      // hashes of what opens the move's pages, of browsers whose owner has signed in at the old host
	Invite    string          `json:"invite,omitempty"`    // code for here, that its owner has given
	Trouble   string          `json:"trouble,omitempty"`   // what kind of Error it is
	OwnKey    string          `json:"ownKey,omitempty"`    // did:key of the rotation key that will sign, so that no code needs to be mailed
	Needs     string          `json:"needs,omitempty"`     // NeedsSignIn and NeedsFarewell; the rest follows from the state
	Notes     []Note          `json:"notes,omitempty"`
	Error     string          `json:"error,omitempty"`
	Failures  int             `json:"failures,omitempty"` // in a row, of this step
	RetryAt   time.Time       `json:"retryAt,omitzero"`
	BeganAt   time.Time       `json:"beganAt,omitzero"`
	EndedAt   time.Time       `json:"endedAt,omitzero"`
	Report    *Report         `json:"report,omitempty"`

	// Of a move out.
	Unsure       bool            `json:"unsure,omitempty"`     // whether the account was made there
	Made         bool            `json:"made,omitempty"`       // there, by this move: so it may be deleted again
	Endpoint     string          `json:"endpoint,omitempty"`   // that the DID shall name
	Key          string          `json:"key,omitempty"`        // did:key that it shall name
	Document     json.RawMessage `json:"document,omitempty"`   // of a did:web, as it shall be
	Unsigned     *plc.Operation  `json:"unsigned,omitempty"`   // for its owner to sign
	OwnerSigns   bool            `json:"ownerSigns,omitempty"` // this server cannot
	Holding      bool            `json:"holding,omitempty"`    // nothing of the account may be written here any more
	WasActive    bool            `json:"wasActive,omitempty"`  // until then
	SentAt       time.Time       `json:"sentAt,omitzero"`      // when the operation was sent for the last time, of a move that is being given up
	DeleteDays   int             `json:"deleteDays,omitempty"`
	Mismatches   int             `json:"mismatches,omitempty"` // how often the new host had something else than was sent
	BlobsThere   int64           `json:"blobsThere,omitempty"`
	RecordsThere int64           `json:"recordsThere,omitempty"`

	tokens tokens
}

// inside tells whether the owner has signed in at the old host and only the account here is still to be made.
func (mv *move) inside() bool { return mv.tokens.OAuth != nil || len(mv.Keys) > 0 }

// side says which of the two the other host is.
func (mv *move) side() string {
	if mv.Out {
		return "new"
	}
	return "old"
}

// waits tells what a move waits for its owner for; "" when it goes on by itself.
func (mv *move) waits() string {
	switch {
	case mv.State == StateConsent:
		return NeedsConsent
	case mv.State == StateAccount && mv.inside():
		return NeedsAccount
	case mv.State == StateAccount:
		return NeedsBegin
	case mv.Needs != "" && mv.State != StateAbandoning:
		return mv.Needs
	case mv.State == StateCode && mv.OwnerSigns:
		return NeedsSignature
	case mv.State == StateCode && mv.OwnKey != "":
		return NeedsKey
	case mv.State == StateCode:
		return NeedsCode
	case mv.State == StateDocument:
		return NeedsDocument
	}
	return ""
}

func sealName(did syntax.DID) string { return "migration tokens " + did.String() }

func (mv *move) row(box *seal.Box) (store.Migration, error) {
	data, err := json.Marshal(mv)
	row := store.Migration{DID: mv.DID, State: string(mv.State), Data: data, Holds: mv.Holding && !mv.State.Ended()}
	if err == nil && mv.tokens != (tokens{}) {
		var t []byte
		t, err = json.Marshal(mv.tokens)
		row.Sealed = box.Seal(sealName(mv.DID), t)
	}
	return row, err
}

func parseMove(row store.Migration, box *seal.Box) (*move, error) {
	mv := &move{}
	if err := json.Unmarshal(row.Data, mv); err != nil {
		return nil, fmt.Errorf("migration of %s: %w", row.DID, err)
	}
	mv.DID, mv.State = row.DID, State(row.State)
	if row.Sealed == nil {
		return mv, nil
	}
	t, err := box.Open(sealName(mv.DID), row.Sealed)
	if err == nil {
		err = json.Unmarshal(t, &mv.tokens)
	}
	return mv, err
}

func (m *Manager) load(ctx context.Context, did syntax.DID) (*move, error) {
	row, err := m.opts.Store.Migration(ctx, did)
	if err != nil {
		return nil, err
	}
	return parseMove(row, m.opts.Seal)
}

func (m *Manager) save(ctx context.Context, mv *move) error {
	err := m.opts.Store.Update(ctx, func(tx *store.Tx) error { return m.saveIn(ctx, tx, mv) })
	if err == nil {
		m.stands(mv)
	}
	return err
}

// drop forgets a move.
func (m *Manager) drop(ctx context.Context, did syntax.DID) error {
	err := m.opts.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteMigration(ctx, did) })
	if err == nil {
		m.forget(did)
	}
	return err
}

func (m *Manager) saveIn(ctx context.Context, tx *store.Tx, mv *move) error {
	row, err := mv.row(m.opts.Seal)
	if err != nil {
		return err
	}
	return tx.PutMigration(ctx, row)
}

// session is the session at the old host, stored anew whenever its tokens change.
type session struct {
	renewing *sync.Mutex
	mu       *sync.Mutex
	now      *tokens // guarded by mu
	keep     func(context.Context, tokens) error
}

func (m *Manager) session(mv *move) session {
	s := session{renewing: &sync.Mutex{}, mu: &sync.Mutex{}, now: &tokens{}}
	*s.now = mv.tokens
	s.keep = func(ctx context.Context, t tokens) error {
		mv.tokens = t
		if mv.State == "" {
			return nil // not stored yet
		}
		// The tokens alone: the rest of mv is just being worked on, and is not to be stored before the step is done.
		row, err := (&move{DID: mv.DID, tokens: t}).row(m.opts.Seal)
		if err != nil {
			return err
		}
		ctx = context.WithoutCancel(ctx)
		return m.opts.Store.Update(ctx, func(tx *store.Tx) error { return tx.SetMigrationTokens(ctx, mv.DID, row.Sealed) })
	}
	return s
}

func (s session) get() tokens {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.now
}

func (s session) set(ctx context.Context, t tokens) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.now = t
	return s.keep(ctx, t)
}
