package account

import (
	"context"
	"errors"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

const (
	minLabel  = 3
	maxLabel  = 18
	maxHandle = 244 // so that "_atproto." before it still makes a DNS name
)

// NormalizeHandle parses a handle and puts it in lower case. It refuses TLDs under which no account can be (ErrInvalidHandle).
func (s *Service) NormalizeHandle(raw string) (syntax.Handle, error) {
	h, err := syntax.ParseHandle(raw)
	if err != nil || len(raw) > maxHandle {
		return "", refuse(ErrInvalidHandle, "Input/handle must be a valid handle")
	}
	h = h.Normalize()
	if s.serviceDomain(h) == "" && (!h.AllowedTLD() || h.TLD() == "test" && !s.opts.AllowTest) {
		return "", refuse(ErrInvalidHandle, "Handle TLD is invalid or disallowed")
	}
	return h, nil
}

// CheckHandle tells whether the account may have the handle, apart from whether it is taken. Under a service domain the label must have 3 to 18
// letters, digits or hyphens and must not be a reserved name, unless allowReserved. Any other handle must resolve to did already; did is ""
// for an account that has none yet. Errors: ErrInvalidHandle, ErrHandleNotAvailable, ErrUnsupportedDomain.
func (s *Service) CheckHandle(ctx context.Context, raw string, did syntax.DID, allowReserved bool) (syntax.Handle, error) {
	h, err := s.NormalizeHandle(raw)
	if err != nil {
		return "", err
	}
	if domain := s.serviceDomain(h); domain != "" {
		if err := checkLabel(strings.TrimSuffix(string(h), domain), allowReserved); err != nil {
			return "", err
		}
		return h, s.checkWebName(ctx, h, did)
	}
	if did == "" || s.opts.ResolveHandle == nil {
		return "", refuse(ErrUnsupportedDomain, "Not a supported handle domain")
	}
	if got, err := s.opts.ResolveHandle(ctx, h); err != nil || got != did {
		return "", refuse(ErrInvalidHandle, "External handle did not resolve to DID")
	}
	return h, nil
}

// checkWebName refuses a name that is the host of somebody else's did:web, whether or not that account still is here.
func (s *Service) checkWebName(ctx context.Context, h syntax.Handle, did syntax.DID) error {
	web, err := s.store.DIDWeb(ctx, string(h))
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && web.DID() == did:
		return nil
	case err == nil:
		return refuse(store.ErrHandleTaken, "Handle already taken: %s", h)
	}
	return err
}

func checkLabel(label string, allowReserved bool) error {
	switch {
	case strings.Contains(label, "."):
		return refuse(ErrInvalidHandle, "Invalid characters in handle")
	case len(label) < minLabel:
		return refuse(ErrInvalidHandle, "Handle too short")
	case len(label) > maxLabel:
		return refuse(ErrInvalidHandle, "Handle too long")
	case !allowReserved && reservedNames[label]:
		return refuse(ErrHandleNotAvailable, "Reserved handle")
	}
	return nil
}

// serviceDomain returns the domain of ours that the handle is under, the longest if several fit; "" for none.
func (s *Service) serviceDomain(h syntax.Handle) string {
	found := ""
	for _, d := range s.opts.ServiceDomains {
		if strings.HasSuffix(string(h), d) && len(d) > len(found) {
			found = d
		}
	}
	return found
}

// IsServiceHandle tells whether the handle is under one of the domains in which the server hands out handles.
func (s *Service) IsServiceHandle(h syntax.Handle) bool { return s.serviceDomain(h.Normalize()) != "" }

// HoldHandle checks that an account may have a handle that is not its own, and holds it against those who sign up, until release. Until then no other handle is held for the
// account: of two changes at a time the DID could get one and the database the other. Errors: those of CheckHandle, store.ErrHandleTaken, ErrHandleChanging.
func (s *Service) HoldHandle(ctx context.Context, a *store.Account, raw string, allowReserved bool) (h syntax.Handle, release func(), err error) {
	if h, err = s.CheckHandle(ctx, raw, a.DID, allowReserved || sameHandle(raw, a.Handle)); err != nil {
		return "", nil, err
	}
	letGo, err := s.HoldChange(a)
	if err != nil {
		return "", nil, err
	}
	key := "handle " + string(h)
	taken := s.pending.hold(key) > 1
	release = func() {
		s.pending.release(key)
		letGo()
	}
	if !taken {
		var other *store.Account
		other, err = s.store.AccountByHandle(ctx, h)
		taken = err == nil && other.ID != a.ID
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
	}
	if taken {
		err = refuse(store.ErrHandleTaken, "Handle already taken: %s", h)
	}
	if err != nil {
		release()
		return "", nil, err
	}
	return h, release, nil
}

// HoldChange keeps other changes of the account's handle out until release. The error is ErrHandleChanging when one is under way.
func (s *Service) HoldChange(a *store.Account) (release func(), err error) {
	key := "handle of " + string(a.DID)
	if s.pending.hold(key) > 1 {
		s.pending.release(key)
		return nil, refuse(ErrHandleChanging, "Another change of the handle is under way. Try again in a moment.")
	}
	return func() { s.pending.release(key) }, nil
}

func sameHandle(raw string, h syntax.Handle) bool { return strings.EqualFold(raw, string(h)) }
