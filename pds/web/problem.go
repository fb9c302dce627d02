package web

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"perch/pds/account"
	"perch/pds/store"
)

// pageProblem is an error that has a page of its own, under the keys problem.NAME.title and problem.NAME.text.
type pageProblem struct {
	status int
	name   string
	args   []any
	retry  time.Duration // how long to wait, when it will be over then; 0 for not known
	link   string        // where to go from here; "" for the account's first page, or the start page
	cause  error
}

// problemPage is what the template "problem" shows. ID and Link may be "".
type problemPage struct {
	Title, Text, ID, Link string
}

func (p *pageProblem) Error() string { return "page problem " + p.name }

// Unwrap returns the cause.
func (p *pageProblem) Unwrap() error { return p.cause }

func problem(status int, name string, args ...any) *pageProblem {
	return &pageProblem{status: status, name: name, args: args}
}

// fail shows an error as a page. Of those that nobody foresaw it shows the request's id, by which the operator finds them in the log.
func (r *request) fail(err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return // the browser has left
	}
	p := problemOf(err)
	if p.unforeseen() {
		r.site.log.ErrorContext(r.Context(), "page", "path", r.URL.Path, "id", r.site.opts.RequestID(r.Request), "err", err)
	}
	if p.retry > 0 {
		r.w.Header().Set("Retry-After", strconv.Itoa(max(1, int(p.retry.Round(time.Second)/time.Second))))
	}
	err = r.renderStatus(p.status, "problem", problemPage{
		Title: r.t("problem."+p.name+".title", p.args...), Text: r.t("problem."+p.name+".text", p.args...), ID: r.problemID(p), Link: p.link,
	})
	if err != nil {
		r.site.log.ErrorContext(r.Context(), "show a problem", "err", err)
	}
}

func (r *request) problemID(p *pageProblem) string {
	if !p.unforeseen() {
		return ""
	}
	return r.site.opts.RequestID(r.Request)
}

// unforeseen tells whether the operator should know of it.
func (p *pageProblem) unforeseen() bool {
	return p.status >= http.StatusInternalServerError && p.retry == 0
}

// problemOf finds the page for an error.
func problemOf(err error) *pageProblem {
	var p *pageProblem
	var refused *Refused
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, ErrLimit):
		return problem(http.StatusTooManyRequests, "limit")
	case errors.Is(err, account.ErrTakendown):
		return problem(http.StatusForbidden, "takendown")
	case errors.Is(err, store.ErrNotFound):
		return problem(http.StatusNotFound, "missing")
	case errors.Is(err, store.ErrDiskFull), errors.Is(err, store.ErrClosed), errors.Is(err, ErrBusy):
		return problem(http.StatusServiceUnavailable, "busy")
	case errors.Is(err, ErrDirectory):
		return problem(http.StatusServiceUnavailable, "directory")
	case errors.As(err, &refused):
		return problem(http.StatusBadRequest, "refused", "reason", refused.Message)
	}
	return &pageProblem{status: http.StatusInternalServerError, name: "unexpected", cause: err}
}

// missing is the page for addresses where there is none.
func (s *Site) missing(*request) error { return problem(http.StatusNotFound, "missing") }
