package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// HandleSource is what one of the two ways to resolve a handle says of it.
type HandleSource struct {
	DID syntax.DID
	Err error // ErrHandleNotFound, ErrHandleAmbiguous, or why there is no answer
}

// HandleReport is what both ways say, for people who set a handle up.
type HandleReport struct{ DNS, HTTPS HandleSource }

// InspectHandle asks DNS and the host itself, apart from each other and past the cache. Errors: ErrSyntax, ErrReserved, and the context's.
func (r *Resolver) InspectHandle(ctx context.Context, handle syntax.Handle) (HandleReport, error) {
	handle, err := r.checkHandle(handle)
	if err != nil {
		return HandleReport{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	if err := r.slots.Acquire(ctx, 1); err != nil {
		return HandleReport{}, networkError("too many lookups", err)
	}
	defer r.slots.Release(1)
	https := make(chan HandleSource, 1)
	go func() { https <- reportOf(handle)(r.handleByHTTPS(ctx, handle)) }()
	report := HandleReport{DNS: reportOf(handle)(r.inspectDNS(ctx, handle))}
	report.HTTPS = <-https
	return report, nil
}

// inspectDNS asks the backup nameservers too when the first ones do not know the handle, as a lookup does.
func (r *Resolver) inspectDNS(ctx context.Context, handle syntax.Handle) (syntax.DID, error) {
	name := "_atproto." + handle.String()
	first, cancel := context.WithCancel(ctx)
	if len(r.backup) > 0 {
		first, cancel = context.WithTimeout(ctx, r.opts.Timeout*2/3)
	}
	defer cancel()
	did, err := didByDNS(first, r.dns, name)
	if err == nil || errors.Is(err, ErrHandleAmbiguous) || len(r.backup) == 0 {
		return did, err
	}
	return didByDNS(ctx, r.backup, name)
}

func reportOf(handle syntax.Handle) func(syntax.DID, error) HandleSource {
	return func(did syntax.DID, err error) HandleSource {
		if errors.Is(err, errNoAnswer) {
			err = fmt.Errorf("%w: %s", ErrHandleNotFound, handle)
		}
		return HandleSource{did, err}
	}
}
