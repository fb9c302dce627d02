package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/mail"
	"perch/pds/store"
)

// The rhythm of the watcher. It asks for one DID after the other, so that a server with ten thousand accounts costs the directory four small requests a second at
// most, and less than one most of the time.
const (
	watchPace     = 250 * time.Millisecond
	watchIdle     = 30 * time.Second
	watchPauseMin = time.Minute // after the directory failed
	watchPauseMax = time.Hour
	maxWatchSoon  = 1000
	watchBatch    = 100
	// alertLifetime is how long an alert is kept.
	alertLifetime = 90 * 24 * time.Hour
)

// plcWatcher looks into the PLC directory for operations of our accounts' DIDs that are not ours.
type plcWatcher struct {
	look sync.Mutex // held by a look, so that two never tell of the same operation

	mu   sync.Mutex
	soon map[syntax.DID]bool // guarded by mu; documents of which have just been seen to change
	due  []store.AccountID   // guarded by mu; whose turn it is
	wake chan struct{}       // 1 deep
}

func newPLCWatcher() *plcWatcher {
	return &plcWatcher{soon: map[syntax.DID]bool{}, wake: make(chan struct{}, 1)}
}

// lookSoon has the watcher look at a DID now. It may be anybody's.
func (w *plcWatcher) lookSoon(did syntax.DID) {
	if !isPLC(did) {
		return
	}
	w.mu.Lock()
	if len(w.soon) < maxWatchSoon {
		w.soon[did] = true
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// next takes a DID that is to be looked at now.
func (w *plcWatcher) next() (syntax.DID, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for did := range w.soon {
		delete(w.soon, did)
		return did, true
	}
	return "", false
}

// nextDue takes the account whose turn it is; list is asked for many at a time.
func (w *plcWatcher) nextDue(list func() ([]store.AccountID, error)) (id store.AccountID, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.due) == 0 {
		if w.due, err = list(); err != nil {
			return 0, err
		}
	}
	if len(w.due) == 0 {
		return 0, store.ErrNotFound
	}
	id, w.due = w.due[0], w.due[1:]
	return id, nil
}

// watchPLC looks at the DIDs of all accounts, each once in about an interval, until ctx ends.
func (s *Server) watchPLC(ctx context.Context) {
	if s.cfg.PLCWatchInterval <= 0 {
		return
	}
	pause := time.Duration(0) // of the last failure
	for ctx.Err() == nil {
		looked, err := s.watchOne(ctx)
		wait, wake := watchPace, s.watcher.wake
		switch {
		case errors.Is(err, plc.ErrUnavailable), errors.Is(err, plc.ErrRateLimited):
			pause = min(max(2*pause, watchPauseMin), watchPauseMax)
			wait, wake = pause, nil
			s.log.WarnContext(ctx, "watch the PLC directory: it does not answer", "pause", wait, "err", err)
		case err == nil && looked:
			pause, wake = 0, nil
		case !looked:
			wait = watchIdle
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-wake:
		}
		timer.Stop()
	}
}

// watchOne looks at the account whose turn it is, and tells whether there was one.
func (s *Server) watchOne(ctx context.Context) (bool, error) {
	acct, err := s.watchTurn(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err == nil {
		err = s.lookAtPLC(ctx, acct)
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, plc.ErrUnavailable) || errors.Is(err, plc.ErrRateLimited) {
		return true, err
	}
	if acct == nil {
		s.log.ErrorContext(ctx, "watch the PLC directory", "err", err)
		return false, err
	}
	s.log.WarnContext(ctx, "watch the PLC directory: it gives no log that holds", "did", acct.DID, "err", err)
	return true, s.store.Update(ctx, func(tx *store.Tx) error { return tx.SetPLCHead(ctx, acct.ID, "", s.nextLook()) })
}

func (s *Server) watchTurn(ctx context.Context) (*store.Account, error) {
	for {
		did, ok := s.watcher.next()
		if !ok {
			break
		}
		acct, err := s.store.AccountByDID(ctx, did)
		if err == nil && acct.DeletedAt.IsZero() || err != nil && !errors.Is(err, store.ErrNotFound) {
			return acct, err
		}
	}
	id, err := s.watcher.nextDue(func() ([]store.AccountID, error) { return s.store.DuePLCLooks(ctx, time.Now(), watchBatch) })
	if err != nil {
		return nil, err
	}
	return s.store.AccountByID(ctx, id)
}

// nextLook is an interval from now, more or less, so that the looks at many accounts spread.
func (s *Server) nextLook() time.Time {
	interval := max(s.cfg.PLCWatchInterval, time.Minute)
	return time.Now().Add(interval/2 + rand.N(interval/2))
}

// watchFrom notes, in the transaction that makes an account, the operation that made its DID.
func (s *Server) watchFrom(ctx context.Context, tx *store.Tx, id store.AccountID, genesis plc.Operation) error {
	c, err := genesis.CID()
	if err != nil {
		return err
	}
	return tx.SetPLCHead(ctx, id, c.String(), s.nextLook())
}

// lookAtPLC looks whether the account's DID has operations that are not ours, and tells operator and owner of them. The request is small when there is nothing
// new.
func (s *Server) lookAtPLC(ctx context.Context, acct *store.Account) error {
	s.watcher.look.Lock()
	defer s.watcher.look.Unlock()
	head, err := s.store.PLCHead(ctx, acct.ID)
	if err != nil {
		return err
	}
	last, err := s.plc.Last(ctx, acct.DID)
	if err != nil {
		return err
	}
	now, err := last.CID()
	if err != nil {
		return err
	}
	if now.String() == head {
		return s.store.Update(ctx, func(tx *store.Tx) error { return tx.SetPLCHead(ctx, acct.ID, "", s.nextLook()) })
	}
	log, err := s.verifiedLog(ctx, acct.DID)
	if err != nil {
		return err
	}
	return s.noteLog(ctx, acct, log, head)
}

func (s *Server) verifiedLog(ctx context.Context, did syntax.DID) ([]plc.LogEntry, error) {
	log, err := s.plc.Audit(ctx, did)
	if err != nil {
		return nil, err
	}
	_, err = plc.VerifyLog(did, log)
	return log, err
}

// noteLog stores what a log has new for us: alerts with the mail that tells of them, and how far it was looked at, all or nothing.
func (s *Server) noteLog(ctx context.Context, acct *store.Account, log []plc.LogEntry, head string) error {
	noted, err := s.store.PLCOperations(ctx, acct.DID) // after the log: what is ours was noted before it came there
	if err != nil {
		return err
	}
	found := judge(log, head, noted, s.cfg.PublicURL())
	alerts := make([]store.PLCAlert, len(found))
	for i := range found {
		if alerts[i], err = s.alertOf(acct.ID, &found[i]); err != nil {
			return err
		}
	}
	last, _ := plc.Last(log)
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		for _, e := range log {
			if e.Nullified {
				if err := tx.EndPLCAlert(ctx, acct.ID, e.CID.String(), store.AlertNullified); err != nil {
					return err
				}
			}
		}
		for _, a := range alerts {
			if err := tx.AddPLCAlert(ctx, a); err != nil {
				return err
			}
		}
		if err := s.postAlerts(ctx, tx, acct, found, alerts); err != nil {
			return err
		}
		return tx.SetPLCHead(ctx, acct.ID, last.CID.String(), s.nextLook())
	})
	if err != nil || len(found) == 0 {
		return err
	}
	for _, a := range alerts {
		s.log.WarnContext(ctx, "an account's DID was changed by an operation that is not this server's; `perch account plc-alerts` shows it",
			"did", acct.DID, "handle", acct.Handle, "kind", a.Kind, "operation", a.CID, "signedBy", a.Holder, "at", a.MadeAt)
	}
	s.identity.Purge(acct.DID.AtIdentifier())
	s.wake(store.JobMail)
	return nil
}

func (s *Server) alertOf(id store.AccountID, f *finding) (store.PLCAlert, error) {
	holder, err := s.holderOf(f.signer)
	if err != nil {
		return store.PLCAlert{}, err
	}
	changes, err := json.Marshal(plc.Differences(f.before, f.Operation, s.whoseKey))
	return store.PLCAlert{
		Account: id, CID: f.CID.String(), Kind: f.kind, Signer: f.signer, Holder: holder, Asked: f.asked, MadeAt: f.CreatedAt,
		Changes: changes,
	}, err
}

// whoseKey is holderOf for descriptions.
func (s *Server) whoseKey(key string) string {
	holder, err := s.holderOf(key)
	if err != nil {
		return HolderOwner
	}
	return holder
}

// changesOf are what an alert is about.
func changesOf(a *store.PLCAlert) (all []plc.Change, err error) {
	if err := json.Unmarshal(a.Changes, &all); err != nil {
		return nil, fmt.Errorf("alert of %s: %w", a.CID, err)
	}
	return all, nil
}

// changeLines are the same in English, a line each.
func changeLines(a *store.PLCAlert) ([]string, error) {
	all, err := changesOf(a)
	lines := make([]string, len(all))
	for i, c := range all {
		lines[i] = c.String()
	}
	return lines, err
}

// quiet tells of an operation that is for the operator alone: one with the server's own key that leaves the account here, its key and its rotation keys as they
// were. After the restore of a backup the server does not remember what it did.
func (f *finding) quiet(a *store.PLCAlert, acct *store.Account) bool {
	return a.Holder == HolderServer && !a.Asked && a.Kind == AlertChanged && slices.Equal(f.before.RotationKeys, f.Operation.RotationKeys) &&
		f.Operation.VerificationMethods[plc.SigningKeyName] == acct.SigningKeyDID
}

// postAlerts stores one mail about all that was found at a time, in the words of the first that is no calm matter.
func (s *Server) postAlerts(ctx context.Context, tx *store.Tx, acct *store.Account, found []finding, alerts []store.PLCAlert) error {
	var told []int
	for i := range found {
		if !found[i].quiet(&alerts[i], acct) {
			told = append(told, i)
		}
	}
	if len(told) == 0 {
		return nil
	}
	first, gravest := told[0], told[len(told)-1]
	if i := slices.IndexFunc(told, func(i int) bool { return !calm(&alerts[i]) }); i >= 0 {
		gravest = told[i] // a thief may add a key first and move with it then
	}
	n := s.alertNotice(&alerts[gravest])
	n.Lead = fmt.Sprintf(n.Lead, showTime(alerts[first].MadeAt))
	for _, i := range told {
		lines, err := changeLines(&alerts[i])
		if err != nil {
			return err
		}
		n.Lines = append(n.Lines, lines...)
	}
	if len(n.Lines) == 0 {
		n.Lines = []string{"nothing but that an earlier change was taken back"}
	}
	until := alerts[first].MadeAt.Add(plc.RecoveryWindow)
	if tx.Now().Before(until) {
		n.Advice = append(n.Advice, fmt.Sprintf("If it was not you, write to the operator of this server at once. Until %s the change can be taken back, "+
			"if the server or you hold a recovery key of higher rank than the one that was used. After that nobody can.", showTime(until)))
	} else {
		n.Advice = append(n.Advice, fmt.Sprintf("The time in which it could be taken back ended on %s. If it was not you, write to the operator of this server.", showTime(until)))
	}
	return s.postNotice(ctx, tx, acct, n)
}

// calm tells of an operation that most likely is the owner's wish.
func calm(a *store.PLCAlert) bool { return a.Asked || a.Kind == AlertMoved && a.Holder == HolderOwner }

// alertNotice chooses the words. Its Lead wants the time.
func (s *Server) alertNotice(a *store.PLCAlert) mail.Notice {
	signed := "It was signed with " + map[string]string{
		HolderServer: "the key of this server, but this server knows nothing of it. The operator must find out how that can be.",
		HolderOwner:  "a recovery key that the account had, and not with this server's.", HolderOperator: "the recovery key of this server's operator.",
	}[a.Holder]
	if a.Asked {
		signed = "It was signed by this server after somebody entered a code that was sent to this address."
	}
	switch {
	case a.Kind == AlertMoved && calm(a):
		return mail.Notice{
			Subject: "Your account has moved",
			Lead:    "on %s your account was moved to another server. If that was you, all is well, and there is nothing to do here:",
			Advice:  []string{signed},
		}
	case a.Asked:
		return mail.Notice{
			Subject: "The identity of your account was changed",
			Lead:    "on %s a change of your account's identity came into force. If that was you, there is nothing to do:",
			Advice:  []string{signed},
		}
	case a.Kind == AlertEnded:
		return mail.Notice{
			Subject: "Your account's identity was given up",
			Lead:    "on %s somebody ended the identity of your account in the PLC directory. Nobody will find the account any more:",
			Advice:  []string{signed},
		}
	}
	return mail.Notice{
		Subject: "The identity of your account was changed",
		Lead:    "on %s somebody changed the identity of your account in the PLC directory, and it was not this server:",
		Advice:  []string{signed},
	}
}

func (s *Server) sweepAlerts(ctx context.Context) error {
	return s.store.Update(ctx, func(tx *store.Tx) error { return tx.SweepPLCAlerts(ctx, time.Now().Add(-alertLifetime)) })
}
