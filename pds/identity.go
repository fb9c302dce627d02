package pds

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/pds/store"
	"perch/xrpc"
)

type handleParams struct {
	Handle string `query:"handle"`
}

// resolveHandle answers for accounts of this server from the database, and asks the network for all others.
func (s *Server) resolveHandle(ctx context.Context, p *handleParams) (*didOnly, error) {
	handle, err := syntax.ParseHandle(p.Handle)
	if err != nil {
		return nil, xrpc.InvalidRequest("handle is not a valid handle: %.300q", p.Handle)
	}
	handle = handle.Normalize()
	did, err := s.accountOfHandle(ctx, handle)
	if err == nil {
		return &didOnly{DID: did}, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if !s.cfg.IsServiceHandle(handle) {
		did, err = s.identity.ResolveHandle(ctx, handle)
	}
	if err != nil {
		return nil, &xrpc.Error{Status: 400, Name: "HandleNotFound", Message: "Unable to resolve handle", Err: err}
	}
	return &didOnly{DID: did}, nil
}

// accountOfHandle finds the active account of this server with the handle, or store.ErrNotFound. The name of a did:web of ours that has moved away goes on being
// its handle.
func (s *Server) accountOfHandle(ctx context.Context, handle syntax.Handle) (syntax.DID, error) {
	acct, err := s.store.AccountByHandle(ctx, handle)
	if err == nil && acct.Active() {
		return acct.DID, nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	if !s.ownWebHost(handle.Normalize().String()) {
		return "", store.ErrNotFound
	}
	web, err := s.store.DIDWeb(ctx, handle.Normalize().String())
	if err == nil && (web.PDS == "" || web.Handle.String() != web.Host) {
		err = store.ErrNotFound
	}
	if err != nil {
		return "", err
	}
	return web.DID(), nil
}

type resolveDIDOutput struct {
	DIDDoc json.RawMessage `json:"didDoc"`
}

func (s *Server) resolveDID(ctx context.Context, p *didParams) (*resolveDIDOutput, error) {
	doc, err := s.identity.ResolveDID(ctx, p.DID)
	if err != nil {
		return nil, identityError(err, p.DID.AtIdentifier())
	}
	return &resolveDIDOutput{DIDDoc: doc.Raw}, nil
}

type identifierParams struct {
	Identifier syntax.AtIdentifier `query:"identifier"`
}

type identityInfo struct {
	DID    syntax.DID      `json:"did"`
	Handle syntax.Handle   `json:"handle"`
	DIDDoc json.RawMessage `json:"didDoc"`
}

func (s *Server) resolveIdentity(ctx context.Context, p *identifierParams) (*identityInfo, error) {
	id, err := s.identity.Lookup(ctx, p.Identifier)
	if err != nil {
		return nil, identityError(err, p.Identifier)
	}
	return &identityInfo{DID: id.DID, Handle: id.Handle, DIDDoc: id.Doc.Raw}, nil
}

type identifierInput struct {
	Identifier syntax.AtIdentifier `json:"identifier"`
}

// refreshIdentity looks the identity up again, past every cache.
func (s *Server) refreshIdentity(ctx context.Context, in *identifierInput) (*identityInfo, error) {
	s.identity.Purge(in.Identifier)
	out, err := s.resolveIdentity(ctx, &identifierParams{Identifier: in.Identifier})
	if err == nil {
		s.watcher.lookSoon(out.DID)
	}
	return out, err
}

// identityError gives the errors of a look-up the names of the identity lexicons. Whoever asks names the host to be asked, so a host that
// does not answer is the asker's mistake; only the PLC directory is ours to have.
func identityError(err error, id syntax.AtIdentifier) error {
	name := "DidNotFound"
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, identity.ErrTombstoned):
		name = "DidDeactivated"
	case errors.Is(err, identity.ErrNetwork) && strings.HasPrefix(id.String(), "did:plc:"):
		return &xrpc.Error{Status: 502, Name: xrpc.NameUpstreamFailure, Message: "The PLC directory does not answer. Try again later.", Err: err}
	case id.IsHandle():
		name = "HandleNotFound"
	}
	return &xrpc.Error{Status: 400, Name: name, Message: "Could not resolve " + id.String(), Err: err}
}
