package pds

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
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
	DIDWebPath      = "/perch/did-web"
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
		return nil, &xrpc.Error{Status: 400, Name: "AccountNotFound", Message: "There is no account " + name, Err: err}
	}
	return acct, err
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
		if err := s.store.Update(ctx, func(tx *store.Tx) error { return tx.DismissPLCAlerts(ctx, id) }); err != nil {
			return nil, err
		}
	}
	rows, err := s.store.PLCAlerts(ctx, id, in.All, maxAlertsListed)
	if err != nil {
		return nil, err
	}
	out := make([]Alert, len(rows))
	for i, a := range rows {
		out[i] = Alert{
			Operation: a.CID, Kind: a.Kind, Signer: a.Signer, Holder: a.Holder, Asked: a.Asked, Changes: a.Changes, MadeAt: a.MadeAt,
			UndoUntil: a.MadeAt.Add(plc.RecoveryWindow), State: a.State,
		}
		if acct, err := s.store.AccountByID(ctx, a.Account); err == nil {
			out[i].DID, out[i].Handle = acct.DID, acct.Handle
		}
	}
	return out, nil
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
		p, err = s.undo(ctx, acct, undoRequest{in.Operation, in.RotationKey, in.DropKey})
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

// Actions of a DIDWebRequest.
const (
	DIDWebCreate = "create"
	DIDWebShow   = "show"
	DIDWebPoint  = "point" // to another server
	DIDWebBack   = "back"  // to this one
)

// DIDWebRequest makes an account with a did:web under this server's domain, or changes what its document names.
type DIDWebRequest struct {
	Action     string `json:"action"`
	Account    string `json:"account"` // handle, or DID when the account is gone
	Email      string `json:"email,omitempty"`
	Password   string `json:"password,omitempty"`
	PDS        string `json:"pds,omitempty"`        // origin, for DIDWebPoint
	SigningKey string `json:"signingKey,omitempty"` // did:key, for DIDWebPoint
	NewHandle  string `json:"newHandle,omitempty"`  // for DIDWebPoint; "" for the one it has
}

// DIDWebAnswer is what the document names.
type DIDWebAnswer struct {
	DID        syntax.DID    `json:"did"`
	Handle     syntax.Handle `json:"handle,omitempty"`
	PDS        string        `json:"pds"`
	SigningKey string        `json:"signingKey"`
	Here       bool          `json:"here"`
}

func (s *Server) operatorDIDWeb(ctx context.Context, in *DIDWebRequest) (*DIDWebAnswer, error) {
	if in.Action == DIDWebCreate {
		return s.operatorCreateDIDWeb(ctx, in)
	}
	web, err := s.findDIDWeb(ctx, in.Account)
	if errors.Is(err, store.ErrNotFound) && in.Action == DIDWebPoint && s.ownWebHost(webHostOf(syntax.DID(in.Account))) {
		web, err = &store.DIDWeb{Host: webHostOf(syntax.DID(in.Account))}, nil // lost with a database: whoever has the archive can bring it back
	}
	if err != nil {
		return nil, err
	}
	switch in.Action {
	case DIDWebShow:
	case DIDWebPoint:
		err = s.pointDIDWeb(ctx, web, in)
	case DIDWebBack:
		err = s.movePointer(ctx, &store.DIDWeb{Host: web.Host})
	default:
		err = xrpc.InvalidRequest("action must be create, show, point or back")
	}
	if err != nil {
		return nil, err
	}
	return s.describeDIDWeb(ctx, web.Host)
}

func (s *Server) operatorCreateDIDWeb(ctx context.Context, in *DIDWebRequest) (*DIDWebAnswer, error) {
	host := strings.ToLower(in.Account)
	switch {
	case s.cfg.DIDWebAccounts == didWebOff:
		return nil, xrpc.InvalidRequest("PDS_DID_WEB_ACCOUNTS is off: set it to operator or everyone. Such an account needs this server's domain for ever")
	case !s.ownWebHost(host):
		return nil, xrpc.InvalidRequest("%.100s is no name under the domains of this server (%s)", host, strings.Join(s.cfg.HandleDomains(), ", "))
	}
	_, err := s.createWebAccount(ctx, &createAccountInput{
		Handle: host, DID: syntax.DID("did:web:" + host), Email: in.Email, Password: in.Password,
	}, true)
	if err != nil {
		return nil, err
	}
	return s.describeDIDWeb(ctx, host)
}

// findDIDWeb finds a did:web of ours by an account's handle, whichever it has now, or by the DID.
func (s *Server) findDIDWeb(ctx context.Context, name string) (*store.DIDWeb, error) {
	host := webHostOf(syntax.DID(name))
	if acct, err := s.accounts.Find(ctx, name); err == nil {
		host = webHostOf(acct.DID)
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	web, err := s.store.DIDWeb(ctx, host)
	if errors.Is(err, store.ErrNotFound) {
		return nil, &xrpc.Error{Status: 400, Name: "AccountNotFound", Message: name + " has no did:web whose document this server serves", Err: err}
	}
	return web, err
}

// pointDIDWeb makes the document name another server.
func (s *Server) pointDIDWeb(ctx context.Context, web *store.DIDWeb, in *DIDWebRequest) error {
	next := store.DIDWeb{Host: web.Host, PDS: strings.TrimSuffix(in.PDS, "/"), SigningKey: in.SigningKey, Handle: syntax.Handle(in.NewHandle)}
	if next.Handle == "" {
		next.Handle = web.Handle
	}
	acct, err := s.store.AccountByDID(ctx, web.DID())
	if err == nil && next.Handle == "" {
		next.Handle = acct.Handle
	}
	handle, handleErr := syntax.ParseHandle(next.Handle.String())
	_, keyErr := atcrypto.ParsePublicDIDKey(in.SigningKey)
	switch {
	case keyErr != nil:
		return xrpc.InvalidRequest("The signing key must be the did:key of a P-256 or K-256 key: the one that the other server has for the account")
	case !s.goodOrigin(next.PDS):
		return xrpc.InvalidRequest("The server must be an https origin, such as https://pds.example.com")
	case next.PDS == s.cfg.PublicURL() && err == nil && acct.DeletedAt.IsZero():
		return xrpc.InvalidRequest("This is the server itself; --back makes the document name it")
	case handleErr != nil:
		return xrpc.InvalidRequest("The account has no handle to name: give one with --handle")
	}
	next.Handle = handle.Normalize()
	return s.movePointer(ctx, &next)
}

// goodOrigin tells whether a document may name the address as an account's server.
func (s *Server) goodOrigin(origin string) bool {
	return !badURL(origin) && strings.Count(origin, "/") == 2 && !strings.ContainsAny(origin, "?#@") &&
		(strings.HasPrefix(origin, "https://") || s.cfg.AllowPrivate())
}

// movePointer changes what a document names and tells the network, if the account is still here.
func (s *Server) movePointer(ctx context.Context, next *store.DIDWeb) error {
	acct, err := s.store.AccountByDID(ctx, next.DID())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if acct != nil && !acct.DeletedAt.IsZero() {
		acct = nil
	}
	if acct == nil && next.PDS == "" {
		return xrpc.InvalidRequest("There is no account of %s here any more for the document to name", next.DID())
	}
	if other, err := s.store.AccountByHandle(ctx, syntax.Handle(next.Host)); err == nil && other.DID != next.DID() {
		return xrpc.InvalidRequest("%s is the handle of another account", next.Host)
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.PointDIDWeb(ctx, *next); err != nil || acct == nil {
			return err
		}
		return appendIdentityEvent(tx, acct)
	})
	if err == nil {
		s.log.InfoContext(ctx, "DID document changed by the operator", "did", next.DID(), "pds", next.PDS, "signingKey", next.SigningKey)
		s.relay.Notify()
	}
	return err
}

func (s *Server) describeDIDWeb(ctx context.Context, host string) (*DIDWebAnswer, error) {
	web, err := s.store.DIDWeb(ctx, host)
	if err != nil {
		return nil, err
	}
	out := &DIDWebAnswer{DID: web.DID(), Handle: web.Handle, PDS: web.PDS, SigningKey: web.SigningKey}
	if web.PDS != "" {
		return out, nil
	}
	acct, err := s.store.AccountByDID(ctx, web.DID())
	if err == nil && acct.DeletedAt.IsZero() {
		out.Handle, out.PDS, out.SigningKey, out.Here = acct.Handle, s.cfg.PublicURL(), acct.SigningKeyDID, true
	}
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return out, err
}
