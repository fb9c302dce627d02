package pds

import (
	"context"
	"errors"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
	"perch/xrpc"
)

// DIDWebPath is where the command line makes and changes DIDs of the kind did:web whose documents the running server serves.
const DIDWebPath = "/perch/did-web"

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
