package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
)

const (
	browserSecretBytes = 24
	tokenField         = "token"
)

// checkForgery refuses a form that another site sent in the visitor's name. Two things stand in its way: what the browser says of where the request comes from
// (Sec-Fetch-Site, Origin), and a token that only our own pages hold.
func (r *request) checkForgery() error {
	if err := r.site.origins.Check(r.Request); err != nil {
		return problem(http.StatusForbidden, "forgery")
	}
	secret := r.cookie(browserCookie)
	if secret == "" {
		return problem(http.StatusForbidden, "cookies")
	}
	r.browser = secret
	want := r.tokenSum()
	got, err := base64.RawURLEncoding.DecodeString(r.PostForm.Get(tokenField))
	if err != nil || len(got) != 2*len(want) {
		return problem(http.StatusForbidden, "forgery")
	}
	mask, masked := got[:len(want)], got[len(want):]
	subtle.XORBytes(masked, masked, mask)
	if !hmac.Equal(masked, want) {
		return problem(http.StatusForbidden, "forgery")
	}
	return nil
}

// token is what forms of this page carry. It is different every time, so that its compressed length tells nothing of it.
func (r *request) token() string {
	r.needBrowser()
	sum := r.tokenSum()
	out := make([]byte, 2*len(sum))
	rand.Read(out[:len(sum)])
	subtle.XORBytes(out[len(sum):], sum, out[:len(sum)])
	return base64.RawURLEncoding.EncodeToString(out)
}

// tokenSum depends on the browser and on the account that its pages show: a form does not act for the account to which another tab has switched.
func (r *request) tokenSum() []byte {
	mac := hmac.New(sha256.New, []byte(r.browser))
	mac.Write([]byte("form"))
	if a := r.current(); a != nil {
		mac.Write([]byte(a.Account.DID))
	}
	return mac.Sum(nil)
}

// needBrowser makes sure that the browser has a secret.
func (r *request) needBrowser() {
	if r.browser == "" {
		r.browser = r.cookie(browserCookie)
	}
	if r.browser != "" {
		return
	}
	b := make([]byte, browserSecretBytes)
	rand.Read(b)
	r.browser = base64.RawURLEncoding.EncodeToString(b)
	r.setCookie(browserCookie, r.browser, 0)
}
