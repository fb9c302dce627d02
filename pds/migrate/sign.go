package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
)

// Confirm takes the code that the account's host, the old one, has mailed, and has it sign the change of the DID.
func (m *Manager) Confirm(ctx context.Context, did syntax.DID, code string) (*Status, error) {
	return m.atCode(ctx, did, func(ctx context.Context, mv *move) error {
		if mv.Out {
			return m.confirmOut(ctx, mv, code)
		}
		return m.signed(ctx, mv, false, func(h *host, want Recommended) (plc.Operation, error) { return h.signOperation(ctx, code, want) })
	})
}

// signOperation has the old host sign the change of the DID.
func (h *host) signOperation(ctx context.Context, code string, want Recommended) (plc.Operation, error) {
	in := map[string]any{
		"token": strings.TrimSpace(code), "rotationKeys": want.RotationKeys, "alsoKnownAs": want.AlsoKnownAs,
		"verificationMethods": want.VerificationMethods, "services": want.Services,
	}
	var out struct{ Operation plc.Operation }
	err := h.json(ctx, call{method: signOperation, post: true, input: in, token: accessToken, once: true}, &out)
	var refused *HostError
	if err != nil && !errors.Is(err, ErrBusy) && (!errors.As(err, &refused) || refused.Vague) {
		err = fmt.Errorf("the answer of the old host was lost, and the code may be used up; if it is, ask for another: %w", err)
	}
	return out.Operation, err
}

// signed has the change of the DID signed, here or at the old host, and checks it.
func (m *Manager) signed(ctx context.Context, mv *move, here bool, sign func(*host, Recommended) (plc.Operation, error)) error {
	if m.arrived(ctx, mv) {
		return nil
	}
	h := m.impatient(mv)
	keys, err := m.keysAround(ctx, mv, h)
	if err != nil {
		return err
	}
	want, err := m.opts.Here.Credentials(ctx, mv.Account)
	if err != nil {
		return err
	}
	want.RotationKeys = keys.wanted(here)
	op, err := sign(h, want)
	if err != nil {
		return err
	}
	if err := m.checkSignedThere(ctx, mv, &op, want, keys); err != nil {
		return err
	}
	mv.confirmed(&op)
	return nil
}

// keysAround are the rotation keys that matter to the change of a DID.
type keysAround struct {
	last   []string // of the DID now
	ours   []string // this server's
	theirs []string // that the old host recommends, but for ours
}

func (m *Manager) keysAround(ctx context.Context, mv *move, h *host) (k keysAround, err error) {
	if k.ours, err = m.opts.Here.RotationKeys(); err != nil {
		return k, err
	}
	var theirs Recommended
	if err := h.json(ctx, call{method: "com.atproto.identity.getRecommendedDidCredentials", token: accessToken}, &theirs); err != nil {
		return k, err
	}
	if len(theirs.RotationKeys) == 0 {
		return k, errors.New("the old host does not say which of the DID's rotation keys are its own")
	}
	k.theirs = slices.DeleteFunc(theirs.RotationKeys, func(key string) bool { return slices.Contains(k.ours, key) })
	last, err := m.opts.Here.LastOperation(ctx, mv.DID)
	k.last = last.RotationKeys
	return k, err
}

// host is the key of the old host's that it signs with: the last one that it recommends.
func (k keysAround) host() string {
	if len(k.theirs) == 0 {
		return ""
	}
	return k.theirs[len(k.theirs)-1]
}

// wanted are the rotation keys that the DID shall have: the owner's, and after them this server's. The owner's are those that the old host does not recommend
// itself. A host such as Perch, which does recommend them, keeps them by itself; when the operation is signed here, only the host's very own key goes, because
// to drop a key of the owner's would be worse than to keep one.
func (k keysAround) wanted(here bool) []string {
	dropped := k.theirs
	if here {
		dropped = []string{k.host()}
	}
	left := slices.DeleteFunc(slices.Clone(k.last), func(key string) bool { return slices.Contains(dropped, key) || slices.Contains(k.ours, key) })
	return append(left, k.ours...)
}

// check sees that the keys of an operation are those wanted, and beside them none but some that the DID had already, all in the order in which they stood, so
// that nobody has got above the owner. That the old host's own goes is sure only of the one it signs with.
func (k keysAround) check(got, wanted []string) error {
	for _, key := range wanted {
		if !slices.Contains(got, key) {
			return fmt.Errorf("%w: it drops the rotation key %s", ErrOperation, key)
		}
	}
	allowed := slices.DeleteFunc(slices.Clone(k.last), func(key string) bool {
		return slices.Contains(k.ours, key) || key == k.host() || !slices.Contains(got, key)
	})
	if !slices.Equal(got, append(allowed, k.ours...)) {
		return fmt.Errorf("%w: its rotation keys are %s, and should be %s", ErrOperation, clip(strings.Join(got, ", "), maxErrorText), strings.Join(wanted, ", "))
	}
	return nil
}

// checkSignedThere is checkOperation for an operation that was signed by somebody who may have put something else into it.
func (m *Manager) checkSignedThere(ctx context.Context, mv *move, op *plc.Operation, want Recommended, keys keysAround) error {
	if err := m.checkOperation(ctx, mv, op); err != nil {
		return err
	}
	if err := keys.check(op.RotationKeys, want.RotationKeys); err != nil {
		return err
	}
	switch {
	case !slices.EqualFunc(op.AlsoKnownAs, want.AlsoKnownAs, strings.EqualFold):
		return fmt.Errorf("%w: it names other aliases than were asked for", ErrOperation)
	case !maps.Equal(op.VerificationMethods, want.VerificationMethods):
		return fmt.Errorf("%w: it names other keys than were asked for", ErrOperation)
	case !maps.Equal(op.Services, want.Services):
		return fmt.Errorf("%w: it names other services than were asked for", ErrOperation)
	}
	for _, key := range op.RotationKeys {
		if slices.Contains(keys.theirs, key) {
			mv.note(NoteKey, key)
		}
	}
	return nil
}

// checkOperation sees that the operation follows the DID's last one and moves it here.
func (m *Manager) checkOperation(ctx context.Context, mv *move, op *plc.Operation) error {
	if err := m.opts.Here.CheckOperation(ctx, mv.Account, op); err != nil {
		return fmt.Errorf("%w: %w", ErrOperation, err)
	}
	last, err := m.opts.Here.LastOperation(ctx, mv.DID)
	if err != nil {
		return err
	}
	prev, err := last.CID()
	if err != nil {
		return err
	}
	if op.Prev != prev.String() {
		return fmt.Errorf("%w: it does not follow the DID's last one", ErrOperation)
	}
	return nil
}
