package web

import (
	"bytes"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// facePath is where small pictures of public accounts are, by their DIDs.
const facePath = "/faces/"

// FacePath is where the small picture of an account is. The version changes with the picture, so that browsers may keep it.
func FacePath(did syntax.DID, version string) string {
	return facePath + did.String() + "?" + url.QueryEscape(version)
}

// PublicAccount is an account as visitors see it.
type PublicAccount struct {
	Handle, Name string
	Link, Face   string // addresses; Face is "" when there is no picture
}

// publicList is a page of the server's accounts.
type publicList struct {
	Accounts []PublicAccount
	Next     int64 // where the next page begins; 0: nowhere
	Later    bool  // this is not the first page
}

// home is what a person sees who opens the server's address in a browser.
func (s *Site) home(r *request) error {
	if !s.opts.PublicAccounts {
		return r.render("home", nil)
	}
	before, _ := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64)
	list, next, err := s.opts.Host.PublicAccounts(r.Context(), before)
	if err != nil {
		return err
	}
	return r.render("home", &publicList{list, next, before > 0})
}

// face sends the small picture of an account that is in the list.
func (s *Site) face(r *request) error {
	if err := r.take(Limit{Name: "web faces", Points: 1000, Window: 5 * time.Minute}); err != nil {
		return err
	}
	did, err := syntax.ParseDID(r.PathValue("did"))
	if err != nil {
		return problem(http.StatusNotFound, "missing")
	}
	picture, err := s.opts.Host.PublicFace(r.Context(), did)
	if err != nil {
		return err
	}
	h := r.w.Header()
	h.Set("Content-Type", "image/jpeg")
	h.Set("Cache-Control", "public, max-age=86400")
	http.ServeContent(r.w, r.Request, "", time.Time{}, bytes.NewReader(picture))
	return nil
}
