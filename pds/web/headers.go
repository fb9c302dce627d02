package web

import (
	"net/http"
	"strings"
)

// secure sets what all pages have. Nothing may be put into a frame, and no page may load anything from elsewhere but the operator's pictures.
func (s *Site) secure(h http.Header) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", s.policy(nil, nil))
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

// policy is the Content-Security-Policy. Browsers hold the redirects that follow a form against form-action too, so the sites where one may end stand there.
func (s *Site) policy(formTargets, images []string) string {
	return strings.Join([]string{
		"default-src 'none'",
		"script-src 'self'",
		"style-src 'self'",
		"connect-src 'self'",
		strings.Join(append(append([]string{"img-src 'self' data:"}, s.brand.imageOrigins...), images...), " "),
		strings.Join(append([]string{"form-action 'self'"}, formTargets...), " "),
		"frame-ancestors 'none'",
		"base-uri 'none'",
	}, "; ")
}
