package web

import (
	"net/http"
	"time"
)

// Names of cookies. On https they get the prefix "__Host-", with which browsers take them from this very host only.
const (
	deviceCookie   = "perch-device"   // who is signed in
	sittingCookie  = "perch-sitting"  // that the browser was not closed since
	browserCookie  = "perch-browser"  // against forged requests
	languageCookie = "perch-language" // chosen by hand
	flashCookie    = "perch-flash"    // what the next page says
)

const languageLifetime = 365 * 24 * time.Hour

func (s *Site) cookieName(name string) string {
	if s.https {
		return "__Host-" + name
	}
	return name
}

func (r *request) cookie(name string) string {
	if r.abroad {
		return ""
	}
	c, err := r.Cookie(r.site.cookieName(name))
	if err != nil {
		return ""
	}
	return c.Value
}

// setCookie keeps a value for as long as given; zero: until the browser is closed.
func (r *request) setCookie(name, value string, age time.Duration) {
	if r.abroad {
		return
	}
	http.SetCookie(r.w, &http.Cookie{
		Name: r.site.cookieName(name), Value: value, Path: "/", MaxAge: int(age / time.Second),
		HttpOnly: true, Secure: r.site.https, SameSite: http.SameSiteLaxMode,
	})
}

func (r *request) dropCookie(name string) { r.setCookie(name, "", -time.Second) }
