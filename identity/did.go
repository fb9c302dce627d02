package identity

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// maxDocument bounds a DID document in bytes.
const maxDocument = 64 << 10

// fetchDID gets the document of a DID that passed checkDID.
func (r *Resolver) fetchDID(ctx context.Context, did syntax.DID) (*Document, error) {
	raw, err := r.fetchDocument(ctx, did)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", did, err)
	}
	return ParseDocument(did, raw)
}

func (r *Resolver) fetchDocument(ctx context.Context, did syntax.DID) ([]byte, error) {
	if did.Method() == "plc" {
		raw, err := r.plc.Document(ctx, did)
		if err != nil {
			return nil, plcError(err)
		}
		return raw, nil
	}
	target, err := r.webURL(did)
	if err != nil {
		return nil, err
	}
	raw, err := readAll(ctx, r.client, target, "application/did+ld+json, application/json", maxDocument)
	switch {
	case err == nil:
		return raw, nil
	case isStatus(err, http.StatusNotFound, http.StatusGone), isNoSuchHost(err):
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return nil, networkError("did:web", err)
}

// webURL returns where the document of a did:web is. atproto allows a host name
// only: no path, and no port but for localhost in development.
func (r *Resolver) webURL(did syntax.DID) (string, error) {
	id := did.Identifier()
	if host, ok := r.localhost(id); ok {
		return "http://" + host + "/.well-known/did.json", nil
	}
	if strings.ContainsAny(id, ":%") {
		return "", fmt.Errorf("%w: did:web must be a host name only: %s", ErrSyntax, did)
	}
	host, err := syntax.ParseHandle(id)
	if err != nil || host.Normalize() != host {
		return "", fmt.Errorf("%w: did:web is not a lower-case host name: %s", ErrSyntax, did)
	}
	if err := r.checkTLD(host); err != nil {
		return "", err
	}
	return "https://" + host.String() + "/.well-known/did.json", nil
}

// localhost reads "localhost" and "localhost%3A2583", which are for development.
func (r *Resolver) localhost(id string) (host string, ok bool) {
	rest, ok := strings.CutPrefix(id, "localhost")
	if !ok || !r.opts.AllowPrivate {
		return "", false
	}
	if rest == "" {
		return "localhost", true
	}
	port, ok := strings.CutPrefix(rest, "%3A")
	if n, err := strconv.ParseUint(port, 10, 16); !ok || err != nil || n == 0 {
		return "", false
	}
	return "localhost:" + port, true
}
