package account

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"perch/pds/passkey"
	"perch/pds/store"
)

const (
	// MaxPasskeys is how many passkeys an account may have.
	MaxPasskeys = 20
	// MaxPasskeyName bounds the name of a passkey, in characters.
	MaxPasskeyName = 64
	// PasskeyLifetime is how long a challenge can be answered.
	PasskeyLifetime = 10 * time.Minute

	challengeBytes  = 32
	userHandleBytes = 32
	challengeName   = "passkey challenge"
)

// PasskeyUse is what the answer of an authenticator is good for.
type PasskeyUse string

// The uses.
const (
	NewPasskey     PasskeyUse = "new"
	PasskeySignIn  PasskeyUse = "sign in" // alone, in place of name, password and code
	PasskeyFactor  PasskeyUse = "factor"  // after the password, in place of a code
	PasskeyConfirm PasskeyUse = "confirm" // in place of the password of somebody who is signed in
)

// PasskeyAsk is a question to an authenticator, as a page puts it. Nothing is stored of it: Sealed says what must be known when the answer comes.
type PasskeyAsk struct {
	Sealed     string
	Party      string // the server, as passkeys know it
	Challenge  []byte
	UserHandle []byte          // of NewPasskey: what the authenticator shall know the account by
	Known      []store.Passkey // the account's: one of them answers or, with NewPasskey, none may be made where one of them is
}

// challenge is what Sealed holds. It is of use in one browser, for one account, once, and not for long.
type challenge struct {
	Use        PasskeyUse      `json:"u"`
	Challenge  []byte          `json:"c"`
	Account    store.AccountID `json:"a,omitempty"` // 0: whoever answers
	UserHandle []byte          `json:"h,omitempty"`
	Browser    string          `json:"b"`
	Ends       time.Time       `json:"e"`
}

// AskPasskey makes a question. acct is nil with PasskeySignIn.
func (s *Service) AskPasskey(ctx context.Context, use PasskeyUse, acct *store.Account, browser string) (PasskeyAsk, error) {
	c := challenge{Use: use, Challenge: random(challengeBytes), Browser: browser, Ends: s.now().Add(PasskeyLifetime)}
	var ask PasskeyAsk
	if acct != nil {
		known, err := s.store.Passkeys(ctx, acct.ID)
		if err != nil {
			return PasskeyAsk{}, err
		}
		c.Account, ask.Known = acct.ID, known
	}
	if use == NewPasskey {
		c.UserHandle = userHandle(ask.Known)
	}
	ask.Party, ask.Challenge, ask.UserHandle = s.party().ID, c.Challenge, c.UserHandle
	ask.Sealed = s.sealPage(challengeName, c)
	return ask, nil
}

// userHandle is what authenticators know an account by: not the DID, which would tell whoever holds the authenticator whose accounts are on it.
func userHandle(known []store.Passkey) []byte {
	if len(known) > 0 {
		return known[0].UserHandle
	}
	return random(userHandleBytes)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// openChallenge reads a question that AskPasskey has sealed for the same use, account and browser. The error is ErrPasskeyLate.
func (s *Service) openChallenge(use PasskeyUse, acct store.AccountID, sealed, browser string) (challenge, error) {
	var c challenge
	if !s.openPage(challengeName, sealed, &c) || c.Use != use || c.Account != acct || browser == "" || c.Browser != browser || !s.now().Before(c.Ends) {
		return challenge{}, refuse(ErrPasskeyLate, "The question to the passkey has expired")
	}
	return c, nil
}

// useChallenge takes a question that was answered, which can be done once.
func useChallenge(ctx context.Context, tx *store.Tx, c challenge) error {
	first, err := tx.UsePasskeyChallenge(ctx, c.Challenge, c.Ends)
	if err == nil && !first {
		err = refuse(ErrPasskeyLate, "The question to the passkey was answered before")
	}
	return err
}

func (s *Service) party() passkey.Party {
	return passkey.Party{ID: s.opts.Hostname, Origin: s.opts.Origin}
}

// PasskeyHook stores what belongs to a change of an account's passkeys, as the mail that tells its owner, in the same transaction.
type PasskeyHook func(tx *store.Tx, acct *store.Account, p store.Passkey) error

// AddPasskey stores the passkey with which an authenticator has answered. Errors: ErrPasskey, ErrPasskeyLate, ErrPasskeyLimit, ErrInvalidName, ErrSessionRevoked.
func (s *Service) AddPasskey(ctx context.Context, acct *store.Account, sealed, browser, answer, name string, hook PasskeyHook) error {
	name, err := passkeyName(name)
	if err != nil {
		return err
	}
	c, err := s.openChallenge(NewPasskey, acct.ID, sealed, browser)
	if err != nil {
		return err
	}
	r, err := passkey.ParseRegistration(answer)
	if err != nil {
		return refusePasskey(err)
	}
	cred, err := s.party().Register(c.Challenge, r)
	if err != nil {
		return refusePasskey(err)
	}
	p := store.Passkey{
		Credential: cred.ID, Account: acct.ID, UserHandle: c.UserHandle, PublicKey: cred.PublicKey, Count: cred.Count,
		Eligible: cred.Eligible, BackedUp: cred.BackedUp, Transports: r.Transports, Name: name, CreatedAt: s.now(),
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if err := useChallenge(ctx, tx, c); err != nil {
			return err
		}
		if err := stillSignedIn(ctx, tx, acct); err != nil {
			return err
		}
		if err := mayAddPasskey(ctx, tx, p); err != nil {
			return err
		}
		if err := tx.PutPasskey(ctx, p); err != nil {
			return err
		}
		return hook(tx, acct, p)
	})
}

func mayAddPasskey(ctx context.Context, tx *store.Tx, p store.Passkey) error {
	all, err := tx.Passkeys(ctx, p.Account)
	if err != nil {
		return err
	}
	if len(all) >= MaxPasskeys {
		return refuse(ErrPasskeyLimit, "An account can have %d passkeys", MaxPasskeys)
	}
	if len(all) > 0 && !bytes.Equal(all[0].UserHandle, p.UserHandle) {
		return refuse(ErrPasskeyLate, "Another passkey was added meanwhile")
	}
	_, err = tx.Passkey(ctx, p.Credential)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = refuse(ErrPasskey, "This passkey is here already")
	}
	return err
}

// SignInWithPasskey finds out who has answered. The passkey counts for password and second factor. Errors: ErrPasskey, ErrPasskeyLate.
func (s *Service) SignInWithPasskey(ctx context.Context, sealed, browser, answer string) (*store.Account, error) {
	return s.answered(ctx, PasskeySignIn, 0, sealed, browser, answer)
}

// CheckPasskey tells whether one of an account's passkeys has answered, for PasskeyFactor and PasskeyConfirm. Errors: ErrPasskey, ErrPasskeyLate.
func (s *Service) CheckPasskey(ctx context.Context, use PasskeyUse, acct store.AccountID, sealed, browser, answer string) error {
	_, err := s.answered(ctx, use, acct, sealed, browser, answer)
	return err
}

// answered returns the account whose passkey has answered, as it is in that moment.
func (s *Service) answered(ctx context.Context, use PasskeyUse, of store.AccountID, sealed, browser, answer string) (acct *store.Account, err error) {
	c, err := s.openChallenge(use, of, sealed, browser)
	if err != nil {
		return nil, err
	}
	a, err := passkey.ParseAssertion(answer)
	if err != nil {
		return nil, refusePasskey(err)
	}
	p, err := s.store.Passkey(ctx, a.ID)
	if errors.Is(err, store.ErrNotFound) || err == nil && of != 0 && p.Account != of {
		return nil, refuse(ErrPasskey, "This passkey is not known here")
	}
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(a.UserHandle, p.UserHandle) && (of == 0 || len(a.UserHandle) > 0) {
		return nil, refuse(ErrPasskey, "This passkey is another person's")
	}
	known := passkey.Credential{ID: p.Credential, PublicKey: p.PublicKey, Count: p.Count, Eligible: p.Eligible, BackedUp: p.BackedUp}
	now, err := s.party().Verify(c.Challenge, known, a)
	if err != nil {
		return nil, refusePasskey(err)
	}
	err = s.store.Update(ctx, func(tx *store.Tx) (err error) {
		if err := s.usePasskey(ctx, tx, c, p, now); err != nil {
			return err
		}
		acct, err = tx.AccountByID(ctx, p.Account)
		return err
	})
	return acct, err
}

// usePasskey notes that a passkey has answered a challenge, unless another request was faster with the same.
func (s *Service) usePasskey(ctx context.Context, tx *store.Tx, c challenge, before store.Passkey, now passkey.Credential) error {
	if err := useChallenge(ctx, tx, c); err != nil {
		return err
	}
	p, err := tx.Passkey(ctx, before.Credential)
	if errors.Is(err, store.ErrNotFound) || err == nil && p.Account != before.Account {
		return refuse(ErrPasskey, "This passkey is not known here")
	}
	if err != nil {
		return err
	}
	if now.Count <= p.Count && p.Count != 0 {
		return refusePasskey(passkey.ErrCloned)
	}
	p.Count, p.BackedUp, p.UsedAt = now.Count, now.BackedUp, s.now()
	return tx.PutPasskey(ctx, p)
}

// refusePasskey keeps the reason for the log. It is never shown.
func refusePasskey(err error) error { return errors.Join(ErrPasskey, err) }

// Passkeys lists an account's passkeys, the oldest first.
func (s *Service) Passkeys(ctx context.Context, acct store.AccountID) ([]store.Passkey, error) {
	return s.store.Passkeys(ctx, acct)
}

// RenamePasskey gives a passkey another name. Errors: ErrInvalidName, store.ErrNotFound.
func (s *Service) RenamePasskey(ctx context.Context, acct store.AccountID, credential []byte, name string) error {
	name, err := passkeyName(name)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		p, err := ownPasskey(ctx, tx, acct, credential)
		if err != nil {
			return err
		}
		p.Name = name
		return tx.PutPasskey(ctx, p)
	})
}

// RemovePasskey removes a passkey. The error is store.ErrNotFound when the account has it not.
func (s *Service) RemovePasskey(ctx context.Context, acct *store.Account, credential []byte, hook PasskeyHook) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		p, err := ownPasskey(ctx, tx, acct.ID, credential)
		if err != nil {
			return err
		}
		if err := tx.DeletePasskey(ctx, credential); err != nil {
			return err
		}
		if err := s.checkRole(ctx, tx, acct.ID); err != nil {
			return err
		}
		return hook(tx, acct, p)
	})
}

// RemovePasskeys removes all passkeys of an account, for the operator, and tells its owner of each.
func (s *Service) RemovePasskeys(ctx context.Context, acct *store.Account, hook PasskeyHook) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		all, err := tx.Passkeys(ctx, acct.ID)
		if err != nil {
			return err
		}
		for _, p := range all {
			if err := hook(tx, acct, p); err != nil {
				return err
			}
		}
		if _, err = tx.DeletePasskeys(ctx, acct.ID); err != nil {
			return err
		}
		return s.checkRole(ctx, tx, acct.ID)
	})
}

func ownPasskey(ctx context.Context, tx *store.Tx, acct store.AccountID, credential []byte) (store.Passkey, error) {
	p, err := tx.Passkey(ctx, credential)
	if err == nil && p.Account != acct {
		err = store.ErrNotFound
	}
	return p, err
}

func passkeyName(name string) (string, error) {
	name = strings.Join(strings.Fields(name), " ")
	if name == "" || !utf8.ValidString(name) || utf8.RuneCountInString(name) > MaxPasskeyName {
		return "", refuse(ErrInvalidName, "The name of a passkey has 1 to %d characters", MaxPasskeyName)
	}
	return name, nil
}

// SweepPasskeyChallenges forgets the answered challenges that are refused for their age by now.
func (s *Service) SweepPasskeyChallenges(ctx context.Context) error {
	return s.store.Update(ctx, func(tx *store.Tx) error { return tx.SweepPasskeyChallenges(ctx, s.now()) })
}
