package identity

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// maxWellKnown bounds the answer of the HTTPS method: a DID and some white space.
const maxWellKnown = 4 << 10

type handleAnswer struct {
	did syntax.DID
	err error // errNoAnswer: this source surely does not know the handle
}

// fetchHandle asks DNS and HTTPS at the same time. DNS wins, in an answer as in
// an ambiguity; the backup nameservers come last, and time is kept for them.
func (r *Resolver) fetchHandle(ctx context.Context, handle syntax.Handle) (syntax.DID, error) {
	first, cancel := context.WithCancel(ctx)
	if len(r.backup) > 0 {
		first, cancel = context.WithTimeout(ctx, r.opts.Timeout*2/3)
	}
	defer cancel()
	https := make(chan handleAnswer, 1)
	go func() {
		did, err := r.handleByHTTPS(first, handle)
		https <- handleAnswer{did, err}
	}()
	did, dnsErr := didByDNS(first, r.dns, "_atproto."+handle.String())
	if dnsErr == nil || errors.Is(dnsErr, ErrHandleAmbiguous) {
		return did, dnsErr
	}
	a := <-https
	if a.err == nil {
		return a.did, nil
	}
	backupErr := errNoAnswer
	if len(r.backup) > 0 {
		did, backupErr = didByDNS(ctx, r.backup, "_atproto."+handle.String())
		if backupErr == nil || errors.Is(backupErr, ErrHandleAmbiguous) {
			return did, backupErr
		}
	}
	return "", handleError(handle, dnsErr, a.err, backupErr)
}

// handleError is ErrHandleNotFound when every source said no, and otherwise
// tells what went wrong with those that said nothing.
func handleError(handle syntax.Handle, errs ...error) error {
	var bad []error
	for _, err := range errs {
		if !errors.Is(err, errNoAnswer) {
			bad = append(bad, err)
		}
	}
	if len(bad) == 0 {
		return fmt.Errorf("%w: %s", ErrHandleNotFound, handle)
	}
	return networkError("resolve handle "+handle.String(), errors.Join(bad...))
}

// didByDNS asks for the TXT records of a name, one server after the other until
// one answers; each has an equal share of the time that is left.
func didByDNS(ctx context.Context, servers []*net.Resolver, name string) (syntax.DID, error) {
	var last error
	for i, server := range servers {
		texts, err := lookupTXT(ctx, server, name+".", len(servers)-i)
		if err == nil {
			return didFromTXT(name, texts)
		}
		if isNoSuchHost(err) {
			return "", errNoAnswer
		}
		last = fmt.Errorf("DNS: %w", err)
	}
	return "", last
}

func lookupTXT(ctx context.Context, server *net.Resolver, name string, shares int) ([]string, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(shares))
		defer cancel()
	}
	return server.LookupTXT(ctx, name)
}

// didFromTXT reads the DID out of TXT records; records that are no "did=" and
// a DID are not meant for us.
func didFromTXT(name string, texts []string) (syntax.DID, error) {
	var found syntax.DID
	for _, text := range texts {
		value, ok := strings.CutPrefix(text, "did=")
		if !ok {
			continue
		}
		did, err := syntax.ParseDID(strings.TrimSpace(value))
		if err != nil {
			continue
		}
		if found != "" && found != did {
			return "", fmt.Errorf("%w: %s", ErrHandleAmbiguous, name)
		}
		found = did
	}
	if found == "" {
		return "", errNoAnswer
	}
	return found, nil
}

// handleByHTTPS asks the host itself.
func (r *Resolver) handleByHTTPS(ctx context.Context, handle syntax.Handle) (syntax.DID, error) {
	body, err := readAll(ctx, r.client, r.wellKnown(handle), "text/plain", maxWellKnown)
	if err != nil {
		if isNoSuchHost(err) || isNoAnswerStatus(err) {
			return "", errNoAnswer
		}
		return "", fmt.Errorf("HTTPS: %w", err)
	}
	did, err := syntax.ParseDID(strings.TrimSpace(string(body)))
	if err != nil { // a page for people, most often
		return "", errNoAnswer
	}
	return did, nil
}

// isNoAnswerStatus says whether err is a status by which a host says that it
// has no such thing, rather than that it is unwell.
func isNoAnswerStatus(err error) bool {
	var e *statusError
	return errors.As(err, &e) && e.status < 500 && e.status != http.StatusTooManyRequests && e.status != http.StatusRequestTimeout
}

// nameservers makes a DNS client for each "host" or "host:port".
func nameservers(addresses []string) []*net.Resolver {
	var out []*net.Resolver
	for _, a := range addresses {
		if _, _, err := net.SplitHostPort(a); err != nil {
			a = net.JoinHostPort(strings.Trim(a, "[]"), "53")
		}
		out = append(out, nameserver(a))
	}
	return out
}

// nameserver makes Go's resolver send what it asks to address only.
func nameserver(address string) *net.Resolver {
	var dialer net.Dialer
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
	}
}
