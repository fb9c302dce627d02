package web

import (
	"net/http"
	"strings"
)

// secure sets what all pages have. Nothing may be put into a frame, and no page may load anything from elsewhere but the operator's pictures.
func (s *Site) secure(h http.Header, host string) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", s.policy(host, nil, nil))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), midi=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
	if s.https {
		h.Set("Strict-Transport-Security", "max-age=63072000")
	}
}

// policy is the Content-Security-Policy. Browsers hold the redirects that follow a form against form-action too, so the schemes of the sites where one may end stand
// there. Scripts and styles come from the files of the pages alone: what people upload stands at this origin, too, with a type of their choice.
func (s *Site) policy(host string, formTargets, images []string) string {
	files := "'self'"
	if plainHost(host) { // a policy has no form for IPv6 addresses
		files = host + assetPath
	}
	if public := hostName(s.opts.PublicURL); public != host && plainHost(public) { // a proxy may have changed the name
		files += " " + public + assetPath
	}
	return strings.Join([]string{
		"default-src 'none'",
		"script-src " + files,
		"style-src " + files,
		"connect-src 'self'",
		strings.Join(append(append([]string{"img-src 'self' data:"}, s.brand.imageOrigins...), images...), " "),
		strings.Join(append([]string{"form-action 'self'"}, formTargets...), " "),
		"frame-ancestors 'none'",
		"base-uri 'none'",
	}, "; ")
}
