package migrate

import (
	"context"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// command runs do on a move that stands still, stores what it made of it, and lets the move go on.
func (m *Manager) command(ctx context.Context, did syntax.DID, do func(context.Context, *move) error) (*Status, error) {
	defer m.only(did)()
	return m.commandAlone(ctx, did, do)
}

// commandAlone is command for who keeps other commands about the account away already.
func (m *Manager) commandAlone(ctx context.Context, did syntax.DID, do func(context.Context, *move) error) (*Status, error) {
	m.stop(did)
	defer m.start(did)
	ctx = context.WithoutCancel(ctx)
	mv, err := m.load(ctx, did)
	if err != nil {
		return nil, err
	}
	if err := do(ctx, mv); err != nil {
		return nil, err
	}
	mv.Failures, mv.RetryAt = 0, time.Time{}
	if err := m.save(ctx, mv); err != nil {
		return nil, err
	}
	return m.status(ctx, mv)
}

// atCode is command for a move that waits for its owner's word.
func (m *Manager) atCode(ctx context.Context, did syntax.DID, do func(context.Context, *move) error) (*Status, error) {
	return m.command(ctx, did, func(ctx context.Context, mv *move) error {
		if mv.State != StateCode {
			return ErrState
		}
		return do(ctx, mv)
	})
}

// SignIn begins a new session at the other host, when the one that was there has ended.
func (m *Manager) SignIn(ctx context.Context, did syntax.DID, password, code string) (*Status, error) {
	needs := ""
	st, err := m.command(ctx, did, func(ctx context.Context, mv *move) (err error) {
		if mv.State == StateConsent || mv.State == StateAccount || mv.State.Ended() || mv.State == StateAbandoning {
			return ErrState
		}
		before := m.impatient(mv)
		if _, needs, err = m.signIn(ctx, mv, m.impatient(mv), password, code); err == nil && needs == "" {
			if before.session.get().OAuth != nil {
				m.endSession(ctx, before)
			}
			mv.Needs, mv.Error = "", ""
		}
		return err
	})
	if err == nil && needs != "" {
		st.Needs = needs
	}
	return st, err
}

// Resend has another code mailed; or one at all, if a rotation key was to sign.
func (m *Manager) Resend(ctx context.Context, did syntax.DID) (*Status, error) {
	return m.atCode(ctx, did, func(ctx context.Context, mv *move) error {
		mv.Error, mv.OwnKey = "", ""
		if mv.Out {
			return m.opts.Here.MailCode(ctx, mv.Account)
		}
		if m.arrived(ctx, mv) {
			return nil
		}
		return m.impatient(mv).json(ctx, call{method: requestSignature, post: true, token: accessToken}, nil)
	})
}

// Again looks anew for blobs that could not be had before, or has a step that waits for its next attempt try now.
func (m *Manager) Again(ctx context.Context, did syntax.DID) (*Status, error) {
	return m.command(ctx, did, func(ctx context.Context, mv *move) error {
		switch {
		case mv.State != StateCode:
		case mv.Out:
			mv.State = StateBlobs
		case !m.arrived(ctx, mv) && len(mv.Lost) > 0:
			mv.State, mv.Lost = StateBlobs, nil
		}
		return nil
	})
}

// Abandon gives a move up. Of one to here, account and data here are deleted, unless the account was here before, and the session at the old host is ended. Of one to
// another server, the account here is as it was, and the one there is deleted if the new host lets it. The error is ErrChanged when the DID may have been changed,
// by the move or by its owner, who can do all steps with the standard calls too, and ErrUnsure when that cannot be found out.
func (m *Manager) Abandon(ctx context.Context, did syntax.DID) (*Status, error) {
	changed := false
	st, err := m.command(ctx, did, func(ctx context.Context, mv *move) error {
		if mv.Out && mv.State == StateSubmit {
			return m.takeBack(ctx, mv)
		}
		if mv.State.Changed() {
			return ErrChanged
		}
		if mv.Out {
			return m.abandonOut(ctx, mv)
		}
		if changed = m.arrived(ctx, mv); !changed {
			mv.State, mv.Error = StateAbandoning, ""
		}
		return nil
	})
	if err == nil && changed {
		return nil, ErrChanged
	}
	return st, err
}

// arrived tells whether the DID names this server although the move has not changed it. Then the move goes on from there.
func (m *Manager) arrived(ctx context.Context, mv *move) bool {
	if mv.Account == 0 {
		return false
	}
	named, err := m.named(ctx, mv)
	if err != nil || !named {
		return false // what is deleted asks again, and wants to be sure
	}
	mv.State, mv.Operation, mv.Error, mv.Needs = StateMoved, nil, "", ""
	return true
}
