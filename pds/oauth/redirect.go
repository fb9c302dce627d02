package oauth

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"perch/identity"
)

// hostPattern is what a host and port may be made of. URLs know more, and page headers, into which it goes, read some of that in other ways.
var hostPattern = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// checkRedirectURI tells what is wrong with a redirect URI that a client declares, "" when nothing is.
func checkRedirectURI(raw string, clientID *url.URL, native bool) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme == "" || len(raw) > maxURL:
		return "is no absolute URL"
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return "must not have a fragment"
	case u.User != nil:
		return "must not have a user name"
	case isLocal(u.Hostname()) && !isLoopbackIP(u.Hostname()):
		return "must not name a local host; the addresses 127.0.0.1 and [::1] are for programs on the same machine"
	}
	switch u.Scheme {
	case "http":
		if !native || !isLoopbackIP(u.Hostname()) {
			return "must use https; http is for programs that listen on 127.0.0.1 or [::1]"
		}
	case "https":
		if !hostPattern.MatchString(u.Host) || isLoopbackIP(u.Hostname()) {
			return "must name a host, in ASCII"
		}
		if native && clientID != nil && !sameOrigin(u, clientID) {
			return "must have the origin of the client_id, because the client is an installed program"
		}
	default:
		return checkPrivateScheme(raw, u, clientID, native)
	}
	return ""
}

// checkPrivateScheme: com.example.app:/path, for the client_id https://app.example.com/….
func checkPrivateScheme(raw string, u, clientID *url.URL, native bool) string {
	if !native || clientID == nil {
		return "may use a scheme of its own only for an installed program"
	}
	labels := strings.Split(clientID.Hostname(), ".")
	slices.Reverse(labels)
	if want := strings.Join(labels, "."); u.Scheme != want || !strings.Contains(want, ".") {
		return "must use the scheme " + strings.Join(labels, ".") + ", the host of the client_id backwards"
	}
	if rest := raw[len(u.Scheme)+1:]; !strings.HasPrefix(rest, "/") || strings.HasPrefix(rest, "//") {
		return "must have one slash after its scheme"
	}
	return ""
}

// allowsRedirect tells whether the client has declared the redirect URI. Those on the person's own machine may name any port, because programs take
// the one that is free: where none is declared, and for clients of development always.
func (c *client) allowsRedirect(uri string) bool {
	if slices.Contains(c.meta.RedirectURIs, uri) {
		return true
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || !isLoopbackIP(u.Hostname()) || u.User != nil || strings.Contains(uri, "#") {
		return false
	}
	return slices.ContainsFunc(c.meta.RedirectURIs, func(declared string) bool {
		d, err := url.Parse(declared)
		return err == nil && d.Scheme == "http" && (d.Port() == "" || c.localhost) && d.Hostname() == u.Hostname() &&
			d.EscapedPath() == u.EscapedPath() && d.RawQuery == u.RawQuery
	})
}

// isWeb tells whether browsers know the way to a redirect URI themselves.
func isWeb(uri string) bool {
	return strings.HasPrefix(uri, "https:") || strings.HasPrefix(uri, "http:")
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host)
}

func isLoopbackIP(host string) bool { return host == "127.0.0.1" || host == "::1" }

// isLocal tells whether a host name is one that only means something near here.
func isLocal(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" {
		return true
	}
	for _, suffix := range []string{".localhost", ".local", ".internal", ".localdomain"} {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && identity.CheckAddress(addr) != nil
}

// URL is the address that the browser is sent to, for modes other than FormPost.
func (r Response) URL() string {
	values := url.Values{}
	for _, p := range r.Params {
		values.Set(p.Name, p.Value)
	}
	u, err := url.Parse(r.RedirectURI)
	if err != nil {
		return r.RedirectURI // it was checked
	}
	if r.Mode == Fragment {
		return r.RedirectURI + "#" + values.Encode()
	}
	q := u.RawQuery
	if q != "" {
		q += "&"
	}
	u.RawQuery = q + values.Encode()
	return u.String()
}
