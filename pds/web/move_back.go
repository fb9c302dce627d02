package web

import (
	"errors"
	"net/http"
	"net/url"

	"perch/pds/migrate"
	"perch/pds/oauthclient"
	"perch/pds/store"
)

// MoveCallbackPath is where browsers come back that have signed in at an account's old server.
const MoveCallbackPath = "/perch/migrate/signed-in"

// moveCallback takes a browser back. One that the pages had sent away goes on to them: on a server for development it comes back to 127.0.0.1, where the cookies of
// localhost are not. The address has the code in it, so nothing is shown at it.
func (s *Site) moveCallback(r *request) error {
	r.w.Header().Set("Referrer-Policy", "no-referrer")
	q := r.URL.Query()
	if oauthclient.StateOf(q.Get("state")) == migrate.AwayState {
		return r.redirect(s.opts.PublicURL + movePath + "/signed-in?" + r.URL.RawQuery)
	}
	how := "done"
	err := s.opts.Host.MoveReturned(r.Context(), q)
	switch {
	case err == nil:
	case errors.Is(err, store.ErrNotFound):
		how = "late"
	case errors.Is(err, oauthclient.ErrRefused), errors.Is(err, oauthclient.ErrAnswer):
		how = "denied"
	default:
		how = "silent"
	}
	if err != nil && how != "late" { // anybody may make up an answer that nobody waits for
		s.log.WarnContext(r.Context(), "sign in at the old host", "err", err)
	}
	return r.redirect(movePath + "/came-back?" + url.Values{"how": {how}}.Encode())
}

// cameBack are the ends of a sign-in at the old server for a move that the operator has begun.
var cameBack = map[string]int{
	"done": http.StatusOK, "late": http.StatusNotFound, "denied": http.StatusBadRequest, "silent": http.StatusBadGateway,
}

// showCameBack says how the sign-in went.
func (s *Site) showCameBack(r *request) error {
	how := r.URL.Query().Get("how")
	status, ok := cameBack[how]
	if !ok {
		return problem(http.StatusNotFound, "missing")
	}
	return r.renderStatus(status, "problem", problemPage{Title: r.t("came-back." + how + "-title"), Text: r.t("came-back." + how + "-text")})
}
