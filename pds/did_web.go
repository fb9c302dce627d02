package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/identity/plc"
	"perch/pds/account"
	"perch/pds/store"
	"perch/xrpc"
)

// Values of PDS_DID_WEB_ACCOUNTS.
const (
	didWebOff      = "off"
	didWebOperator = "operator"
	didWebEveryone = "everyone"
)

// webHostOf returns the host of a did:web, "" for other DIDs and for hosts with a port.
func webHostOf(did syntax.DID) string {
	host, ok := strings.CutPrefix(did.String(), "did:web:")
	if !ok || strings.ContainsAny(host, ":%") {
		return ""
	}
	return host
}

// ownWebHost tells whether a host may be that of an account's did:web: a name under the domains of this server that is not the server itself.
func (s *Server) ownWebHost(host string) bool {
	return s.cfg.IsServiceHandle(syntax.Handle(host)) && host != s.cfg.Hostname && "did:web:"+host != s.serviceDID.String()
}

// createWebAccount makes an account whose DID is the did:web of its handle.
func (s *Server) createWebAccount(ctx context.Context, in *createAccountInput, byOperator bool) (account.Session, error) {
	handle := syntax.Handle(in.Handle).Normalize()
	did := in.DID
	switch {
	case in.RecoveryKey != "":
		return account.Session{}, xrpc.InvalidRequest("recoveryKey is for a did:plc; a did:web has no such keys")
	case webHostOf(did) != handle.String():
		return account.Session{}, xrpc.InvalidRequest("The DID of the account %s can only be did:web:%s", handle, handle)
	}
	if _, err := s.store.DIDWeb(ctx, handle.String()); err == nil {
		return account.Session{}, store.ErrDIDTaken
	} else if !errors.Is(err, store.ErrNotFound) {
		return account.Session{}, err
	}
	res, err := s.accounts.Reserve(ctx, account.NewAccount{
		Handle: in.Handle, Email: in.Email, Password: in.Password, InviteCode: in.InviteCode, DID: did, ByOperator: byOperator,
	})
	if err != nil {
		return account.Session{}, err
	}
	defer res.Release()
	// Whoever has a host under our domain somewhere else may have a DID there.
	if _, err := s.identity.Refresh(ctx, did); err == nil {
		return account.Session{}, store.ErrDIDTaken
	}
	session, err := s.storeAccountWith(ctx, res, did, func(tx *store.Tx, _ store.AccountID) error { return tx.CreateDIDWeb(ctx, handle.String()) })
	if err == nil {
		s.relay.Notify()
	}
	return session, err
}

// didWebDocument is a DID document in the form that the PLC directory gives it.
func didWebDocument(did syntax.DID, handle syntax.Handle, signingKey, pds string) ([]byte, error) {
	return plc.Document(did, plc.Genesis(nil, signingKey, handle, pds))
}

// ownDocument makes the document of a did:web whose host is ours, as the account stands now. ok is false for all other DIDs.
func (s *Server) ownDocument(ctx context.Context, did syntax.DID) (raw []byte, ok bool, err error) {
	host := webHostOf(did)
	if host == "" || !s.ownWebHost(host) {
		return nil, false, nil
	}
	web, err := s.store.DIDWeb(ctx, host)
	if errors.Is(err, store.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	raw, err = s.documentOf(ctx, web)
	return raw, true, err
}

// errNoDocument says that a DID has no document any more.
var errNoDocument = fmt.Errorf("%w: the account was deleted", identity.ErrNotFound)

// documentOf makes the document of a did:web of ours. It lives on while the account is hidden for some reason, and after a move; the error is errNoDocument
// once the account is deleted.
func (s *Server) documentOf(ctx context.Context, web *store.DIDWeb) ([]byte, error) {
	if web.PDS != "" {
		return didWebDocument(web.DID(), web.Handle, web.SigningKey, web.PDS)
	}
	acct, err := s.store.AccountByDID(ctx, web.DID())
	if errors.Is(err, store.ErrNotFound) || err == nil && !acct.DeletedAt.IsZero() {
		return nil, errNoDocument
	}
	if err != nil {
		return nil, err
	}
	return didWebDocument(acct.DID, acct.Handle, acct.SigningKeyDID, s.cfg.PublicURL())
}

// keepsDocument tells whether this server decides what the account's DID document says, and it names this server.
func (s *Server) keepsDocument(ctx context.Context, did syntax.DID) (bool, error) {
	host := webHostOf(did)
	if host == "" || !s.ownWebHost(host) {
		return false, nil
	}
	web, err := s.store.DIDWeb(ctx, host)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && web.PDS == "", err
}

// hostAsked is the host name that a request is for, in lower case and without a port.
func hostAsked(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(host)
}

// didDocument serves, by the Host that was asked, the document of an account's did:web, or of the server's own, so that others can resolve the audience of service
// tokens.
func (s *Server) didDocument(w http.ResponseWriter, r *http.Request) {
	host := hostAsked(r)
	if !s.ownWebHost(host) {
		s.serverDocument(w)
		return
	}
	web, err := s.store.DIDWeb(r.Context(), host)
	var doc []byte
	if err == nil {
		doc, err = s.documentOf(r.Context(), web)
	}
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, json.RawMessage(doc))
	case errors.Is(err, errNoDocument):
		writeJSON(w, http.StatusGone, map[string]string{"error": "DidDeactivated", "message": "The account of this DID was deleted"})
	case errors.Is(err, store.ErrNotFound):
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "DidNotFound", "message": "There is no DID of this name"})
	default:
		s.log.ErrorContext(r.Context(), "serve a DID document", "host", host, "err", err)
		writeJSON(w, http.StatusInternalServerError, map[string]string{"error": "InternalServerError", "message": "Internal Server Error"})
	}
}

// servesHost tells whether a host name is one that people come to: the server's own, an active account's handle, or that of a DID whose document is here.
func (s *Server) servesHost(ctx context.Context, host string) bool {
	handle, err := syntax.ParseHandle(host)
	if err != nil || host == s.cfg.Hostname {
		return host == s.cfg.Hostname
	}
	if _, err := s.accountOfHandle(ctx, handle); err == nil {
		return true
	}
	_, ok, err := s.ownDocument(ctx, syntax.DID("did:web:"+host))
	return ok && err == nil
}
