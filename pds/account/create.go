package account

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

// NewAccount is what somebody who signs up gives.
type NewAccount struct {
	Handle     string
	Email      string
	Password   string
	InviteCode string

	// DID of an account that moves here; "" for a new one. The caller has checked that it is the caller's.
	DID syntax.DID
	// SigningKey is the did:key of a reserved key (ReserveSigningKey) to be used; "" or an unknown one: a new key is made.
	SigningKey string
	// Deactivated accounts wait for their owner to finish moving, until DeleteAfter unless that is zero.
	Deactivated bool
	DeleteAfter time.Time

	// ByOperator skips the invite code and the reserved names, for accounts that the operator makes.
	ByOperator bool
}

// Reservation is a sign-up that has passed every check and holds its handle, e-mail, DID and use of the invite code against others who sign up
// at the same time, until Release. In between the caller makes the PLC operation and the first commit; Commit stores all at once.
type Reservation struct {
	Handle     syntax.Handle
	Email      string
	DID        syntax.DID // "" until Commit for a new account
	SigningKey atcrypto.PrivateKeyExportable

	svc          *Service
	in           NewAccount
	passwordHash string
	held         []string
}

// pending is what sign-ups under way hold, so that two of them never both go out to the PLC directory for the same handle. The transaction
// decides in the end; this only keeps the loser from leaving a DID behind.
type pending struct {
	mu     sync.Mutex
	counts map[string]int64 // guarded by mu
}

func newPending() pending { return pending{counts: make(map[string]int64)} }

// hold adds one holder and returns how many there are now.
func (p *pending) hold(key string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[key]++
	return p.counts[key]
}

func (p *pending) release(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts[key]--; p.counts[key] <= 0 {
		delete(p.counts, key)
	}
}

// Reserve checks a sign-up and holds what it will use. The caller must call Release in the end, whatever happens. Errors: ErrInvalidHandle,
// ErrHandleNotAvailable, ErrUnsupportedDomain, ErrInvalidEmail, ErrInvalidPassword, ErrInvalidInvite, store.ErrHandleTaken, ErrEmailTaken, ErrDIDTaken.
func (s *Service) Reserve(ctx context.Context, in NewAccount) (*Reservation, error) {
	if err := checkNewPassword(in.Password); err != nil {
		return nil, err
	}
	if s.inviteNeeded(in) && in.InviteCode == "" {
		return nil, refuse(ErrInvalidInvite, "No invite code provided")
	}
	r := &Reservation{svc: s, in: in, DID: in.DID}
	err := r.fill(ctx)
	if err == nil {
		err = r.holdAll(ctx)
	}
	if err == nil {
		r.passwordHash, err = s.hasher.hash(ctx, in.Password)
	}
	if err != nil {
		r.Release()
		return nil, err
	}
	return r, nil
}

func (s *Service) inviteNeeded(in NewAccount) bool { return s.opts.InviteRequired && !in.ByOperator }

func (r *Reservation) fill(ctx context.Context) (err error) {
	if r.Email, err = NormalizeEmail(r.in.Email); err != nil {
		return err
	}
	if r.Handle, err = r.svc.CheckHandle(ctx, r.in.Handle, r.in.DID, r.in.ByOperator); err != nil {
		return err
	}
	if r.in.SigningKey != "" {
		r.SigningKey = r.svc.takeReserved(r.in.DID, r.in.SigningKey)
	}
	if r.SigningKey == nil {
		r.SigningKey, err = atcrypto.GeneratePrivateKeyK256()
	}
	return err
}

// holdAll holds first and looks into the database second: whoever held before has either committed, and is seen there, or holds still.
func (r *Reservation) holdAll(ctx context.Context) error {
	if err := r.holdInvite(ctx); err != nil {
		return err
	}
	st := r.svc.store
	err := r.holdFree("handle "+string(r.Handle), refuse(store.ErrHandleTaken, "Handle already taken: %s", r.Handle), func() error {
		_, err := st.AccountByHandle(ctx, r.Handle)
		return err
	})
	if err == nil {
		err = r.holdFree("email "+r.Email, refuse(store.ErrEmailTaken, "Email already taken: %s", r.Email), func() error {
			_, err := st.AccountByEmail(ctx, r.Email)
			return err
		})
	}
	if err == nil && r.DID != "" {
		err = r.holdFree("did "+string(r.DID), refuse(store.ErrDIDTaken, "There is an account with this DID already: %s", r.DID), func() error {
			_, err := st.AccountByDID(ctx, r.DID)
			return err
		})
	}
	return err
}

// holdFree holds a name that find must not find.
func (r *Reservation) holdFree(key string, taken error, find func() error) error {
	if r.hold(key) > 1 {
		return taken
	}
	err := find()
	if err == nil {
		return taken
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

func (r *Reservation) holdInvite(ctx context.Context) error {
	if !r.svc.inviteNeeded(r.in) {
		return nil
	}
	held := r.hold("invite " + r.in.InviteCode)
	return r.svc.checkInvite(ctx, r.in.InviteCode, held)
}

func (r *Reservation) hold(key string) int64 {
	r.held = append(r.held, key)
	return r.svc.pending.hold(key)
}

// Release lets go of what the reservation holds. It may be called again.
func (r *Reservation) Release() {
	for _, key := range r.held {
		r.svc.pending.release(key)
	}
	r.held = nil
}

// Commit stores the account under its DID, the use of the invite code and the first session, and runs hook, which stores the repository and its
// events, all in one transaction: either all of it is there afterwards or nothing. hook must not keep tx. Errors: hook's, ErrInvalidInvite,
// store.ErrHandleTaken, ErrEmailTaken, ErrDIDTaken.
func (r *Reservation) Commit(ctx context.Context, did syntax.DID, hook func(*store.Tx, *store.Account) error) (Session, error) {
	now := r.svc.now()
	acct, err := r.account(did, now)
	if err != nil {
		return Session{}, err
	}
	ses := Session{ID: newSessionID(), Account: acct, ExpiresAt: now.Add(RefreshLifetime)}
	err = r.svc.store.Update(ctx, func(tx *store.Tx) error { return r.insert(ctx, tx, &ses, now, hook) })
	if errors.Is(err, store.ErrInviteUsed) {
		err = inviteUnavailable()
	}
	if err != nil {
		return Session{}, err
	}
	r.DID = did
	return ses, nil
}

func (r *Reservation) account(did syntax.DID, now time.Time) (*store.Account, error) {
	sealed, public, err := r.svc.SealSigningKey(did, r.SigningKey)
	if err != nil {
		return nil, err
	}
	a := &store.Account{
		DID: did, Handle: r.Handle, Email: r.Email, CreatedAt: now.Truncate(time.Microsecond),
		SigningKey: sealed, SigningKeyDID: public, PasswordHash: r.passwordHash,
	}
	if r.svc.inviteNeeded(r.in) {
		a.InvitedBy = r.in.InviteCode
	}
	if r.in.Deactivated {
		a.DeactivatedAt, a.DeleteAfter = a.CreatedAt, r.in.DeleteAfter
	}
	return a, nil
}

func (r *Reservation) insert(ctx context.Context, tx *store.Tx, ses *Session, now time.Time, hook func(*store.Tx, *store.Account) error) (err error) {
	a := ses.Account
	if a.ID, err = tx.CreateAccount(ctx, *a); err != nil {
		return err
	}
	if a.InvitedBy != "" {
		if err := tx.UseInvite(ctx, a.InvitedBy, a.DID, now); err != nil {
			return err
		}
	}
	if err := tx.CreateSession(ctx, ses.row(now)); err != nil {
		return err
	}
	if hook == nil {
		return nil
	}
	return hook(tx, a)
}
