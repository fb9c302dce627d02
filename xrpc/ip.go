package xrpc

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// proxies knows whose word on the client's address is taken.
type proxies struct {
	nets            []netip.Prefix
	distrustPrivate bool
}

func newProxies(nets []netip.Prefix, distrustPrivate bool) proxies {
	return proxies{nets: slices.Clone(nets), distrustPrivate: distrustPrivate}
}

func (p proxies) trusts(a netip.Addr) bool {
	if !p.distrustPrivate && (a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()) {
		return true
	}
	return slices.ContainsFunc(p.nets, func(n netip.Prefix) bool { return n.Contains(a) })
}

// client returns the address of the client: that of the connection, or, when a trusted proxy
// made it, the last address in X-Forwarded-For that is none of ours. What stands further left
// may be anybody's invention.
func (p proxies) client(r *http.Request) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	addr := peer.Addr().Unmap().WithZone("")
	if !addr.IsValid() || !p.trusts(addr) {
		return addr
	}
	forwarded := r.Header["X-Forwarded-For"]
	for i := len(forwarded) - 1; i >= 0; i-- {
		for rest := forwarded[i]; rest != ""; {
			var hop string
			cut := strings.LastIndexByte(rest, ',')
			hop, rest = rest[cut+1:], rest[:max(cut, 0)]
			a, ok := parseHop(strings.TrimSpace(hop))
			if !ok {
				return addr
			}
			addr = a
			if !p.trusts(addr) {
				return addr
			}
		}
	}
	return addr
}

// parseHop reads an address that may carry a port.
func parseHop(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}
	ap, err := netip.ParseAddrPort(s)
	return ap.Addr().Unmap().WithZone(""), err == nil
}

// network returns the part of an address that one customer holds: an IPv4 address, or the /64
// of an IPv6 address.
func network(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}
