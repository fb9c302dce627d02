package web

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// leadHome brings who has come under a public host name that is not the server's to where its pages are. It returns true when it has answered.
//
// Handles are such names, and many belong to people: were there a page to sign in, its cookies would be sent to wherever the name's owner lets it point next. Links
// to handles are followed to our own address. Of other names nobody knows whether our address leads back to them, as behind a proxy that rewrites the
// Host: there it is said on a page. Names that are only known inside of a network, and numbers, are let be.
func (r *request) leadHome() (bool, error) {
	host := strings.TrimSuffix(r.site.opts.HostAsked(r.Request), ".")
	if host == r.site.host || !publicName(host) {
		return false, nil
	}
	r.abroad, r.Form = true, url.Values{} // what a form says is not read
	home := r.site.opts.PublicURL + r.URL.RequestURI()
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.site.opts.Host.ServesHost(r.Context(), host) {
		return true, r.redirect(home)
	}
	r.words = r.chooseLanguage()
	p := problem(http.StatusMisdirectedRequest, "elsewhere", "host", hostName(r.site.opts.PublicURL))
	p.link = home
	return false, p
}

// publicName tells whether a host name may be found in the DNS of the internet.
func publicName(host string) bool {
	return strings.Contains(host, ".") && net.ParseIP(host) == nil && syntax.Handle(host).AllowedTLD()
}
