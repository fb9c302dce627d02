package identity

import (
	"fmt"
	"net/netip"
)

// special are the networks that no outbound request may reach: what is private,
// local, reserved or for documentation, and the IPv6 ranges that carry an IPv4
// address inside, which a router might unwrap. Source: the IANA special-purpose
// address registries.
var special = prefixes(
	"0.0.0.0/8",         // this network; Linux takes 0.0.0.0 for loopback
	"10.0.0.0/8",        // private
	"100.64.0.0/10",     // carrier-grade NAT
	"127.0.0.0/8",       // loopback
	"169.254.0.0/16",    // link-local, with the clouds' metadata services
	"172.16.0.0/12",     // private
	"192.0.0.0/24",      // protocol assignments
	"192.0.2.0/24",      // documentation
	"192.31.196.0/24",   // AS112
	"192.52.193.0/24",   // AMT
	"192.88.99.0/24",    // 6to4 relays
	"192.168.0.0/16",    // private
	"192.175.48.0/24",   // AS112
	"198.18.0.0/15",     // benchmarks
	"198.51.100.0/24",   // documentation
	"203.0.113.0/24",    // documentation
	"224.0.0.0/4",       // multicast
	"240.0.0.0/4",       // reserved, with broadcast
	"::/96",             // unspecified, loopback, IPv4-compatible
	"::ffff:0:0/96",     // IPv4-mapped
	"::ffff:0:0:0/96",   // IPv4-translated
	"64:ff9b::/96",      // NAT64
	"64:ff9b:1::/48",    // NAT64, local
	"100::/64",          // discard
	"100:0:0:1::/64",    // dummy
	"2001::/23",         // Teredo and other protocol assignments
	"2001:db8::/32",     // documentation
	"2002::/16",         // 6to4
	"2620:4f:8000::/48", // AS112
	"3fff::/20",         // documentation
	"5f00::/16",         // segment routing
	"fc00::/7",          // unique local
	"fe80::/10",         // link-local
	"fec0::/10",         // site-local, deprecated
	"ff00::/8",          // multicast
)

// globalUnicast6 is all of IPv6 that is handed out for the public network.
var globalUnicast6 = netip.MustParsePrefix("2000::/3")

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// CheckAddress returns ErrBlocked unless addr is an ordinary public unicast
// address. An IPv4 address inside an IPv6 one does not pass in any form.
func CheckAddress(addr netip.Addr) error {
	if !addr.IsValid() || addr.Zone() != "" {
		return fmt.Errorf("%w: %s", ErrBlocked, addr)
	}
	for _, p := range special {
		if p.Contains(addr) {
			return fmt.Errorf("%w: %s is in %s", ErrBlocked, addr, p)
		}
	}
	if addr.Is6() && !globalUnicast6.Contains(addr) {
		return fmt.Errorf("%w: %s is not public", ErrBlocked, addr)
	}
	return nil
}
