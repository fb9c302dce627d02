package pds

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/auth"
	"perch/pds/proxy"
	"perch/pds/readafter"
	"perch/pds/store"
	"perch/repo"
)

const (
	// overlayScan is how many of an account's newest posts are looked through for those that the AppView has not seen.
	overlayScan = 50
	// overlayTimeout bounds the look-ups that an overlay makes, on top of the answer that it is laid over.
	overlayTimeout = 5 * time.Second
	// cdnParts is how many parts of a picture's address the CDN pattern leaves open.
	cdnParts = 3

	headerRev = "Atproto-Repo-Rev"
	headerLag = "Atproto-Upstream-Lag"
)

// overlayFunc lays an Overlay over an AppView's answer to a request with these parameters.
type overlayFunc func(v *readafter.Overlay, ctx context.Context, body []byte, params url.Values) ([]byte, error)

func overProfile(v *readafter.Overlay, _ context.Context, body []byte, _ url.Values) ([]byte, error) {
	return v.Profile(body)
}

func overProfiles(v *readafter.Overlay, _ context.Context, body []byte, _ url.Values) ([]byte, error) {
	return v.Profiles(body)
}

func overLikes(v *readafter.Overlay, _ context.Context, body []byte, _ url.Values) ([]byte, error) {
	return v.Likes(body)
}

// overlaid passes a read on to the AppView and lays over the answer what the caller has written and the AppView has not seen yet. When the request
// names another service, the answer is passed on as it is.
func (s *Server) overlaid(over overlayFunc) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx := r.Context()
		call, err := s.callFor(ctx, r, callerOf(ctx))
		if err != nil {
			return err
		}
		if !s.isAppView(call.Target) || r.Method == http.MethodHead {
			return s.proxy.Forward(w, r, call)
		}
		resp, err := s.proxy.Fetch(ctx, call)
		if err != nil {
			if resp = s.missing(ctx, r, call, err); resp == nil {
				return err
			}
			return resp.Write(w)
		}
		s.lay(ctx, r, call, over, resp)
		return resp.Write(w)
	}
}

// lay changes the answer. Whatever goes wrong leaves it as it is: an answer without the newest posts is better than none.
func (s *Server) lay(ctx context.Context, r *http.Request, call proxy.Call, over overlayFunc, resp *proxy.Response) {
	if !isJSON(resp.Header) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, overlayTimeout)
	defer cancel()
	v, err := s.overlayFor(ctx, call, resp.Header)
	if err == nil && v != nil {
		var body []byte
		if body, err = over(v, ctx, resp.Body, r.URL.Query()); err == nil {
			resp.Body = body
			resp.Header.Set(headerLag, lagOf(v))
		}
	}
	if err != nil {
		s.log.WarnContext(ctx, "lay new records over an answer", "method", call.Method, "did", call.User, "err", err)
	}
}

// missing answers a request for a thread that the AppView does not have yet, because the caller has only just written the post; else nil.
func (s *Server) missing(ctx context.Context, r *http.Request, call proxy.Call, cause error) *proxy.Response {
	var refused *proxy.Error
	if call.Method != "app.bsky.feed.getPostThread" || !errors.As(cause, &refused) || refused.Name != "NotFound" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, overlayTimeout)
	defer cancel()
	v, err := s.overlayFor(ctx, call, refused.Header)
	if err != nil || v == nil {
		return nil
	}
	uri := r.URL.Query().Get("uri")
	acct := auth.From(ctx).Account
	if path, ok := strings.CutPrefix(uri, "at://"+acct.Handle.String()+"/"); ok {
		uri = recordURI(acct.DID, path)
	}
	body, err := v.MissingThread(ctx, uri, r.URL.Query())
	if err != nil || body == nil {
		return nil
	}
	return &proxy.Response{Header: http.Header{
		"Content-Type": {"application/json; charset=utf-8"},
		headerRev:      refused.Header.Values(headerRev),
		headerLag:      {lagOf(v)},
	}, Body: body}
}

// lagOf is how far the AppView is behind what the caller has written, in milliseconds.
func lagOf(v *readafter.Overlay) string {
	return strconv.FormatInt(max(0, time.Since(v.Since()).Milliseconds()), 10)
}

func isJSON(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "application/json")
}

// overlayFor collects what the caller has written since the revision in an answer's header; nil when there is nothing.
func (s *Server) overlayFor(ctx context.Context, call proxy.Call, header http.Header) (*readafter.Overlay, error) {
	rev, err := syntax.ParseTID(header.Get(headerRev))
	if err != nil {
		return nil, nil // the AppView does not say what it has seen
	}
	acct := auth.From(ctx).Account
	records, err := s.store.RecordsSince(ctx, acct.ID, rev, []syntax.NSID{readafter.ProfileCollection, readafter.PostCollection}, overlayScan)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	opts := readafter.Options{
		DID:      acct.DID,
		Handle:   acct.Handle,
		ImageURL: func(preset, cid string) string { return s.cfg.imageURL(preset, acct.DID.String(), cid) },
		Lookup: func(ctx context.Context, method syntax.NSID, params url.Values) ([]byte, error) {
			resp, err := s.proxy.Fetch(ctx, proxy.Call{User: call.User, Method: method, Target: call.Target, Query: params.Encode(), Header: call.Header})
			if err != nil {
				return nil, err
			}
			return resp.Body, nil
		},
	}
	for i := range records {
		rec := &records[i]
		if view, ok := s.overlayRecord(acct.DID, rec); ok && strings.HasPrefix(rec.Path, readafter.PostCollection.String()+"/") {
			opts.Posts = append(opts.Posts, view)
		} else if ok {
			opts.Profile, opts.FreshProfile = view.Value, view.Time
		}
	}
	if opts.Profile == nil {
		if opts.Profile, err = s.profileOf(ctx, acct); err != nil {
			return nil, err
		}
	}
	if v := readafter.New(opts); !v.Empty() {
		return v, nil
	}
	return nil, nil
}

// overlayRecord makes a record of the store ready to be shown; false when it must not or cannot be.
func (s *Server) overlayRecord(did syntax.DID, rec *store.Record) (readafter.Record, bool) {
	collection, rkey, _ := strings.Cut(rec.Path, "/")
	if rec.TakedownRef != "" {
		return readafter.Record{}, false
	}
	data, err := repo.DecodeRecord(rec.Body)
	if err != nil {
		return readafter.Record{}, false
	}
	// The AppView shows no record that does not fit its lexicon, so neither does the overlay.
	if _, err := s.lexicons.ValidateRecord(syntax.NSID(collection), syntax.RecordKey(rkey), data); err != nil {
		return readafter.Record{}, false
	}
	value, err := repo.AppendJSON(nil, rec.Body)
	if err != nil {
		return readafter.Record{}, false
	}
	return readafter.Record{URI: recordURI(did, rec.Path), CID: rec.CID.String(), Time: rec.Rev.Time(), Value: value}, true
}

// profileOf reads the caller's profile as JSON, nil when there is none to show.
func (s *Server) profileOf(ctx context.Context, acct *store.Account) ([]byte, error) {
	rec, err := s.store.Record(ctx, acct.ID, readafter.ProfileCollection.String()+"/self")
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	view, _ := s.overlayRecord(acct.DID, &rec)
	return view.Value, nil
}

// imageURL is where a blob is shown as a picture: on the AppView's CDN, if its pattern is known, else here.
func (c *Config) imageURL(preset, did, cid string) string {
	if c.AppViewCDNPattern == "" {
		return c.PublicURL() + "/xrpc/com.atproto.sync.getBlob?" + url.Values{"did": {did}, "cid": {cid}}.Encode()
	}
	address := c.AppViewCDNPattern
	for _, part := range [cdnParts]string{preset, did, cid} {
		address = strings.Replace(address, "%s", part, 1)
	}
	return address
}
