package migrate

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/oauthclient"
	"perch/pds/store"
)

// serviceFragment is the part of a PDS's DID document that stands for the PDS itself.
const serviceFragment = "#atproto_pds"

// Scope is what a move asks the old host for: to sign for the account here, to change the DID, and to take leave.
func Scope(here syntax.DID) string {
	aud := url.QueryEscape(here.String() + serviceFragment)
	return "atproto identity:* account:email account:status?action=manage rpc:" + createAccountMethod + "?aud=" + aud +
		" rpc:app.bsky.actor.getPreferences?aud=*"
}

// Consent begins a sign-in at the old host by browser, and returns the address that its owner has to open. It begins a move, or gives one under way a new session.
func (m *Manager) Consent(ctx context.Context, in Begin) (*Status, string, error) {
	who, err := m.opts.Lookup(ctx, in.Account)
	if err != nil {
		return nil, "", err
	}
	defer m.only(who.DID)()
	mv, err := m.load(ctx, who.DID)
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && (mv.State.Ended() || !mv.Out && (mv.State == StateConsent || mv.State == StateAccount)):
		return m.consentFirst(ctx, mv, who.DID, in)
	case err != nil:
		return nil, "", err
	case mv.Out || mv.State == StateAbandoning:
		return nil, "", ErrState
	}
	var to string
	st, err := m.commandAlone(ctx, who.DID, func(ctx context.Context, mv *move) (err error) {
		to, err = m.sendAway(ctx, mv)
		return err
	})
	return st, to, err
}

// consentFirst begins a move with a sign-in by browser. was is what is left of one before, or nil.
func (m *Manager) consentFirst(ctx context.Context, was *move, did syntax.DID, in Begin) (*Status, string, error) {
	_, mv, err := m.prepare(ctx, did, &in)
	if err != nil {
		return nil, "", err
	}
	if was != nil {
		m.endSession(ctx, m.impatient(was))
	}
	mv.State = StateConsent
	to, err := m.sendAway(ctx, mv)
	if err != nil {
		return nil, "", err
	}
	if err := m.save(ctx, mv); err != nil {
		return nil, "", err
	}
	st, err := m.status(ctx, mv)
	return st, to, err
}

// sendAway asks the old host's authorization server for a place to send the browser to.
func (m *Manager) sendAway(ctx context.Context, mv *move) (to string, err error) {
	server, err := m.opts.OAuth.Discover(ctx, mv.Host)
	if err != nil {
		return "", err
	}
	mv.Error = ""
	mv.tokens.Pending, to, err = m.opts.OAuth.Begin(ctx, server, mv.DID.String(), oauthclient.NewState(mv.DID.String()))
	return to, err
}

// Returned takes the parameters with which a browser has come back from an authorization server. The error is store.ErrNotFound when nobody waits for it.
func (m *Manager) Returned(ctx context.Context, q url.Values) (syntax.DID, error) {
	did, err := syntax.ParseDID(oauthclient.StateOf(q.Get("state")))
	if err != nil {
		return "", store.ErrNotFound
	}
	// Anybody may call this. A move is not stopped for it before it is known that it waits for this very answer.
	if mv, err := m.load(ctx, did); err != nil {
		return "", err
	} else if p := mv.tokens.Pending; p == nil || !p.Is(q.Get("state")) {
		return "", store.ErrNotFound
	}
	var refused error
	_, err = m.command(ctx, did, func(ctx context.Context, mv *move) error {
		p := mv.tokens.Pending
		if p == nil || !p.Is(q.Get("state")) { // another answer was quicker, or another sign-in has begun
			return store.ErrNotFound
		}
		session, err := m.opts.OAuth.Finish(ctx, p, q, did.String())
		mv.tokens.Pending = nil // it is good for one answer
		if err != nil {
			refused, mv.Error = err, err.Error()
			return nil
		}
		if before := mv.tokens; before.inside() {
			m.endSession(ctx, m.impatient(mv))
		}
		mv.tokens = tokens{OAuth: session}
		if mv.State == StateConsent {
			mv.State = StateAccount
		}
		mv.Needs, mv.Error = "", ""
		return nil
	})
	return did, errors.Join(err, refused)
}

// beginInside makes the account here of somebody who has signed in at the old host by browser.
func (m *Manager) beginInside(ctx context.Context, was *move, in Begin) (*Status, error) {
	_, mv, err := m.prepare(ctx, was.DID, &in)
	if err != nil {
		return nil, err
	}
	mv.tokens, mv.State, mv.Keys, mv.Invite, mv.OldHandle = was.tokens, was.State, was.Keys, was.Invite, was.OldHandle
	h := m.impatient(mv)
	var about struct{ Email string }
	if in.Email == "" {
		if err := h.json(ctx, call{method: "com.atproto.server.getSession", token: accessToken}, &about); err != nil {
			return nil, err
		}
	}
	if in.Email == "" && about.Email == "" {
		return nil, fmt.Errorf("%w: the old host does not tell the e-mail address", ErrEmail)
	}
	return m.beginAs(ctx, mv, h, in, about.Email)
}

// Stay leaves the account at the old host as it is, which only its password could deactivate.
func (m *Manager) Stay(ctx context.Context, did syntax.DID) (*Status, error) {
	return m.command(ctx, did, func(_ context.Context, mv *move) error {
		if mv.waits() != NeedsFarewell {
			return ErrState
		}
		mv.note(NoteStays, "")
		mv.Needs, mv.Error, mv.State = "", "", StateLeft
		return nil
	})
}

// renewOAuth gets new tokens for a session of OAuth.
func (h *host) renewOAuth(ctx context.Context, used tokens) error {
	next, err := h.oauth.Renew(ctx, used.OAuth, h.did)
	if errors.Is(err, oauthclient.ErrEnded) {
		return fmt.Errorf("%w: %w", errSignIn, err)
	}
	if err != nil {
		return err
	}
	used.OAuth = next
	return h.session.set(ctx, used)
}
