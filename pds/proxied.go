package pds

import (
	"context"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/auth"
	"perch/pds/proxy"
	"perch/xrpc"
)

// proxied answers methods that this server does not have, by passing them on in the caller's name.
func (s *Server) proxied(w http.ResponseWriter, r *http.Request) error {
	ctx, err := s.auth.Standard(auth.Takendown, auth.Deactivated)(r.Context(), r)
	if err != nil {
		return err
	}
	p := auth.From(ctx)
	caller := proxy.Caller{
		DID:        p.DID,
		Privileged: p.IsPrivileged(),
		Allow:      func(method, _ string) error { return p.MayCall(syntax.NSID(method)) },
	}
	if p.Account != nil {
		caller.Status = p.Account.Status()
	}
	return s.proxy.Serve(w, r.WithContext(ctx), caller)
}

// foreignRecord asks the AppView for a record of an account that is not (any more) on this server.
func (s *Server) foreignRecord(ctx context.Context, p *getRecordParams) (*recordOutput, error) {
	const method = syntax.NSID("com.atproto.repo.getRecord")
	notHere := xrpc.NewError(400, "RecordNotFound", "Could not locate record")
	target, err := s.proxy.Default(method)
	if err != nil {
		return nil, notHere
	}
	r := xrpc.Request(ctx)
	resp, err := s.proxy.Fetch(ctx, proxy.Call{Method: method, Target: target, Query: r.URL.RawQuery, Header: r.Header})
	if err != nil {
		return nil, err
	}
	return &recordOutput{json: resp.Body}, nil
}
