package pds

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/store"
	"perch/xrpc"
)

// Paths of what the command line asks the running server about accounts' identities.
const (
	RotationKeyPath = "/perch/rotation-key"
	AlertsPath      = "/perch/plc-alerts"
	UndoPath        = "/perch/plc-undo"
)

const maxAlertsListed = 500

// Actions of a RotationKeyRequest.
const (
	RotationKeyList   = "list"
	RotationKeyAdd    = "add"
	RotationKeyCreate = "create" // add a key that is made here and shown once
	RotationKeyRemove = "remove"
)

// RotationKeyRequest is what the operator does about an account's rotation keys.
type RotationKeyRequest struct {
	Account string `json:"account"` // handle, DID or e-mail address
	Action  string `json:"action"`
	Key     string `json:"key,omitempty"`          // did:key
	GiveUp  bool   `json:"giveUpServer,omitempty"` // the server's key may be removed
}

// RotationKeyAnswer lists the keys, and for RotationKeyCreate shows the new one.
type RotationKeyAnswer struct {
	DID        syntax.DID    `json:"did"`
	Handle     syntax.Handle `json:"handle"`
	Keys       []RotationKey `json:"keys"`
	Key        string        `json:"key,omitempty"`        // made
	PrivateKey string        `json:"privateKey,omitempty"` // of it, in multibase; the server does not keep it
}

// found finds an account for the operator.
func (s *Server) found(ctx context.Context, name string) (*store.Account, error) {
	acct, err := s.accounts.Find(ctx, name)
	if errors.Is(err, store.ErrNotFound) || err == nil && !acct.DeletedAt.IsZero() {
		return nil, noAccount(name, err)
	}
	return acct, err
}

// noAccount tells the operator that a name is no account's.
func noAccount(name string, err error) *xrpc.Error {
	return &xrpc.Error{Status: 400, Name: "AccountNotFound", Message: "There is no account " + name, Err: err}
}

func (s *Server) operatorRotationKey(ctx context.Context, in *RotationKeyRequest) (*RotationKeyAnswer, error) {
	acct, err := s.found(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	out := &RotationKeyAnswer{DID: acct.DID, Handle: acct.Handle}
	operator := confirmation{byOperator: true}
	switch in.Action {
	case RotationKeyList:
		out.Keys, err = s.rotationKeys(ctx, acct)
	case RotationKeyAdd:
		out.Keys, err = s.addRotationKey(ctx, acct, in.Key, operator)
	case RotationKeyCreate:
		if out.Key, out.PrivateKey, err = newRotationKey(); err == nil {
			out.Keys, err = s.addRotationKey(ctx, acct, out.Key, operator)
		}
	case RotationKeyRemove:
		out.Keys, err = s.removeRotationKey(ctx, acct, in.Key, in.GiveUp, operator)
	default:
		err = xrpc.InvalidRequest("action must be list, add, create or remove")
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// AlertsRequest asks for the operations of accounts' DIDs that this server has not made.
type AlertsRequest struct {
	Account string `json:"account,omitempty"` // handle, DID or e-mail address; "" for all
	All     bool   `json:"all,omitempty"`     // those that are dealt with, too
	Dismiss bool   `json:"dismiss,omitempty"` // the account's, which are in order
}

// Alert is such an operation.
type Alert struct {
	DID       syntax.DID    `json:"did,omitempty"`
	Handle    syntax.Handle `json:"handle,omitempty"`
	Operation string        `json:"operation"` // CID
	Kind      string        `json:"kind"`
	Signer    string        `json:"signer"`
	Holder    string        `json:"holder"`
	Asked     bool          `json:"asked"` // signed here with a code that the owner had
	Changes   []string      `json:"changes"`
	MadeAt    time.Time     `json:"madeAt"`
	UndoUntil time.Time     `json:"undoUntil"`
	State     string        `json:"state"`
}

func (s *Server) operatorAlerts(ctx context.Context, in *AlertsRequest) ([]Alert, error) {
	var id store.AccountID
	if in.Account != "" {
		acct, err := s.found(ctx, in.Account)
		if err != nil {
			return nil, err
		}
		if id = acct.ID; isPLC(acct.DID) {
			if err := s.lookAtPLC(ctx, acct); err != nil {
				return nil, err
			}
		}
	}
	if in.Dismiss {
		if id == 0 {
			return nil, xrpc.InvalidRequest("Alerts are dismissed for one account at a time")
		}
		if err := s.dismissAlerts(ctx, id); err != nil {
			return nil, err
		}
	}
	rows, err := s.store.PLCAlerts(ctx, id, in.All, maxAlertsListed)
	if err != nil {
		return nil, err
	}
	out := make([]Alert, len(rows))
	for i, a := range rows {
		changes, err := changeLines(&a)
		if err != nil {
			return nil, err
		}
		out[i] = Alert{
			Operation: a.CID, Kind: a.Kind, Signer: a.Signer, Holder: a.Holder, Asked: a.Asked, Changes: changes, MadeAt: a.MadeAt,
			UndoUntil: a.MadeAt.Add(plc.RecoveryWindow), State: a.State,
		}
		if acct, err := s.store.AccountByID(ctx, a.Account); err == nil {
			out[i].DID, out[i].Handle = acct.DID, acct.Handle
		}
	}
	return out, nil
}

// dismissAlerts notes that the strange operations of an account are in order.
func (s *Server) dismissAlerts(ctx context.Context, id store.AccountID) error {
	return s.store.Update(ctx, func(tx *store.Tx) error { return tx.DismissPLCAlerts(ctx, id) })
}

// UndoRequest takes back a strange operation.
type UndoRequest struct {
	Account     string `json:"account"`
	Operation   string `json:"operation,omitempty"`   // CID; "" for the oldest that can still be undone
	RotationKey string `json:"rotationKey,omitempty"` // private key of the owner's, for this request only
	DropKey     bool   `json:"dropKey,omitempty"`     // remove the key that signed the operation, too
	DryRun      bool   `json:"dryRun,omitempty"`      // only say what could be done
}

// UndoAnswer says what was undone, or could be.
type UndoAnswer struct {
	DID       syntax.DID    `json:"did"`
	Handle    syntax.Handle `json:"handle"`
	Operation string        `json:"operation"`
	Restored  string        `json:"restored"` // the operation that holds again
	Signer    string        `json:"signer"`
	Holder    string        `json:"holder"`
	Above     []RotationKey `json:"above"` // keys that can undo it
	MadeAt    time.Time     `json:"madeAt"`
	UndoUntil time.Time     `json:"undoUntil"`
	Done      bool          `json:"done"`
}

func (s *Server) operatorUndo(ctx context.Context, in *UndoRequest) (*UndoAnswer, error) {
	acct, err := s.found(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	var p *undoPlan
	if in.DryRun {
		p, err = s.planUndo(ctx, acct, in.Operation)
	} else {
		p, err = s.undo(ctx, acct, undoRequest{in.Operation, in.RotationKey, in.DropKey, confirmation{byOperator: true}})
	}
	if err != nil {
		return nil, err
	}
	keys, err := s.describeKeys(append(slices.Clone(p.above), p.signer))
	if err != nil {
		return nil, err
	}
	above, signer := keys[:len(p.above)], keys[len(p.above)]
	return &UndoAnswer{
		DID: acct.DID, Handle: acct.Handle, Operation: p.bad.CID.String(), Restored: p.good.CID.String(), Signer: signer.Key, Holder: signer.Holder,
		Above: above, MadeAt: p.bad.CreatedAt, UndoUntil: p.until, Done: !in.DryRun,
	}, nil
}
