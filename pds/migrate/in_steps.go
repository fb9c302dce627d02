package migrate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/ipfs/go-cid"

	"perch/identity/plc"
)

const (
	maxRounds     = 10 // how often what is new at the old host is fetched before the DID is changed all the same
	documentEvery = 15 * time.Second
	lateTries     = 5  // of what must not hold up an account whose DID is here already
	goodbyeTries  = 40 // to deactivate the old account: some three hours
	maxNotes      = 20
)

// errGone says that there is nothing left to move: the account here was deleted, or the move was given up.
var errGone = errors.New("the move has ended")

func (mv *move) query(more ...string) url.Values {
	q := url.Values{"did": {mv.DID.String()}}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return q
}

// oldCommit is the commit that the old host has now.
func (m *Manager) oldCommit(ctx context.Context, mv *move, h *host) (string, error) {
	var head struct{ CID string }
	err := h.json(ctx, call{method: "com.atproto.sync.getLatestCommit", query: mv.query(), token: accessToken}, &head)
	if err != nil {
		return "", err
	}
	c, err := cid.Decode(head.CID)
	if err != nil {
		return "", errors.New("the old host does not tell its last commit")
	}
	return c.String(), nil
}

// complete tells whether all that the old host has is here. If there is something new there, the move goes back to fetch it.
func (m *Manager) complete(ctx context.Context, mv *move, h *host) (bool, error) {
	facts, err := m.opts.Here.Facts(ctx, mv.Account)
	if err != nil {
		return false, err
	}
	if facts.Down {
		return false, errDown
	}
	if facts.Data.String() != mv.Data {
		return m.again(mv, StateRepo), nil
	}
	if facts.BlobsHere+int64(len(mv.Lost)) != facts.Blobs {
		return m.again(mv, StateBlobs), nil
	}
	now, err := m.oldCommit(ctx, mv, h)
	if err != nil {
		return false, err
	}
	if now != mv.Commit && mv.Rounds < maxRounds {
		return m.again(mv, StateRepo), nil
	}
	return true, m.fetchPreferences(ctx, mv, h)
}

func (m *Manager) again(mv *move, state State) bool {
	mv.State = state
	mv.Rounds++
	return false
}

// verify compares both sides, and then asks the old host to mail the code for the change of the DID, unless a rotation key will sign it.
func (m *Manager) verify(ctx context.Context, mv *move, h *host, _ *runner) error {
	if ok, err := m.complete(ctx, mv, h); !ok || err != nil {
		return err
	}
	switch {
	case mv.Operation != nil:
		mv.State = StateSigned
		return nil
	case mv.DID.Method() != "plc":
		mv.State = StateDocument
		return nil
	case mv.OwnKey != "":
		mv.State = StateCode
		return nil
	}
	if err := h.json(ctx, call{method: requestSignature, post: true, token: accessToken}, nil); err != nil {
		return err
	}
	mv.State = StateCode
	return nil
}

const (
	requestSignature = "com.atproto.identity.requestPlcOperationSignature"
	signOperation    = "com.atproto.identity.signPlcOperation"
)

// awaitDocument looks whether the owner has changed the document of a did:web.
func (m *Manager) awaitDocument(ctx context.Context, mv *move, _ *host, _ *runner) error {
	named, err := m.named(ctx, mv)
	if err == nil && named {
		mv.State = StateMoved
	}
	return err
}

// named tells whether the DID document names the host that the account moves to, and the account's key there.
func (m *Manager) named(ctx context.Context, mv *move) (bool, error) {
	if mv.Out {
		return m.opts.Here.Names(ctx, mv.DID, mv.Endpoint, mv.Key)
	}
	return m.opts.Here.Named(ctx, mv.Account)
}

// lastLook sees, with the signed operation in hand, whether something was written at the old host while its owner looked for the code.
func (m *Manager) lastLook(ctx context.Context, mv *move, h *host, _ *runner) error {
	if m.arrived(ctx, mv) {
		return nil
	}
	if ok, err := m.complete(ctx, mv, h); !ok || err != nil {
		return err
	}
	// The account here may have got another handle or key since the operation was signed, and the DID another operation.
	if err := m.checkOperation(ctx, mv, mv.Operation); errors.Is(err, ErrOperation) {
		m.signAgain(mv, err)
		return nil
	} else if err != nil {
		return err
	}
	mv.State = StateSubmit
	return nil
}

func (m *Manager) signAgain(mv *move, why error) {
	if mv.Out {
		mv.State, mv.Operation, mv.Holding = StateReopen, nil, false
		mv.note(NoteAsked, why.Error())
		return
	}
	mv.State, mv.Operation = StateCode, nil
	mv.Error = "the operation cannot be used any more, so nothing has changed; ask for a new code, or give the rotation key again: " + why.Error()
}

// submit changes the DID. An operation that the directory has already counts as accepted. One that it can never take, because the DID has changed meanwhile,
// is dropped, and its owner asked again.
func (m *Manager) submit(ctx context.Context, mv *move, _ *host, _ *runner) error {
	err := m.opts.Here.Submit(ctx, mv.DID, *mv.Operation)
	if err == nil {
		mv.State, mv.Operation = StateMoved, nil
		return nil
	}
	if !errors.Is(err, plc.ErrInvalidOperation) && !errors.Is(err, plc.ErrMisordered) {
		return err
	}
	taken, takenErr := m.taken(ctx, mv)
	if takenErr != nil {
		return errors.Join(err, takenErr)
	}
	if taken {
		mv.State, mv.Operation = StateMoved, nil
		return nil
	}
	m.signAgain(mv, fmt.Errorf("the PLC directory did not take it: %w", err))
	return nil
}

// activate opens the account here. What was written at the old host in the last moment is fetched first, if it can be had: the account waits for that only for a
// few tries, because its DID is here already.
func (m *Manager) activate(ctx context.Context, mv *move, h *host, r *runner) error {
	if err := m.catchUp(ctx, mv, h, r); err != nil && mv.Failures < lateTries {
		return err
	} else if err != nil {
		mv.note(NoteLast, err.Error())
	}
	if err := m.opts.Here.Activate(ctx, mv.Account); err != nil {
		return err
	}
	mv.State = StateActive
	return nil
}

func (m *Manager) catchUp(ctx context.Context, mv *move, h *host, r *runner) error {
	now, err := m.oldCommit(ctx, mv, h)
	if err != nil || now == mv.Commit {
		return withoutSignIn(err)
	}
	if err := m.fetchRepo(ctx, mv, h, r); err != nil {
		mv.State = StateMoved
		return withoutSignIn(err)
	}
	err = m.fetchBlobs(ctx, mv, h, r)
	mv.State = StateMoved
	return withoutSignIn(err)
}

// withoutSignIn keeps a step from waiting for the owner to sign in again, when the DID is here already.
func withoutSignIn(err error) error {
	if errors.Is(err, errSignIn) {
		return errors.New(err.Error())
	}
	return err
}

// leave deactivates the old account. A host that does not answer any more holds up nobody: the account lives here. If it has moved on meanwhile, perhaps back,
// the old host is let alone.
func (m *Manager) leave(ctx context.Context, mv *move, h *host, _ *runner) error {
	if named, err := m.named(ctx, mv); err == nil && !named {
		mv.note(NoteElsewhere, "")
		mv.State = StateLeft
		return nil
	}
	err := h.json(ctx, call{method: "com.atproto.server.deactivateAccount", post: true, input: struct{}{}, token: accessToken}, nil)
	if err == nil {
		err = m.deactivated(ctx, h)
	}
	var refused *HostError
	switch {
	case err == nil:
		m.late(ctx, mv, h)
	case mv.tokens.OAuth != nil && errors.As(err, &refused) && refused.Status == http.StatusForbidden:
		mv.Needs, mv.Error = NeedsFarewell, refused.Error()
		return nil
	case errors.Is(err, errSignIn), errors.As(err, &refused) && refused.final(), mv.Failures >= goodbyeTries:
		mv.note(NoteActive, err.Error())
	default:
		return err
	}
	mv.State = StateLeft
	return nil
}

// deactivated looks whether the old account is, if the old host tells: what answers may be something in between.
func (m *Manager) deactivated(ctx context.Context, h *host) error {
	var status struct{ Activated *bool }
	err := h.json(ctx, call{method: "com.atproto.server.checkAccountStatus", token: accessToken}, &status)
	var refused *HostError
	switch {
	case errors.As(err, &refused) && refused.final():
		return nil
	case errors.Is(err, errSignIn) && h.session.get().OAuth != nil: // sessions of OAuth end with it
		return nil
	case err == nil && (status.Activated == nil || *status.Activated):
		return errors.New("the old host does not say that the account is deactivated")
	}
	return err
}

// finish mails a code for a new password, if nobody knows the one that the account has, ends the session at the old host, forgets its tokens, and writes the report.
func (m *Manager) finish(ctx context.Context, mv *move, h *host, _ *runner) error {
	if mv.MailReset {
		if err := m.opts.Here.MailReset(ctx, mv.Account); err != nil && mv.Failures < lateTries {
			return err
		} else if err != nil {
			mv.note(NoteNoReset, err.Error())
		}
	}
	m.endSession(ctx, h)
	mv.tokens = tokens{}
	mv.State, mv.EndedAt = StateDone, time.Now().UTC()
	return m.report(ctx, mv)
}

// late notes if something was written at the old host between the last look and the end there.
func (m *Manager) late(ctx context.Context, mv *move, h *host) {
	if now, err := m.oldCommit(ctx, mv, h); err == nil && now != mv.Commit {
		mv.note(NoteLate, now)
	}
}

// endSession signs out of the old host, if it answers.
func (m *Manager) endSession(ctx context.Context, h *host) {
	now := h.session.get()
	if !now.inside() {
		return
	}
	h.tries = 2
	var err error
	if now.OAuth != nil {
		err = h.oauth.Revoke(ctx, now.OAuth)
	} else {
		err = h.json(ctx, call{method: "com.atproto.server.deleteSession", post: true, token: refreshToken}, nil)
	}
	if err != nil {
		m.opts.Logger.WarnContext(ctx, "end the session at the old host", "host", h.origin, "err", err)
	}
}

// abandon takes back all that was done: the account here, the session there.
func (m *Manager) abandon(ctx context.Context, mv *move, h *host, _ *runner) error {
	if m.arrived(ctx, mv) { // its owner has changed the DID, so this is where the account lives
		return nil
	}
	m.endSession(ctx, h)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if mv.Account != 0 && !mv.Existed {
		if err := m.opts.Here.Delete(ctx, mv.Account); err != nil {
			return err
		}
	}
	return errGone
}
