package pds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/proxy"
	"perch/xrpc"
)

// Ids of services in DID documents.
const (
	serviceAppView = "bsky_appview"
	serviceNotify  = "bsky_notif"
	serviceFeed    = "bsky_fg"
)

// isAppView tells whether a service is the AppView that this server is set up with.
func (s *Server) isAppView(t proxy.Target) bool {
	return t.DID.String() == s.cfg.AppViewDID && t.Service == serviceAppView
}

const feedCollection = syntax.NSID("app.bsky.feed.generator")

// getFeed passes a request for a feed on to the AppView, with a token for the service that makes the feed: the AppView asks it with that.
func (s *Server) getFeed(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	caller := callerOf(ctx)
	call, err := s.callFor(ctx, r, caller)
	if err != nil {
		return err
	}
	service, err := s.feedService(ctx, r.URL.Query().Get("feed"))
	if err != nil {
		return err
	}
	const skeleton = syntax.NSID("app.bsky.feed.getFeedSkeleton")
	if err := caller.Check(skeleton, service.String()+"#"+serviceFeed); err != nil {
		return err
	}
	call.Aud, call.Lxm = service.String(), skeleton.String()
	return s.proxy.Forward(w, r, call)
}

// feedService finds the DID of the service that makes a feed, in the feed's record, which the AppView has.
func (s *Server) feedService(ctx context.Context, feed string) (syntax.DID, error) {
	unknown := xrpc.NewError(400, "UnknownFeed", "could not resolve feed did")
	uri, err := syntax.ParseATURI(feed)
	if err != nil || uri.Collection() != feedCollection || uri.RecordKey() == "" {
		return "", unknown
	}
	const method = syntax.NSID("com.atproto.repo.getRecord")
	target, err := s.proxy.Default(method)
	if err != nil {
		return "", err
	}
	query := url.Values{"repo": {uri.Authority().String()}, "collection": {feedCollection.String()}, "rkey": {uri.RecordKey().String()}}
	resp, err := s.proxy.Fetch(ctx, proxy.Call{Method: method, Target: target, Query: query.Encode()})
	var refused *proxy.Error
	if errors.As(err, &refused) && (refused.Status == http.StatusBadRequest || refused.Status == http.StatusNotFound) {
		unknown.Err = err
		return "", unknown
	}
	if err != nil {
		return "", err
	}
	var record struct {
		Value struct {
			DID string `json:"did"`
		} `json:"value"`
	}
	if err := json.Unmarshal(resp.Body, &record); err != nil {
		return "", unknown
	}
	did, err := syntax.ParseDID(record.Value.DID)
	if err != nil {
		return "", unknown
	}
	return did, nil
}

// pushInput is the body of registerPush and unregisterPush, which goes on unchanged.
type pushInput struct {
	service syntax.DID
	body    []byte
}

// UnmarshalJSON keeps a copy of the whole body beside what is needed here.
func (in *pushInput) UnmarshalJSON(b []byte) error {
	var fields struct {
		ServiceDID syntax.DID `json:"serviceDid"`
	}
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	in.service, in.body = fields.ServiceDID, bytes.Clone(b)
	return nil
}

// registerPush passes a device on to the notification service that the body names, or takes it back there. An atproto-proxy header does not count:
// apps send one with every request.
func (s *Server) registerPush(ctx context.Context, in *pushInput) (*struct{}, error) {
	caller := callerOf(ctx)
	method := syntax.NSID(xrpc.NSID(ctx))
	if err := caller.Check(method, in.service.String()+"#"+serviceNotify); err != nil {
		return nil, err
	}
	target, err := s.notifyService(ctx, in.service)
	if err != nil {
		return nil, err
	}
	_, err = s.proxy.Fetch(ctx, proxy.Call{
		User:   caller.DID,
		Method: method,
		Target: target,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   bytes.NewReader(in.body),
		Length: int64(len(in.body)),
	})
	return &struct{}{}, err
}

func (s *Server) notifyService(ctx context.Context, did syntax.DID) (proxy.Target, error) {
	if did.String() == s.cfg.AppViewDID {
		return s.proxy.Service(ctx, did, serviceAppView)
	}
	t, err := s.proxy.Service(ctx, did, serviceNotify)
	if err != nil {
		return t, &xrpc.Error{Status: 400, Name: "InvalidRequest", Message: "invalid notification service details in did document: " + did.String(), Err: err}
	}
	return t, nil
}

// elsewhere answers a method that has an answer here in case the request names another AppView: then the answer is that one's. It returns nil when
// the method is to be answered here. body is the request's, nil for a query.
func (s *Server) elsewhere(ctx context.Context, body []byte) (*proxy.Response, error) {
	r := xrpc.Request(ctx)
	if s.cfg.AppViewURL == "" || r.Header.Get(proxy.HeaderName) == "" || r.Header.Get(proxy.HeaderName) == s.cfg.AppViewDID+"#"+serviceAppView {
		return nil, nil
	}
	call, err := s.callFor(ctx, r, callerOf(ctx))
	if err != nil {
		return nil, err
	}
	if body != nil {
		call.Header = r.Header.Clone()
		call.Header.Set("Content-Type", "application/json")
		call.Body, call.Length = bytes.NewReader(body), int64(len(body))
	}
	resp, err := s.proxy.Fetch(ctx, call)
	if err != nil {
		return nil, err
	}
	for name, values := range resp.Header {
		if name != "Content-Type" {
			xrpc.Header(ctx)[name] = values
		}
	}
	return resp, nil
}
