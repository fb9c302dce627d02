package migrate

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/identity/plc"
	"perch/pds/store"
)

// BeginOut is what a move to another server begins with.
type BeginOut struct {
	Account     syntax.DID
	To          string // origin of the new host
	NewPassword string // for there
	Handle      string // there; "" for the one that the account has, if it can keep it
	Email       string // there; "" for the one that this server knows
	Invite      string // code, if the new host wants one
	DeleteDays  int    // after which the account here is deleted, once it has moved; 0: never
}

// aboutHost is what a host says of itself.
type aboutHost struct {
	DID                       string
	AvailableUserDomains      []string
	InviteCodeRequired        bool
	PhoneVerificationRequired bool
}

// BeginOut makes the account at the new host and has the rest begin. If something is missing that the new host wants, nothing has been done and the answer Needs
// it. If the account moves there already, its status is the answer. An account that was made there by an attempt whose answer was lost is found again by
// its password.
func (m *Manager) BeginOut(ctx context.Context, in BeginOut) (*Status, error) {
	origin, who, err := m.leaver(ctx, in.Account, in.To)
	if err != nil {
		return nil, err
	}
	defer m.only(in.Account)()
	ctx = context.WithoutCancel(ctx) // what is begun at two places must not stop between them
	mv, err := m.load(ctx, in.Account)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && mv.State.Ended():
		mv = nil
	case err != nil:
		return nil, err
	case !mv.Out || mv.Host != origin:
		return nil, fmt.Errorf("%w: another move of the account is under way; give it up first", ErrState)
	case mv.State != StateAccount:
		return m.status(ctx, mv)
	}
	if mv == nil {
		mv = &move{DID: in.Account, Out: true, Host: origin, OldHandle: who.Handle.String(), Account: who.ID, BeganAt: time.Now().UTC()}
	}
	mv.DeleteDays = in.DeleteDays
	if named, err := m.opts.Here.Named(ctx, who.ID); err != nil {
		return nil, err
	} else if !named {
		return nil, fmt.Errorf("%w: the DID does not name this server, so the account cannot leave from here", ErrState)
	}
	return m.beginOut(ctx, mv, who, in)
}

// leaver is the account that may leave for another server, and that one's origin.
func (m *Manager) leaver(ctx context.Context, did syntax.DID, to string) (origin string, who Resident, err error) {
	origin, ok := identity.Origin(to)
	if !ok {
		return "", who, fmt.Errorf("%w: write the address of the new server as https://pds.example.com", ErrHost)
	}
	if origin == m.opts.Here.URL() {
		return "", who, ErrThisServer
	}
	who, err = m.opts.Here.Resident(ctx, did)
	return origin, who, err
}

func (m *Manager) beginOut(ctx context.Context, mv *move, who Resident, in BeginOut) (*Status, error) {
	h := m.impatient(mv)
	about, err := m.newHost(ctx, mv.Host, h)
	if err != nil {
		return nil, err
	}
	if in.Handle == "" && (!m.opts.Here.OwnHandle(who.Handle) || about.gives(who.Handle)) {
		in.Handle = who.Handle.String()
	}
	if in.Email == "" {
		in.Email = who.Email
	}
	if needs := about.missing(&in); needs != "" {
		return &Status{DID: mv.DID, Out: true, OldHandle: mv.OldHandle, Host: mv.Host, Needs: needs, Domains: about.AvailableUserDomains}, nil
	}
	if handle, err := syntax.ParseHandle(in.Handle); err != nil || m.opts.Here.OwnHandle(handle) && !about.gives(handle) {
		return nil, fmt.Errorf("%w: %s cannot be had at %s", ErrHandle, in.Handle, mv.Host)
	}
	return m.createThere(ctx, mv, h, about.DID, in)
}

// missing is what the new host wants and was not given yet, in the order in which to ask for it.
func (a *aboutHost) missing(in *BeginOut) string {
	switch {
	case in.Handle == "":
		return NeedsHandle
	case in.Email == "":
		return NeedsEmail
	case a.InviteCodeRequired && in.Invite == "":
		return NeedsInvite
	case in.NewPassword == "":
		return NeedsPassword
	}
	return ""
}

// gives tells handles under the new host's domains.
func (a *aboutHost) gives(handle syntax.Handle) bool {
	for _, domain := range a.AvailableUserDomains {
		if strings.HasSuffix(strings.ToLower(handle.String()), "."+strings.TrimPrefix(strings.ToLower(domain), ".")) {
			return true
		}
	}
	return false
}

// newHost is what a host says of itself to which an account may go.
func (m *Manager) newHost(ctx context.Context, origin string, h *host) (*aboutHost, error) {
	about, err := h.describe(ctx)
	if err != nil {
		return nil, err
	}
	return about, m.checkNewHost(ctx, origin, about)
}

// checkNewHost sees that the account's token, which is good for the DID that a host says it has, can be used nowhere else.
func (m *Manager) checkNewHost(ctx context.Context, origin string, about *aboutHost) error {
	if about.PhoneVerificationRequired {
		return fmt.Errorf("%w: %s wants a telephone number to be verified, which only its own app can do", ErrHost, origin)
	}
	did, err := syntax.ParseDID(about.DID)
	if err != nil {
		return fmt.Errorf("%w: %s does not answer as a PDS does", ErrHost, origin)
	}
	u, err := url.Parse(origin)
	if err != nil {
		return err
	}
	for _, host := range []string{u.Host, u.Hostname()} {
		if did.String() == "did:web:"+strings.ReplaceAll(host, ":", "%3A") {
			return nil
		}
	}
	doc, err := m.opts.Refresh(ctx, did)
	if err == nil {
		if named, ok := doc.PDSEndpoint(); ok && named == origin {
			return nil
		}
	}
	return fmt.Errorf("%w: %s says that it is %s, and that is not so", ErrHost, origin, did)
}

// createThere makes the account at the new host, or finds that it is there.
func (m *Manager) createThere(ctx context.Context, mv *move, h *host, service string, in BeginOut) (*Status, error) {
	before := mv.Unsure // an earlier attempt may have made it
	mv.State, mv.Unsure = StateAccount, true
	if err := m.save(ctx, mv); err != nil {
		return nil, err
	}
	token, err := m.opts.Here.ServiceToken(ctx, mv.Account, service, createAccountMethod)
	if err != nil {
		return nil, err
	}
	var out struct {
		tokens
		Handle syntax.Handle
	}
	account := map[string]any{"did": mv.DID, "handle": strings.ToLower(in.Handle), "email": in.Email, "password": in.NewPassword}
	if in.Invite != "" {
		account["inviteCode"] = in.Invite
	}
	err = h.json(ctx, call{method: createAccountMethod, post: true, input: account, bearer: token, once: true}, &out)
	if err == nil {
		out.tokens, err = out.tokens.given()
	}
	mv.Made = err == nil || before
	if err != nil {
		if out.Handle, err = m.findThere(ctx, mv, h, in.NewPassword, err); err != nil {
			return nil, m.notThere(ctx, mv, before, err)
		}
		out.tokens = mv.tokens
	}
	if killed := m.watch(ctx, mv.DID, StateAccount, "end"); killed != nil {
		return nil, killed
	}
	mv.tokens, mv.Handle, mv.State, mv.Unsure = out.tokens, out.Handle, StateRepo, false
	if err := m.save(ctx, mv); err != nil {
		return nil, err
	}
	m.start(mv.DID)
	return m.status(ctx, mv)
}

// findThere signs in to the account that may be at the new host although it did not say that it made it. If it is not, the refusal is the error.
func (m *Manager) findThere(ctx context.Context, mv *move, h *host, password string, refusal error) (syntax.Handle, error) {
	if errors.Is(refusal, ErrBusy) {
		return "", refusal
	}
	there, needs, err := m.newSession(ctx, mv, h, password, "")
	if err != nil || needs != "" {
		return "", refusal
	}
	if there.Active == nil || *there.Active {
		m.endSession(ctx, h)
		return "", fmt.Errorf("%w: the new host has an account of the DID that is active: %w", ErrState, refusal)
	}
	var refused *HostError
	if !errors.As(refusal, &refused) {
		mv.Made = true // and the answer was lost
	}
	return there.Handle, nil
}

// notThere forgets the move, if it is certain that no account was made.
func (m *Manager) notThere(ctx context.Context, mv *move, unsure bool, why error) error {
	var refused *HostError
	if unsure || !errors.As(why, &refused) || !refused.final() {
		return fmt.Errorf("the new host may have made the account; begin again with the same password: %w", why)
	}
	return errors.Join(why, m.drop(ctx, mv.DID))
}

// confirmOut takes the code that this server has mailed, and signs the change of the DID with this server's key.
func (m *Manager) confirmOut(ctx context.Context, mv *move, code string) error {
	op, err := m.plan(ctx, mv)
	if err != nil {
		return err
	}
	if mv.OwnerSigns {
		return fmt.Errorf("%w: the DID does not list this server's rotation key, so one of its owner's has to sign", ErrState)
	}
	if op != nil {
		signed, err := m.opts.Here.Sign(*op)
		if err != nil {
			return err
		}
		op = &signed
	}
	return m.opts.Store.Update(ctx, func(tx *store.Tx) error {
		if err := m.opts.Here.UseCode(ctx, tx, mv.Account, code); err != nil {
			return err
		}
		mv.confirmed(op)
		return m.saveIn(ctx, tx, mv)
	})
}

func (mv *move) confirmed(op *plc.Operation) {
	mv.Operation, mv.State, mv.Error = op, StateSigned, ""
}

// confirmOutWithKey signs the change of the DID with one of its rotation keys, which shows that it is wanted as a code would.
func (m *Manager) confirmOutWithKey(ctx context.Context, mv *move, rotationKey string) error {
	op, err := m.plan(ctx, mv)
	if err != nil {
		return err
	}
	if op == nil {
		return fmt.Errorf("%w: only a did:plc has rotation keys", ErrKey)
	}
	key, err := m.rotationKey(ctx, mv.DID, rotationKey)
	if err != nil {
		return err
	}
	signed, err := plc.Sign(*op, key.private)
	if err == nil {
		mv.confirmed(&signed)
	}
	return err
}

// ConfirmSigned takes the operation that changes the DID of an account that leaves, signed by its owner with a rotation key of the DID's.
func (m *Manager) ConfirmSigned(ctx context.Context, did syntax.DID, op plc.Operation) (*Status, error) {
	return m.atCode(ctx, did, func(ctx context.Context, mv *move) error {
		if !mv.Out {
			return ErrState
		}
		want, err := m.plan(ctx, mv)
		if err != nil {
			return err
		}
		if want == nil {
			return ErrState
		}
		if err := m.checkSigned(ctx, mv, want, op); err != nil {
			return err
		}
		mv.confirmed(&op)
		return nil
	})
}

// abandonOut is Abandon for a move out.
func (m *Manager) abandonOut(ctx context.Context, mv *move) error {
	switch mv.State {
	case StateAbandoned:
		return nil
	case StateDocument:
		if named, err := m.named(ctx, mv); err != nil {
			return err
		} else if named {
			return ErrChanged
		}
	}
	mv.State, mv.Error, mv.Needs, mv.Holding, mv.Operation = StateAbandoning, "", "", false, nil
	return nil
}

// Destination is a server to which an account may go, with what it wants.
type Destination struct {
	Host    string   // origin
	Domains []string // of handles there
	Invite  bool     // a code is wanted
	Keeps   bool     // the account keeps its handle there, unless its owner wants another
}

// Inquire asks a server what it wants before an account goes there.
func (m *Manager) Inquire(ctx context.Context, did syntax.DID, to string) (*Destination, error) {
	origin, who, err := m.leaver(ctx, did, to)
	if err != nil {
		return nil, err
	}
	about, err := m.newHost(ctx, origin, m.impatient(&move{DID: did, Out: true, Host: origin}))
	if err != nil {
		return nil, err
	}
	keeps := !m.opts.Here.OwnHandle(who.Handle) || about.gives(who.Handle)
	return &Destination{Host: origin, Domains: about.AvailableUserDomains, Invite: about.InviteCodeRequired, Keeps: keeps}, nil
}
