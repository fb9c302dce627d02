package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/identity/plc"
	"perch/pds/store"
)

// verifyThere compares both sides, and then asks the owner.
func (m *Manager) verifyThere(ctx context.Context, mv *move, h *host, _ *runner) error {
	if ok, err := m.completeThere(ctx, mv, h); !ok || err != nil {
		return err
	}
	if mv.Holding {
		mv.State = StateHeld
		return nil
	}
	if _, err := m.plan(ctx, mv); err != nil {
		return err
	}
	if !mv.OwnerSigns {
		if err := m.opts.Here.MailCode(ctx, mv.Account); err != nil {
			return err
		}
	}
	mv.State = StateCode
	return nil
}

// plan asks the new host what the DID shall name, and notes it. Of a did:plc it returns the unsigned operation for that.
func (m *Manager) plan(ctx context.Context, mv *move) (*plc.Operation, error) {
	var to Recommended
	err := m.impatient(mv).json(ctx, call{method: "com.atproto.identity.getRecommendedDidCredentials", token: accessToken}, &to)
	if err != nil {
		return nil, err
	}
	endpoint, key := to.Services[plc.PDSServiceName].Endpoint, to.VerificationMethods[plc.SigningKeyName]
	handle, err := handleOf(to.AlsoKnownAs)
	switch {
	case err != nil:
		return nil, err
	case endpoint == "" || key == "":
		return nil, errors.New("the new host does not say what the DID should name")
	}
	origin, ok := identity.Origin(endpoint)
	if !ok || origin == m.opts.Here.URL() { // in whatever letters
		return nil, fmt.Errorf("the new host wants the DID to name %.100q, which is no server, or this one", endpoint)
	}
	mv.Endpoint, mv.Key, mv.Handle = origin, key, handle
	if mv.DID.Method() != "plc" {
		mv.Document, err = to.document(mv.DID)
		return nil, err
	}
	op, sign, err := m.opts.Here.Plan(ctx, mv.DID, handle, to)
	if err != nil {
		return nil, err
	}
	mv.OwnerSigns, mv.Unsigned = !sign, nil
	if !sign {
		mv.Unsigned = &op
	}
	return &op, nil
}

func handleOf(aliases []string) (syntax.Handle, error) {
	for _, a := range aliases {
		if name, ok := strings.CutPrefix(a, "at://"); ok {
			return syntax.ParseHandle(name)
		}
	}
	return "", errors.New("the new host does not say which handle the account has there")
}

// checkSigned sees that an operation that its owner has signed moves the DID as planned. Which rotation keys it names is the owner's affair.
func (m *Manager) checkSigned(ctx context.Context, mv *move, want *plc.Operation, op plc.Operation) error {
	last, err := m.opts.Here.LastOperation(ctx, mv.DID)
	if err != nil {
		return err
	}
	handle, _ := handleOf(op.AlsoKnownAs)
	pds := op.Services[plc.PDSServiceName]
	switch {
	case op.Type != plc.TypeOperation || op.Prev != want.Prev:
		err = errors.New("it does not follow the DID's last one")
	case pds != want.Services[plc.PDSServiceName]:
		err = errors.New("it does not name the new host")
	case op.VerificationMethods[plc.SigningKeyName] != mv.Key:
		err = errors.New("it does not name the account's key at the new host")
	case handle != mv.Handle:
		err = fmt.Errorf("it names the handle %s first, not %s", handle, mv.Handle)
	default:
		if err = plc.Check(op); err == nil {
			_, err = plc.Verify(op, last.RotationKeys)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOperation, err)
	}
	return nil
}

// hold deactivates the account, so that from here on nothing is written that the new host would not get. That it is so and that the move has come so far is one
// transaction.
func (m *Manager) hold(ctx context.Context, mv *move, _ *host, _ *runner) error {
	return m.opts.Here.Hold(ctx, mv.Account, func(tx *store.Tx, wasActive bool) error {
		mv.Holding, mv.WasActive, mv.State = true, mv.WasActive || wasActive, StateHeld
		return m.saveIn(ctx, tx, mv)
	})
}

// lastLookThere sees that the new host has all, now that nothing changes any more. What was written since it was looked at first is pushed.
func (m *Manager) lastLookThere(ctx context.Context, mv *move, h *host, _ *runner) error {
	if ok, err := m.completeThere(ctx, mv, h); !ok || err != nil {
		return err
	}
	if mv.Operation == nil {
		mv.State = StateDocument
		return nil
	}
	// As long as the directory does not answer, the operation is not sent, and the move can be given up without a doubt.
	last, err := m.opts.Here.LastOperation(ctx, mv.DID)
	if err != nil {
		return fmt.Errorf("%w: %w", errDirectory, err)
	}
	if c, err := last.CID(); err != nil || c.String() != mv.Operation.Prev {
		m.signAgain(mv, errors.Join(errors.New("it does not follow the DID's last one"), err))
		return nil
	}
	mv.State = StateSubmit
	return nil
}

// reopen undoes the hold, when the DID was not changed after all, and asks the owner again.
func (m *Manager) reopen(ctx context.Context, mv *move, _ *host, _ *runner) error {
	if err := m.release(ctx, mv); err != nil {
		return err
	}
	mv.State = StateVerify
	return nil
}

func (m *Manager) release(ctx context.Context, mv *move) error {
	if !mv.WasActive {
		return nil
	}
	err := m.opts.Here.Release(ctx, mv.Account)
	if errors.Is(err, ErrChanged) {
		mv.note(NoteDeactivated, "")
		err = nil
	}
	if err == nil || errors.Is(err, store.ErrNotFound) {
		mv.WasActive = false
		return nil
	}
	return err
}

// activateThere opens the account at the new host, once the DID document names that.
func (m *Manager) activateThere(ctx context.Context, mv *move, h *host, _ *runner) error {
	named, err := m.named(ctx, mv)
	if err != nil {
		return err
	}
	if !named {
		return errors.New("the DID document does not name the new host yet")
	}
	st, err := m.statusThere(ctx, h)
	if err != nil {
		return err
	}
	if !*st.Activated {
		// Once: if the answer is lost, the account may be active already, and must not be announced anew. The step looks again.
		if err := h.json(ctx, call{method: "com.atproto.server.activateAccount", post: true, token: accessToken, once: true}, nil); err != nil {
			return err
		}
		if st, err = m.statusThere(ctx, h); err != nil {
			return err
		}
	}
	if !*st.Activated {
		return errors.New("the new host does not say that the account is active")
	}
	mv.State = StateActive
	return nil
}

// farewell sets when the account here is deleted, if that is wanted.
func (m *Manager) farewell(ctx context.Context, mv *move, _ *host, _ *runner) error {
	if mv.DeleteDays > 0 {
		if err := m.opts.Here.DeleteAfter(ctx, mv.Account, mv.DeleteDays); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	mv.State = StateLeft
	return nil
}

// abandonThere takes back all that was done: the account here is active again, the one there is deleted if the new host lets it.
func (m *Manager) abandonThere(ctx context.Context, mv *move, h *host, _ *runner) error {
	if moved, err := m.settleSent(ctx, mv); moved || err != nil {
		return err
	}
	if err := m.release(ctx, mv); err != nil {
		return err
	}
	why := ""
	switch {
	case h.session.get() == (tokens{}) && !mv.Unsure:
	case h.session.get() == (tokens{}):
		why = "it may have made an account, whose password only you know"
	case !mv.Made:
		m.endSession(ctx, h)
		why = "it was there before this move"
	default:
		err := m.deleteThere(ctx, h)
		if err != nil && !errors.Is(err, errSignIn) && !errors.Is(err, errKept) && mv.Failures < lateTries {
			return err
		}
		if err != nil {
			why = err.Error()
		}
		m.endSession(ctx, h)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if why == "" && len(mv.Notes) == 0 {
		return errGone
	}
	if why != "" {
		mv.note(NoteLeft, why)
	}
	mv.tokens, mv.State, mv.EndedAt = tokens{}, StateAbandoned, time.Now().UTC()
	return nil
}

// errKept says that the new host does not delete an account at once.
var errKept = errors.New("the new host does not delete it at once")

// deleteThere asks the new host to delete the account that was made there, and looks whether it has.
func (m *Manager) deleteThere(ctx context.Context, h *host) error {
	in := map[string]any{"deleteAfter": syntax.DatetimeNow().String()}
	err := h.json(ctx, call{method: "com.atproto.server.deactivateAccount", post: true, input: in, token: accessToken}, nil)
	var refused *HostError
	if errors.As(err, &refused) && refused.final() {
		return fmt.Errorf("%w: %w", errKept, err)
	}
	if err != nil {
		return err
	}
	err = h.json(ctx, call{method: "com.atproto.server.getSession", token: accessToken}, nil)
	switch {
	case err == nil:
		return errKept
	case errors.As(err, &refused) && refused.final(): // that session was good a moment ago
		return nil
	}
	return err
}
