package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"perch/identity/plc"
)

// InvalidHandle stands for the handle of an account that has no valid one.
const InvalidHandle = syntax.Handle("handle.invalid")

// Resolver finds DID documents and handles, and caches them. It is safe for
// concurrent use, asks once for what many want at the same time, and lets a
// caller go when its context ends.
type Resolver struct {
	opts    Options
	client  *http.Client
	plc     *plc.Client
	dns     []*net.Resolver // asked first
	backup  []*net.Resolver
	docs    *cache[syntax.DID, *Document]
	handles *cache[syntax.Handle, syntax.DID]
	flight  singleflight.Group
	slots   *semaphore.Weighted // of maxLookups
	plcSlot *semaphore.Weighted // of maxPLC

	// wellKnown makes the URL of a handle's HTTPS method; tests replace it.
	wellKnown func(syntax.Handle) string
}

// Identity is an account as seen from outside.
type Identity struct {
	DID    syntax.DID
	Handle syntax.Handle // InvalidHandle unless handle and DID name each other
	Doc    *Document
}

// ResolveDID returns the DID document of did, from the cache if it is good. The
// document is shared: do not change it. Errors: ErrSyntax, ErrUnsupportedMethod,
// ErrNotFound, ErrTombstoned, ErrMismatch, ErrInvalidDocument, ErrReserved,
// ErrBlocked, ErrTooLarge, ErrNetwork, and the context's.
func (r *Resolver) ResolveDID(ctx context.Context, did syntax.DID) (*Document, error) {
	if err := r.checkDID(did); err != nil {
		return nil, err
	}
	if doc, ok, err := r.localDocument(ctx, did); ok || err != nil {
		return doc, err
	}
	return answer(ctx, r.docs, did, r.startDID)
}

// Refresh fetches the document of did anew, whatever the cache holds, and keeps
// what it gets. It is for after a change; where strangers can cause it, use
// RefreshOlder.
func (r *Resolver) Refresh(ctx context.Context, did syntax.DID) (*Document, error) {
	if err := r.checkDID(did); err != nil {
		return nil, err
	}
	if doc, ok, err := r.localDocument(ctx, did); ok || err != nil {
		return doc, err
	}
	key := "refresh " + did.String()
	r.flight.Forget(key) // one that began earlier may know less
	return wait[*Document](ctx, r.flight.DoChan(key, func() (any, error) { return r.lookUpDID(did) }))
}

// localDocument returns the document of a DID if this server serves it.
func (r *Resolver) localDocument(ctx context.Context, did syntax.DID) (*Document, bool, error) {
	if r.opts.LocalDocument == nil {
		return nil, false, nil
	}
	raw, ok, err := r.opts.LocalDocument(ctx, did)
	if err != nil || !ok {
		return nil, false, err
	}
	doc, err := ParseDocument(did, raw)
	return doc, true, err
}

// RefreshOlder is Refresh if the cached answer is older than age, and otherwise
// ResolveDID. It is for signatures that do not verify: the key may have changed,
// and forged ones must not send a request to the directory each.
func (r *Resolver) RefreshOlder(ctx context.Context, did syntax.DID, age time.Duration) (*Document, error) {
	if had, ok := r.docs.age(did); ok && had <= age {
		return r.ResolveDID(ctx, did)
	}
	return r.Refresh(ctx, did)
}

// ResolveHandle returns the DID that handle names, this server's accounts
// first, then by the cache, DNS and HTTPS. It does not look at the DID document:
// only Lookup's answer is verified. Errors: ErrSyntax, ErrReserved,
// ErrHandleNotFound, ErrHandleAmbiguous, ErrBlocked, ErrTooLarge, ErrNetwork, and
// the context's.
func (r *Resolver) ResolveHandle(ctx context.Context, handle syntax.Handle) (syntax.DID, error) {
	handle, did, err := r.localHandle(ctx, handle)
	if err != nil || did != "" {
		return did, err
	}
	return answer(ctx, r.handles, handle, r.startHandle)
}

// localHandle returns the handle in its one form, and the DID if it is that of an account of this server.
func (r *Resolver) localHandle(ctx context.Context, handle syntax.Handle) (syntax.Handle, syntax.DID, error) {
	handle, err := r.checkHandle(handle)
	if err != nil || r.opts.Local == nil {
		return handle, "", err
	}
	if did, ok := r.opts.Local(ctx, handle); ok {
		return handle, did, nil
	}
	return handle, "", nil
}

// RefreshHandle resolves handle anew, whatever the cache holds.
func (r *Resolver) RefreshHandle(ctx context.Context, handle syntax.Handle) (syntax.DID, error) {
	handle, did, err := r.localHandle(ctx, handle)
	if err != nil || did != "" {
		return did, err
	}
	key := "refresh " + handle.String()
	r.flight.Forget(key)
	return wait[syntax.DID](ctx, r.flight.DoChan(key, func() (any, error) { return r.lookUpHandle(handle) }))
}

// Lookup returns the account that a handle or DID names, with its handle
// verified in both directions. A handle whose DID does not claim it is
// ErrHandleNotFound; a DID whose handle does not resolve back to it has
// InvalidHandle. Other errors are those of ResolveDID and ResolveHandle.
func (r *Resolver) Lookup(ctx context.Context, id syntax.AtIdentifier) (*Identity, error) {
	if id.IsDID() {
		return r.lookupDID(ctx, id.DID())
	}
	handle, err := r.checkHandle(id.Handle())
	if err != nil {
		return nil, err
	}
	did, err := r.ResolveHandle(ctx, handle)
	if err != nil {
		return nil, err
	}
	doc, err := r.ResolveDID(ctx, did)
	if err != nil {
		return nil, err
	}
	if claimed, _ := doc.Handle(); claimed != handle {
		return nil, fmt.Errorf("%w: %s names %s, which does not claim it", ErrHandleNotFound, handle, did)
	}
	return &Identity{DID: did, Handle: handle, Doc: doc}, nil
}

func (r *Resolver) lookupDID(ctx context.Context, did syntax.DID) (*Identity, error) {
	doc, err := r.ResolveDID(ctx, did)
	if err != nil {
		return nil, err
	}
	id := &Identity{DID: did, Handle: InvalidHandle, Doc: doc}
	claimed, ok := doc.Handle()
	if !ok {
		return id, nil
	}
	back, err := r.ResolveHandle(ctx, claimed)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil && back == did {
		id.Handle = claimed
	}
	return id, nil
}

// Purge forgets what the cache holds of a DID or handle, and what lookups under
// way will say of it.
func (r *Resolver) Purge(id syntax.AtIdentifier) {
	if id.IsDID() {
		r.flight.Forget("did " + id.String())
		r.docs.purge(id.DID())
		return
	}
	handle := id.Handle().Normalize()
	r.flight.Forget("handle " + handle.String())
	r.handles.purge(handle)
}

// startDID begins a lookup of did, or joins the one under way.
func (r *Resolver) startDID(did syntax.DID) <-chan singleflight.Result {
	return r.flight.DoChan("did "+did.String(), func() (any, error) {
		if doc, state, err := r.docs.get(did); state == fresh { // one ended just now
			return doc, err
		}
		return r.lookUpDID(did)
	})
}

// lookUpDID asks the network and keeps the answer. It works for whoever joins
// it, so no caller's context ends it.
func (r *Resolver) lookUpDID(did syntax.DID) (*Document, error) {
	begun := r.docs.begin()
	ctx, cancel := context.WithTimeout(context.Background(), r.opts.Timeout)
	defer cancel()
	slots := r.slots
	if did.Method() == "plc" {
		slots = r.plcSlot
	}
	if err := slots.Acquire(ctx, 1); err != nil {
		return nil, networkError("too many lookups", err)
	}
	defer slots.Release(1)
	old, _, _ := r.docs.get(did)
	doc, err := r.fetchDID(ctx, did)
	r.docs.put(did, begun, doc, err)
	if err == nil && old != nil && r.opts.Changed != nil && !bytes.Equal(old.Raw, doc.Raw) {
		r.opts.Changed(did)
	}
	return doc, err
}

// startHandle begins a lookup of handle, or joins the one under way.
func (r *Resolver) startHandle(handle syntax.Handle) <-chan singleflight.Result {
	return r.flight.DoChan("handle "+handle.String(), func() (any, error) {
		if did, state, err := r.handles.get(handle); state == fresh {
			return did, err
		}
		return r.lookUpHandle(handle)
	})
}

// lookUpHandle is lookUpDID for handles.
func (r *Resolver) lookUpHandle(handle syntax.Handle) (syntax.DID, error) {
	begun := r.handles.begin()
	ctx, cancel := context.WithTimeout(context.Background(), r.opts.Timeout)
	defer cancel()
	if err := r.slots.Acquire(ctx, 1); err != nil {
		return "", networkError("too many lookups", err)
	}
	defer r.slots.Release(1)
	did, err := r.fetchHandle(ctx, handle)
	r.handles.put(handle, begun, did, err)
	return did, err
}

// answer returns what the cache holds of key, if that is good, and else what a lookup finds. What is stale is given out once more, while a lookup is under way.
func answer[K comparable, V any](ctx context.Context, c *cache[K, V], key K, start func(K) <-chan singleflight.Result) (V, error) {
	v, state, err := c.get(key)
	switch state {
	case fresh:
		return v, err
	case stale:
		start(key)
		return v, nil
	}
	return wait[V](ctx, start(key))
}

// wait returns the outcome of a lookup, or lets go when ctx ends; the lookup
// itself goes on for others and for the cache.
func wait[T any](ctx context.Context, ch <-chan singleflight.Result) (T, error) {
	select {
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	case res := <-ch:
		v, _ := res.Val.(T)
		return v, res.Err
	}
}

// checkDID says whether did is one that can be resolved.
func (r *Resolver) checkDID(did syntax.DID) error {
	if _, err := syntax.ParseDID(did.String()); err != nil {
		return fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	switch did.Method() {
	case "plc":
		if err := plc.CheckDID(did); err != nil {
			return fmt.Errorf("%w: %w", ErrSyntax, err)
		}
		return nil
	case "web":
		_, err := r.webURL(did)
		return err
	}
	return fmt.Errorf("%w: %s", ErrUnsupportedMethod, did.Method())
}

// checkHandle returns the handle in lower case if it is one that can be resolved.
func (r *Resolver) checkHandle(handle syntax.Handle) (syntax.Handle, error) {
	if _, err := syntax.ParseHandle(handle.String()); err != nil {
		return "", fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	handle = handle.Normalize()
	if err := r.checkTLD(handle); err != nil {
		return "", err
	}
	return handle, nil
}

// reservedTLDs are never resolved; .test is, in development. Source:
// https://atproto.com/specs/handle#additional-non-syntax-restrictions
var reservedTLDs = []string{"alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion"}

func (r *Resolver) checkTLD(name syntax.Handle) error {
	tld := name.TLD()
	if slices.Contains(reservedTLDs, tld) || (tld == "test" && !r.opts.AllowPrivate) {
		return fmt.Errorf("%w: .%s", ErrReserved, tld)
	}
	return nil
}

// errNoAnswer marks a source of handles that knows nothing.
var errNoAnswer = errors.New("no answer")
