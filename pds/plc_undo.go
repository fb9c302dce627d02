package pds

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"perch/identity/plc"
	"perch/pds/mail"
	"perch/pds/store"
	"perch/xrpc"
)

// undoRequest says which strange operation to take back, and how.
type undoRequest struct {
	operation string // CID; "" for the oldest that can still be undone
	key       string // private rotation key of the owner's, used and forgotten; "" for the server's
	dropKey   bool   // remove the key that signed the operation, too
	by        confirmation
}

// undoPlan is what taking back an operation comes to.
type undoPlan struct {
	bad    plc.LogEntry // the operation that goes, with all after it
	good   plc.LogEntry // the one before it, which holds again
	signer string       // of bad
	above  []string     // rotation keys of higher authority: one of these must sign
	until  time.Time    // the last moment
}

// planUndo looks at the log as it is now and finds what to undo. The errors say why nothing can be done.
func (s *Server) planUndo(ctx context.Context, acct *store.Account, operation string) (*undoPlan, error) {
	if !isPLC(acct.DID) {
		return nil, errNoPLC(acct)
	}
	if err := s.lookAtPLC(ctx, acct); err != nil {
		return nil, err
	}
	alerts, err := s.store.PLCAlerts(ctx, acct.ID, true, maxAlertsListed)
	if err != nil {
		return nil, err
	}
	log, err := s.verifiedLog(ctx, acct.DID)
	if err != nil {
		return nil, err
	}
	bad, err := chooseUndo(log, alerts, operation, time.Now())
	if err != nil {
		return nil, err
	}
	good, _ := entryOf(log, bad.Operation.Prev)
	p := &undoPlan{bad: bad, good: good, signer: signerOf(log, bad), until: bad.CreatedAt.Add(plc.RecoveryWindow)}
	p.above = good.Operation.RotationKeys[:max(slices.Index(good.Operation.RotationKeys, p.signer), 0)]
	if good.Operation.Services[plc.PDSServiceName].Endpoint != s.cfg.PublicURL() {
		return nil, xrpc.NewError(400, "UndoImpossible", "Before the operation %s the DID did not name this server, so there is nothing here to go back to", bad.CID)
	}
	return p, nil
}

// chooseUndo finds the operation to take back: the one named, or the oldest strange one for which it is not too late.
func chooseUndo(log []plc.LogEntry, alerts []store.PLCAlert, operation string, now time.Time) (plc.LogEntry, error) {
	var late plc.LogEntry
	for _, e := range log {
		strange := slices.ContainsFunc(alerts, func(a store.PLCAlert) bool {
			return a.CID == e.CID.String() && (operation == a.CID || operation == "" && a.State != store.AlertDismissed)
		})
		switch {
		case e.Nullified || !strange:
		case now.Sub(e.CreatedAt) > plc.RecoveryWindow:
			late = e
		default:
			return e, nil
		}
	}
	if late.CID.Defined() {
		return late, xrpc.NewError(400, "UndoTooLate", "The operation %s was made on %s. It could be undone for 72 hours, until %s; now the PLC directory takes no such "+
			"operation any more. Whoever holds a rotation key of the DID can still change it with a new one", late.CID, showTime(late.CreatedAt),
			showTime(late.CreatedAt.Add(plc.RecoveryWindow)))
	}
	return late, xrpc.NewError(400, "NothingToUndo", "There is no operation to undo: all that hold were made by this server, or came before it watched the DID")
}

// undoKey finds the key that signs: the one given, or the server's. It must stand above the key that signed the bad operation.
func (s *Server) undoKey(p *undoPlan, given string) (plc.Signer, error) {
	whose := "this server's rotation key"
	if given == "" {
		own, err := s.rotationKeyDID()
		if err != nil || slices.Contains(p.above, own) {
			return s.rotationKey, err
		}
	} else {
		key, _, err := plc.RotationKey(given, p.above)
		if err == nil {
			return key, nil
		}
		whose = "the rotation key given"
	}
	if len(p.above) == 0 {
		return nil, xrpc.NewError(400, "UndoImpossible", "The operation was signed with %s, which had the highest authority of all rotation keys, so that no other key can undo it", p.signer)
	}
	return nil, xrpc.NewError(400, "UndoNeedsKey", "The operation was signed with %s, and %s is none of higher authority. The private half of one of these keys is needed until %s, "+
		"as multibase (z...) or 64 hexadecimal digits (--rotation-key-file): %s", p.signer, whose, showTime(p.until), strings.Join(p.above, ", "))
}

// undo takes a strange operation back by one that forks from the operation before it, and makes the DID say what this server knows: handle, server and signing
// key. An account that was deactivated since then is active again.
func (s *Server) undo(ctx context.Context, acct *store.Account, in undoRequest) (*undoPlan, error) {
	p, err := s.planUndo(ctx, acct, in.operation)
	if err != nil {
		return nil, err
	}
	key, err := s.undoKey(p, in.key)
	if err != nil {
		return nil, err
	}
	op, err := plc.Update(p.good.Operation, func(op *plc.Operation) {
		op.SetHandle(acct.Handle)
		op.SetPDS(s.cfg.PublicURL())
		op.SetSigningKey(acct.SigningKeyDID)
	})
	if err == nil && in.dropKey {
		err = s.dropSigner(&op, p.signer)
	}
	if err == nil {
		op, err = plc.Sign(op, key)
	}
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx) // what follows belongs together, whether or not somebody waits
	if err := s.submitPLC(ctx, acct.DID, op, in.by.use(ctx, s, acct.ID)); err != nil {
		return nil, err
	}
	s.log.WarnContext(ctx, "an operation that was not this server's was undone", "did", acct.DID, "operation", p.bad.CID)
	return p, s.afterUndo(ctx, acct, p)
}

func (s *Server) dropSigner(op *plc.Operation, signer string) error {
	if holder, err := s.holderOf(signer); err != nil || holder == HolderServer {
		return xrpc.InvalidRequest("The operation was signed with this server's own key, which can only be replaced for all accounts")
	}
	op.RotationKeys = slices.DeleteFunc(slices.Clone(op.RotationKeys), func(k string) bool { return k == signer })
	if len(op.RotationKeys) == 0 {
		return xrpc.InvalidRequest("Without the key that signed the operation there would be none")
	}
	return nil
}

// afterUndo makes account and network agree with the DID again.
func (s *Server) afterUndo(ctx context.Context, acct *store.Account, p *undoPlan) error {
	if err := s.lookAtPLC(ctx, acct); err != nil { // closes the alerts
		s.log.WarnContext(ctx, "look at an undone operation", "did", acct.DID, "err", err)
		s.watcher.lookSoon(acct.DID)
	}
	if !acct.DeactivatedAt.IsZero() && acct.DeactivatedAt.After(p.bad.CreatedAt) && acct.Announced() {
		if err := s.activate(ctx, acct.ID); err != nil {
			return fmt.Errorf("the operation is undone, but the account could not be activated: %w", err)
		}
	} else if err := s.identityChanged(ctx, acct); err != nil {
		return err
	}
	s.relay.Notify()
	s.notice(ctx, acct, mail.Notice{
		Subject: "A change of your account's identity was taken back",
		Lead:    fmt.Sprintf("the change that was made to the identity of your account on %s was taken back. It names this server and %s again.", showTime(p.bad.CreatedAt), acct.Handle),
		Lines:   []string{"undone: the operation " + p.bad.CID.String(), "the key that had made it: " + p.signer},
		Advice:  []string{"If you made that change yourself, write to the operator of this server."},
	})
	return nil
}
