package web

import (
	"errors"
	"net/http"
	"net/url"
	"time"
	"unicode/utf8"

	"perch/pds/account"
)

const (
	// maxForm bounds a form that is sent here, in bytes.
	maxForm = 64 << 10
)

// request is one request for a page, and what is known of who makes it.
type request struct {
	*http.Request
	w    http.ResponseWriter
	site *Site

	abroad bool // it is for another host than ours: no cookie is given there or taken from there

	words   *words
	browser string          // the secret in the browser's cookie against forged requests; "" until one is needed
	device  *account.Device // nil when nobody is signed in

	flow *flow // the app that waits; nil when there is none

	files map[string]file // that came with the form, by the names of their fields

	// formTargets are the sites to which a form of this page may lead, beside our own.
	formTargets []string
	images      []string // sites of which the page shows pictures
}

// handler answers a request, or returns an error that problem.go knows how to show.
type handler func(*request) error

// rule is what must be true before a page is served. It returns false when it has answered instead.
type rule func(*request) (bool, error)

// page registers a handler for a verb and path, as http.ServeMux has them.
func (s *Site) page(pattern string, h handler, rules ...rule) {
	s.register(pattern, (*request).plainForm, h, rules)
}

// filePage is page for a form that may hold files.
func (s *Site) filePage(pattern string, h handler, rules ...rule) {
	s.register(pattern, (*request).fileForm, h, rules)
}

func (s *Site) register(pattern string, read, h handler, rules []rule) {
	s.patterns = append(s.patterns, pattern)
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, hr *http.Request) { s.serve(w, hr, read, h, rules) })
}

func (s *Site) serve(w http.ResponseWriter, hr *http.Request, read, h handler, rules []rule) {
	r := &request{Request: hr, w: w, site: s, words: languages()[fallbackLanguage]}
	s.secure(w.Header(), hr.Host)
	if there, err := r.leadHome(); there {
		return
	} else if err != nil {
		r.fail(err)
		return
	}
	err := r.prepare(read)
	for _, rule := range rules {
		if err != nil {
			break
		}
		var ok bool
		if ok, err = rule(r); err == nil && !ok {
			return
		}
	}
	if err == nil {
		err = h(r)
	}
	if errors.Is(err, account.ErrSessionRevoked) {
		err = r.signInLate()
	}
	if err != nil {
		r.fail(err)
	}
}

// file registers a handler for what is the same for everybody. It asks nobody who they are: the answer may be kept by those in between, and no cookie may be in it.
func (s *Site) file(pattern string, h handler) {
	s.patterns = append(s.patterns, pattern)
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, hr *http.Request) {
		r := &request{Request: hr, w: w, site: s, words: languages()[fallbackLanguage]}
		s.secure(w.Header(), hr.Host)
		if err := h(r); err != nil {
			r.fail(err)
		}
	})
}

// prepare reads the form, finds out language and browser, and refuses forged forms.
func (r *request) prepare(read handler) error {
	r.words = r.chooseLanguage()
	if err := r.readForm(read); err != nil { // before it counts who is signed in: a form may come slowly
		return err
	}
	if cookie := r.cookie(deviceCookie); cookie != "" {
		d, err := r.site.opts.Accounts.OpenDevice(r.Context(), cookie, r.cookie(sittingCookie), r.site.opts.Visit(r.Request))
		if err != nil {
			return err
		}
		r.device = d
		switch {
		case d == nil:
			r.dropCookie(deviceCookie)
		case d.Cookie != "":
			r.keepDevice(d)
		}
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	return r.checkForgery()
}

// readForm reads what came with the request. Forms in parts, as files are sent in, are read on the pages that take files.
func (r *request) readForm(read handler) error {
	err := read(r)
	var known *pageProblem
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &long), errors.Is(err, errLongForm):
		return problem(http.StatusRequestEntityTooLarge, "form")
	}
	for name, values := range r.Form {
		for _, text := range append(values, name) {
			if !utf8.ValidString(text) {
				err = errNoText
			}
		}
	}
	if err != nil {
		return problem(http.StatusBadRequest, "form")
	}
	return nil
}

var (
	errNoText   = errors.New("a field is not UTF-8")
	errLongForm = errors.New("a form is too long")
)

// current is the account that the page is about; nil when nobody is signed in.
func (r *request) current() *account.SignedIn {
	if r.device == nil {
		return nil
	}
	return r.device.Current
}

// keepDevice gives the browser the cookie that says who is signed in.
func (r *request) keepDevice(d *account.Device) {
	r.device = d
	var age time.Duration
	if d.Remembered() {
		age = account.RememberedLifetime
	}
	r.setCookie(deviceCookie, d.Cookie, age)
	if d.Sitting != "" {
		r.setCookie(sittingCookie, d.Sitting, 0)
	}
}

// signedIn lets in those who are signed in, and leads others to the sign-in and back.
func signedIn(r *request) (bool, error) {
	if r.current() != nil {
		return true, nil
	}
	return false, r.redirect(withNext("/account/sign-in", r.here()))
}

// here is the page to come back to: this one, or the one with the form that was sent here.
func (r *request) here() string {
	if r.Method == http.MethodGet {
		return r.URL.RequestURI()
	}
	return r.URL.Path
}

// limit lets each account that is signed in, or else each address, do something so often in a window.
func limit(name string, points int, window time.Duration) rule {
	return func(r *request) (bool, error) {
		l := Limit{Name: "web " + name, Points: points, Window: window}
		if a := r.current(); a != nil {
			l.Key = string(a.Account.DID)
		}
		return true, r.take(l)
	}
}

// limitAddress lets each address do something so often in a window, whoever is signed in there: what strangers may do is not theirs again with each account of theirs.
func limitAddress(name string, points int, window time.Duration) rule {
	return func(r *request) (bool, error) {
		return true, r.take(Limit{Name: "web " + name, Points: points, Window: window})
	}
}

// take counts the request against a limit.
func (r *request) take(l Limit) error {
	wait, ok := r.site.opts.Take(r.Request, l)
	if ok {
		return nil
	}
	p := problem(http.StatusTooManyRequests, "limit")
	p.retry = wait
	return p
}

// redirect answers with another page to get.
func (r *request) redirect(to string) error {
	r.w.Header().Set("Cache-Control", "no-store")
	http.Redirect(r.w, r.Request, to, http.StatusSeeOther)
	return nil
}

// next is the page of ours that the visitor came from and wants to go on to; fallback if there is none.
func (r *request) next(fallback string) string {
	if to := localPath(r.FormValue("next")); to != "" {
		return to
	}
	return fallback
}

// withNext adds to a path the page to go on to.
func withNext(path, next string) string {
	if localPath(next) == "" {
		return path
	}
	return path + "?" + url.Values{"next": {next}}.Encode()
}

// t is the text of a key in the visitor's language.
func (r *request) t(key string, args ...any) string { return r.words.text(key, args...) }
