package migrate

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

// Begin is what a move begins with.
type Begin struct {
	Account     syntax.AtIdentifier
	Password    string // of the old host
	Code        string // that the old host asks for beside it, or ""
	NewPassword string // for here
	Handle      string // here; "" for the one that the account has
	Email       string // here; "" for the one that the old host knows
	MailReset   bool   // nobody knows NewPassword: mail the owner a code for another one at the end
	RotationKey string // of the DID, which will change it in place of a mailed code; or "". It is needed again then
	ByOwner     bool   // who came by the pages: the rules for sign-up hold, and reserved names stay reserved
	InviteCode  string // for ByOwner, where the rules want one
}

const (
	createAccountMethod = "com.atproto.server.createAccount" // what the service token is for
	createSession       = "com.atproto.server.createSession"
)

// Begin signs in at the old host, makes the account here, and has the rest begin. If the old host asks for a second factor, nothing has been done and the answer
// Needs it. If the account moves already, its status is the answer.
func (m *Manager) Begin(ctx context.Context, in Begin) (*Status, error) {
	who, err := m.opts.Lookup(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	defer m.only(who.DID)()
	ctx = context.WithoutCancel(ctx) // what is begun at two places must not stop between them
	mv, err := m.load(ctx, who.DID)
	switch {
	case err == nil && mv.State.Ended(): // and has left again since, or Create tells
	case err == nil && mv.Out:
		return nil, fmt.Errorf("%w: the account is moving away from here", ErrState)
	case err == nil && mv.State == StateAccount && mv.inside() && in.Password == "":
		return m.beginInside(ctx, mv, in)
	case err == nil && mv.State != StateAccount && mv.State != StateConsent:
		return m.announceKey(ctx, mv, in.RotationKey)
	case err == nil:
		m.endSession(ctx, m.impatient(mv)) // of an attempt that was cut off
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	h, mv, err := m.prepare(ctx, who.DID, &in)
	if err != nil {
		return nil, err
	}
	return m.begin(ctx, mv, h, in)
}

// Plan tells from where an account would come and with what handle, or how its move stands. It signs in nowhere and changes nothing.
func (m *Manager) Plan(ctx context.Context, in Begin) (*Status, error) {
	who, err := m.opts.Lookup(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	mv, err := m.load(ctx, who.DID)
	if err == nil && mv.State != StateAccount && mv.State != StateConsent && !mv.State.Ended() {
		return m.status(ctx, mv)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	_, mv, err = m.prepare(ctx, who.DID, &in)
	if err != nil {
		return nil, err
	}
	return &Status{DID: mv.DID, Handle: syntax.Handle(strings.ToLower(in.Handle)), OldHandle: mv.OldHandle, Host: mv.Host, Needs: NeedsBegin}, nil
}

// prepare looks at the DID and at the old host, whether an account can come from there.
func (m *Manager) prepare(ctx context.Context, did syntax.DID, in *Begin) (*host, *move, error) {
	mv, claimed, err := m.departure(ctx, did, in.Account)
	if err != nil {
		return nil, nil, err
	}
	mv.MailReset = in.MailReset
	if mv.OwnKey, err = m.ownKey(ctx, did, in.RotationKey); err != nil {
		return nil, nil, err
	}
	if in.Handle == "" {
		in.Handle = claimed // whether it is true is looked at when the account is made
	}
	if in.Handle == "" {
		return nil, nil, fmt.Errorf("%w: the DID document names no handle; give one for here", ErrHandle)
	}
	h := m.impatient(mv)
	return h, mv, m.checkHandle(ctx, mv, h, *in)
}

// departure looks up the host that a DID names, and the handle that it claims; "" for none.
func (m *Manager) departure(ctx context.Context, did syntax.DID, account syntax.AtIdentifier) (mv *move, claimed string, err error) {
	doc, err := m.opts.Refresh(ctx, did)
	if err != nil {
		return nil, "", err
	}
	origin, ok := doc.PDSEndpoint()
	if !ok {
		return nil, "", fmt.Errorf("%w: the DID document of %s names no server that could be moved from", ErrNowhere, did)
	}
	if origin == m.opts.Here.URL() {
		return nil, "", fmt.Errorf("%w: %s", ErrHere, did)
	}
	if h, ok := doc.Handle(); ok {
		claimed = h.String()
	}
	return &move{DID: did, Host: origin, OldHandle: loginName(account, did, doc.Handle), BeganAt: time.Now().UTC()}, claimed, nil
}

// Somebody waits for the answer to a command, so not every host can be given all the time that it would like.
const (
	commandPatience = 10 * time.Second
	commandTries    = 4
	commandWaits    = 8 // how often a host may ask for more time
)

func (m *Manager) impatient(mv *move) *host {
	h := m.host(mv)
	h.patience, h.tries = commandPatience, commandTries
	return h
}

// loginName is by what the old host knows the account: the handle that was given, or the document's.
func loginName(given syntax.AtIdentifier, did syntax.DID, handle func() (syntax.Handle, bool)) string {
	if given.IsHandle() {
		return given.String()
	}
	if h, ok := handle(); ok {
		return h.String()
	}
	return did.String()
}

func (m *Manager) begin(ctx context.Context, mv *move, h *host, in Begin) (*Status, error) {
	email, needs, err := m.signIn(ctx, mv, h, in.Password, in.Code)
	if err != nil || needs != "" {
		return &Status{DID: mv.DID, Handle: syntax.Handle(in.Handle), Host: mv.Host, Needs: needs}, err
	}
	return m.beginAs(ctx, mv, h, in, email)
}

// beginAs is begin for who is signed in already, with the address that the old host knows.
func (m *Manager) beginAs(ctx context.Context, mv *move, h *host, in Begin, email string) (*Status, error) {
	if in.Email == "" {
		in.Email = email
	}
	mv.State = StateAccount
	if err := m.save(ctx, mv); err != nil {
		return nil, err
	}
	if err := m.create(ctx, mv, h, in); err != nil {
		if errors.Is(err, errKilled) || mv.inside() { // nobody should have to sign in again for a password that is too short
			return nil, err
		}
		m.endSession(ctx, h)
		return nil, errors.Join(err, m.drop(ctx, mv.DID))
	}
	m.start(mv.DID)
	return m.status(ctx, mv)
}

// checkHandle refuses to go on with a handle that the old host gives out, unless the owner has named it: it ends when the account leaves there.
func (m *Manager) checkHandle(ctx context.Context, mv *move, h *host, in Begin) error {
	about, err := h.describe(ctx)
	if err != nil {
		return err
	}
	if about.DID == "" {
		return fmt.Errorf("%w: %s does not answer as a PDS does", ErrNowhere, mv.Host)
	}
	handle := syntax.Handle(strings.ToLower(in.Handle))
	if m.opts.Here.OwnHandle(handle) || !strings.EqualFold(in.Handle, mv.OldHandle) {
		return nil
	}
	if about.gives(handle) {
		return fmt.Errorf("%w: %s belongs to %s; give a handle for here", ErrHandle, handle, mv.Host)
	}
	return nil
}

// describe is what the other host says of itself.
func (h *host) describe(ctx context.Context) (*aboutHost, error) {
	about := &aboutHost{}
	if err := h.json(ctx, call{method: "com.atproto.server.describeServer"}, about); err != nil {
		return nil, err
	}
	about.AvailableUserDomains = handleDomains(about.AvailableUserDomains)
	return about, nil
}

// maxDomains is how many domains of handles another host is believed to have.
const maxDomains = 50

// handleDomains takes, of what a host says that its handles end with, what they can end with: it is shown to people, beside the field for a name.
func handleDomains(said []string) (domains []string) {
	for _, d := range said {
		d = "." + strings.ToLower(strings.TrimPrefix(d, "."))
		if _, err := syntax.ParseHandle("a" + d); err == nil && len(domains) < maxDomains {
			domains = append(domains, d)
		}
	}
	return domains
}

// signIn begins a session at the other host. needs is NeedsFactor if the password was right and a code is wanted beside it.
func (m *Manager) signIn(ctx context.Context, mv *move, h *host, password, code string) (email, needs string, err error) {
	out, needs, err := m.newSession(ctx, mv, h, password, code)
	return out.Email, needs, err
}

// sessionAnswer is what a host answers to who signs in.
type sessionAnswer struct {
	tokens
	DID    syntax.DID    `json:"did"`
	Email  string        `json:"email"`
	Handle syntax.Handle `json:"handle"`
	Active *bool         `json:"active"`
}

// newSession is signIn for either direction.
func (m *Manager) newSession(ctx context.Context, mv *move, h *host, password, code string) (out sessionAnswer, needs string, err error) {
	identifier := mv.OldHandle
	if mv.Out {
		identifier = mv.DID.String()
	}
	in := map[string]any{"identifier": identifier, "password": password, "allowTakendown": true}
	if code != "" {
		in["authFactorToken"] = strings.TrimSpace(code)
	}
	err = h.json(ctx, call{method: createSession, post: true, input: in}, &out)
	var refused *HostError
	if errors.As(err, &refused) && refused.Name == "AuthFactorTokenRequired" {
		return out, NeedsFactor, nil
	}
	if err != nil {
		return out, "", err
	}
	if out.DID != mv.DID {
		return out, "", fmt.Errorf("the %s host signs in %s instead of %s", h.side, out.DID, mv.DID)
	}
	if mv.tokens, err = out.tokens.given(); err != nil {
		return out, "", err
	}
	return out, "", h.session.set(ctx, mv.tokens)
}

// create makes the account here. That it exists and that the move has come so far is one transaction.
func (m *Manager) create(ctx context.Context, mv *move, h *host, in Begin) error {
	var out struct{ Token string }
	q := url.Values{"aud": {m.opts.Here.ServiceDID().String()}, "lxm": {createAccountMethod}}
	if mv.tokens.OAuth != nil {
		q.Set("aud", q.Get("aud")+serviceFragment) // scopes name services, not DIDs
	}
	if err := h.json(ctx, call{method: "com.atproto.server.getServiceAuth", query: q, token: accessToken}, &out); err != nil {
		return err
	}
	if err := m.watch(ctx, mv.DID, StateAccount, "begin"); err != nil {
		return err
	}
	mv.Handle = syntax.Handle(strings.ToLower(in.Handle))
	acct := NewAccount{DID: mv.DID, Handle: in.Handle, Email: in.Email, Password: in.NewPassword, ServiceToken: out.Token,
		ByOwner: in.ByOwner, InviteCode: in.InviteCode}
	err := m.opts.Here.Create(ctx, acct, func(tx *store.Tx, id store.AccountID, existed bool) error {
		mv.Account, mv.State, mv.Existed = id, StateRepo, existed
		return m.saveIn(ctx, tx, mv)
	})
	if err != nil {
		mv.Account, mv.State = 0, StateAccount
	}
	m.stands(mv)
	return err
}
