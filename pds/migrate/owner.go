package migrate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/oauthclient"
	"perch/pds/store"
)

const (
	// maxKeys is how many browsers may hold the key of one move. The oldest ones lose theirs.
	maxKeys  = 5
	keyBytes = 32
	// insideTime is how long somebody who has signed in at the old host may take to have the account made here.
	insideTime = 24 * time.Hour
	// idleTime is how long after its beginning a move is given up that has not come to the change of the DID.
	idleTime      = 30 * 24 * time.Hour
	sweepInterval = time.Hour

	maxAway  = 3000 // bytes of a sealed Away: it goes into a cookie
	awaySeal = "move: signing in at the old host"
	keySeal  = "move: key of " // and the DID
)

// AwayState is what the states of sign-ins that belong to the pages were made for.
const AwayState = "pages"

// Source is where an account lives.
type Source struct {
	DID    syntax.DID
	Handle string // that the DID document claims; "" for none
	Ends   bool   // the handle, with the move: it is the old host's
	Host   string // origin
	SignIn string // origin of the server at which its owner can sign in in a browser; "" when that is not offered
}

// Look tells where an account lives. It signs in nowhere and keeps nothing.
func (m *Manager) Look(ctx context.Context, account syntax.AtIdentifier) (*Source, error) {
	who, err := m.opts.Lookup(ctx, account)
	if err != nil {
		return nil, err
	}
	mv, claimed, err := m.departure(ctx, who.DID, account)
	if err != nil {
		return nil, err
	}
	ctx, leave, err := m.asking(ctx, mv.Host)
	if err != nil {
		return nil, err
	}
	defer leave()
	about, err := m.impatient(mv).describe(ctx)
	if err != nil {
		return nil, err
	}
	if about.DID == "" {
		return nil, fmt.Errorf("%w: %s does not answer as a PDS does", ErrNowhere, mv.Host)
	}
	src := &Source{DID: mv.DID, Handle: claimed, Host: mv.Host, Ends: about.gives(syntax.Handle(claimed)) && !m.opts.Here.OwnHandle(syntax.Handle(claimed))}
	if server, err := m.opts.OAuth.Discover(ctx, mv.Host); err == nil {
		if at, err := url.Parse(server.Authorization); err == nil {
			src.SignIn = at.Scheme + "://" + at.Host
		}
	}
	return src, nil
}

// Entry is what somebody signs in with at the old host.
type Entry struct {
	Account  syntax.AtIdentifier
	Password string
	Code     string // of the second factor
	Invite   string // code for here, for when the account is made
}

// Entered is somebody who has shown at the old host that an account is theirs.
type Entered struct {
	DID   syntax.DID
	Key   string // opens the move's pages; only its hash is kept
	Needs string // NeedsFactor, and then there is no key
}

// Enter signs in at the old host with its password: to begin a move, or to come back to one from another browser.
func (m *Manager) Enter(ctx context.Context, in Entry) (*Entered, error) {
	who, err := m.opts.Lookup(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	mv, err := m.arrival(ctx, who.DID, in.Account, in.Invite)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	asking, leave, err := m.asking(ctx, mv.Host)
	if err != nil {
		return nil, err
	}
	defer leave()
	_, needs, err := m.signIn(asking, mv, m.impatient(mv), in.Password, in.Code) // before anybody has to wait for it
	if err != nil || needs != "" {
		return &Entered{DID: mv.DID, Needs: needs}, err
	}
	defer m.only(who.DID)()
	return m.enter(ctx, mv)
}

// arrival is the move of somebody who may sign in at the old host for it.
func (m *Manager) arrival(ctx context.Context, did syntax.DID, account syntax.AtIdentifier, invite string) (*move, error) {
	mv, _, err := m.departure(ctx, did, account)
	if err != nil {
		return nil, err
	}
	mv.Invite = invite
	return mv, m.mayEnter(ctx, mv)
}

// away is a browser that was sent to the old host.
type away struct {
	DID     syntax.DID           `json:"did"`
	Host    string               `json:"host"`
	Invite  string               `json:"invite,omitempty"`
	Pending *oauthclient.Pending `json:"pending"`
}

// SendAway begins a sign-in at the old host in a browser. It returns what the browser has to keep meanwhile, sealed, and where it has to go. Nothing is kept here,
// so that nobody can begin a move, or disturb one, who cannot sign in.
func (m *Manager) SendAway(ctx context.Context, account syntax.AtIdentifier, invite string) (sealed, to string, err error) {
	who, err := m.opts.Lookup(ctx, account)
	if err != nil {
		return "", "", err
	}
	mv, err := m.arrival(ctx, who.DID, account, invite)
	if err != nil {
		return "", "", err
	}
	ctx, leave, err := m.asking(ctx, mv.Host)
	if err != nil {
		return "", "", err
	}
	defer leave()
	server, err := m.opts.OAuth.Discover(ctx, mv.Host)
	if err != nil {
		return "", "", err
	}
	a := away{DID: mv.DID, Host: mv.Host, Invite: invite}
	if a.Pending, to, err = m.opts.OAuth.Begin(ctx, server, mv.DID.String(), oauthclient.NewState(AwayState)); err != nil {
		return "", "", err
	}
	a.Pending.Server = oauthclient.Server{Issuer: server.Issuer, Token: server.Token, Revocation: server.Revocation} // the rest may be long
	text, err := json.Marshal(a)
	if err != nil {
		return "", "", err
	}
	sealed = base64.RawURLEncoding.EncodeToString(m.opts.Seal.Seal(awaySeal, text))
	if len(sealed) > maxAway {
		return "", "", fmt.Errorf("%w: its addresses are too long", oauthclient.ErrNone)
	}
	return sealed, to, nil
}

// CameBack takes a browser back with what it was to keep, and the parameters that it brings. The error is store.ErrNotFound when it was not sent away.
func (m *Manager) CameBack(ctx context.Context, sealed string, q url.Values) (*Entered, error) {
	var a away
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err == nil {
		raw, err = m.opts.Seal.Open(awaySeal, raw)
	}
	if err == nil {
		err = json.Unmarshal(raw, &a)
	}
	if err != nil || a.Pending == nil {
		return nil, store.ErrNotFound
	}
	ctx = context.WithoutCancel(ctx)
	asking, leave, err := m.asking(ctx, a.Host)
	if err != nil {
		return nil, err
	}
	defer leave()
	session, err := m.opts.OAuth.Finish(asking, a.Pending, q, a.DID.String())
	if err != nil {
		return nil, err
	}
	defer m.only(a.DID)()
	account := a.DID.AtIdentifier()
	mv, _, err := m.departure(ctx, a.DID, account)
	if err == nil && mv.Host != a.Host {
		err = fmt.Errorf("%w: the account has moved meanwhile", oauthclient.ErrAnswer)
	}
	if err != nil {
		return nil, errors.Join(err, m.opts.OAuth.Revoke(ctx, session))
	}
	mv.Invite, mv.tokens = a.Invite, tokens{OAuth: session}
	return m.enter(ctx, mv)
}

// current is the move of an account that is under way, with its tokens; nil when there is none.
func (m *Manager) current(ctx context.Context, did syntax.DID) (*move, error) {
	mv, err := m.load(ctx, did)
	if errors.Is(err, store.ErrNotFound) || err == nil && mv.State.Ended() {
		return nil, nil
	}
	return mv, err
}

// mayEnter refuses who could not go on after the sign-in, before anybody signs in.
func (m *Manager) mayEnter(ctx context.Context, mv *move) error {
	was, err := m.current(ctx, mv.DID)
	switch {
	case err != nil:
		return err
	case was == nil && m.full(mv.Host):
		return ErrFull
	case was == nil || was.State == StateAccount || was.State == StateConsent:
		return m.opts.Here.MayCome(ctx, mv.DID, mv.Invite)
	case was.Out || was.State == StateAbandoning:
		return ErrState
	case was.State.Changed():
		return ErrChanged // the old host has no more say
	}
	return nil
}

// enter keeps the session of somebody who has just signed in at the old host, in a new move or in the one that is under way, and makes a key.
func (m *Manager) enter(ctx context.Context, fresh *move) (*Entered, error) {
	in := &Entered{DID: fresh.DID, Key: m.newKey(fresh.DID)}
	err := m.mayEnter(ctx, fresh)
	was := (*move)(nil)
	if err == nil {
		was, err = m.current(ctx, fresh.DID)
	}
	switch {
	case err != nil:
	case was == nil || was.State == StateConsent || was.State == StateAccount:
		if was != nil {
			m.endSession(ctx, m.impatient(was))
		}
		fresh.State, fresh.Keys = StateAccount, []string{hashKey(in.Key)}
		if err = m.save(ctx, fresh); err == nil {
			m.makeRoom(ctx)
		}
	default:
		_, err = m.commandAlone(ctx, fresh.DID, func(ctx context.Context, mv *move) error {
			m.endSession(ctx, m.impatient(mv))
			mv.tokens, mv.Needs, mv.Error = fresh.tokens, "", ""
			mv.Keys = append(mv.Keys, hashKey(in.Key))
			mv.Keys = mv.Keys[max(0, len(mv.Keys)-maxKeys):]
			return nil
		})
	}
	if err != nil {
		m.endSession(ctx, m.impatient(fresh))
		return nil, err
	}
	return in, nil
}

// newKey makes the key of a move. It is sealed only so that one made up by somebody is refused before anything is read.
func (m *Manager) newKey(did syntax.DID) string {
	key := make([]byte, keyBytes)
	rand.Read(key)
	return base64.RawURLEncoding.EncodeToString(m.opts.Seal.Seal(keySeal+did.String(), key))
}

func hashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawStdEncoding.EncodeToString(sum[:])
}

// Opens tells whether a key is one of those of an account's move.
func (m *Manager) Opens(ctx context.Context, did syntax.DID, key string) bool {
	sealed, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		return false
	}
	if _, err := m.opts.Seal.Open(keySeal+did.String(), sealed); err != nil {
		return false
	}
	mv, err := m.load(ctx, did)
	if err != nil {
		return false
	}
	hash := []byte(hashKey(key))
	return slices.ContainsFunc(mv.Keys, func(k string) bool { return subtle.ConstantTimeCompare([]byte(k), hash) == 1 })
}

// Invite is the code that somebody gave who has signed in at the old host and has no account here yet.
func (m *Manager) Invite(ctx context.Context, did syntax.DID) (string, error) {
	mv, err := m.load(ctx, did)
	if err != nil {
		return "", err
	}
	return mv.Invite, nil
}

// Settle makes the account here of somebody who has signed in at the old host, by the rules for sign-up, and has the rest begin.
func (m *Manager) Settle(ctx context.Context, did syntax.DID, in Begin) (*Status, error) {
	defer m.only(did)()
	ctx = context.WithoutCancel(ctx)
	mv, err := m.load(ctx, did)
	if err != nil {
		return nil, err
	}
	if mv.Out || mv.State != StateAccount || !mv.inside() {
		return nil, ErrState
	}
	if m.full(mv.Host) {
		return nil, ErrFull
	}
	in.Account, in.ByOwner, in.Password = did.AtIdentifier(), true, ""
	return m.beginInside(ctx, mv, in)
}

// sweepOften ends moves that their owners began and left.
func (m *Manager) sweepOften(ctx context.Context) {
	for err := error(nil); err == nil; err = sleep(ctx, sweepInterval) {
		if err := m.sweep(ctx, time.Now()); err != nil && ctx.Err() == nil {
			m.opts.Logger.ErrorContext(ctx, "end moves that were left", "err", err)
		}
	}
}

func (m *Manager) sweep(ctx context.Context, now time.Time) error {
	rows, err := m.opts.Store.Migrations(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		mv, err := parseMove(row, m.opts.Seal)
		if err != nil || mv.State.Ended() || len(mv.Keys) == 0 {
			continue // what cannot be read is told of elsewhere
		}
		m.stands(mv)
		if !mv.left(now) {
			continue
		}
		if _, err := m.Abandon(ctx, mv.DID); err != nil && !errors.Is(err, ErrChanged) && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// left tells that an owner has not come back to a move that waits for them.
func (mv *move) left(now time.Time) bool {
	age := now.Sub(mv.BeganAt)
	switch {
	case mv.State.Changed() || mv.State == StateAbandoning || mv.State == StateSigned:
		return false
	case mv.State == StateAccount:
		return age > insideTime
	}
	return age > idleTime
}
