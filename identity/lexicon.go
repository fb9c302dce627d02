package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// LexiconAuthority returns the account that publishes the lexicons of an NSID's group, as DNS names it: for com.example.app.auth the TXT record at
// _lexicon.app.example.com. It does not go up to example.com. Errors: ErrNotFound, ErrHandleAmbiguous, ErrNetwork, and the context's.
func (r *Resolver) LexiconAuthority(ctx context.Context, nsid syntax.NSID) (syntax.DID, error) {
	labels := strings.Split(nsid.String(), ".")
	labels = labels[:len(labels)-1]
	slices.Reverse(labels)
	domain := strings.ToLower(strings.Join(labels, "."))
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	if err := r.slots.Acquire(ctx, 1); err != nil {
		return "", networkError("too many lookups", err)
	}
	defer r.slots.Release(1)
	did, err := didByDNS(ctx, r.dns, "_lexicon."+domain)
	if errors.Is(err, errNoAnswer) && len(r.backup) > 0 {
		did, err = didByDNS(ctx, r.backup, "_lexicon."+domain)
	}
	switch {
	case errors.Is(err, errNoAnswer):
		return "", fmt.Errorf("%w: authority of lexicon %s", ErrNotFound, nsid)
	case err != nil && !errors.Is(err, ErrHandleAmbiguous):
		return "", networkError("find the authority of lexicon "+nsid.String(), err)
	}
	return did, err
}
