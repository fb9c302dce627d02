package pds

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/auth"
	"perch/pds/store"
	"perch/xrpc"
)

// What moderators act upon.
const (
	subjectRepo   = "com.atproto.admin.defs#repoRef"
	subjectRecord = "com.atproto.repo.strongRef"
	subjectBlob   = "com.atproto.admin.defs#repoBlobRef"
)

// subjectJSON is an account, a record, or a blob of an account; which, Type says.
type subjectJSON struct {
	Type      string     `json:"$type"`
	DID       syntax.DID `json:"did,omitempty"`
	URI       string     `json:"uri,omitempty"`
	CID       string     `json:"cid,omitempty"`
	RecordURI string     `json:"recordUri,omitempty"`
}

type statusAttr struct {
	Applied bool   `json:"applied"`
	Ref     string `json:"ref,omitempty"`
}

func takedownAttr(ref string) *statusAttr { return &statusAttr{Applied: ref != "", Ref: ref} }

type subjectStatus struct {
	Subject     subjectJSON `json:"subject"`
	Takedown    *statusAttr `json:"takedown,omitempty"`
	Deactivated *statusAttr `json:"deactivated,omitempty"`
}

func subjectNotFound(cause error) error {
	return &xrpc.Error{Status: 400, Name: "NotFound", Message: "Subject not found", Err: cause}
}

// suspensionMark makes the takedown of an account a suspension when it is a word of the reference: the moderation service of the Bluesky network
// writes BSKY-SUSPEND-… for takedowns that will end by themselves.
const suspensionMark = "SUSPEND"

func isSuspension(ref string) bool {
	for _, word := range strings.Split(strings.ToUpper(ref), "-") {
		if word == suspensionMark {
			return true
		}
	}
	return false
}

// accountTakedown is the takedown of an account as moderators know it: a suspension is one, too.
func accountTakedown(a *store.Account) *statusAttr {
	if a.TakedownRef == "" && !a.SuspendedAt.IsZero() {
		return takedownAttr(suspensionMark + "-" + datetime(a.SuspendedAt))
	}
	return takedownAttr(a.TakedownRef)
}

type getSubjectStatusParams struct {
	DID  syntax.DID `query:"did"`
	URI  string     `query:"uri"`
	Blob string     `query:"blob"`
}

func (s *Server) getSubjectStatus(ctx context.Context, p *getSubjectStatusParams) (*subjectStatus, error) {
	switch {
	case p.Blob != "" && p.DID == "":
		return nil, xrpc.InvalidRequest("Must provide a did to request blob state")
	case p.Blob != "":
		return s.blobStatus(ctx, p.DID, p.Blob)
	case p.URI != "":
		return s.recordStatus(ctx, p.URI)
	case p.DID != "":
		return s.accountStatus(ctx, p.DID)
	}
	return nil, xrpc.InvalidRequest("No provided subject")
}

func (s *Server) accountStatus(ctx context.Context, did syntax.DID) (*subjectStatus, error) {
	acct, err := s.administered(ctx, did.AtIdentifier())
	if err != nil {
		return nil, err
	}
	return &subjectStatus{
		Subject:     subjectJSON{Type: subjectRepo, DID: did},
		Takedown:    accountTakedown(acct),
		Deactivated: &statusAttr{Applied: !acct.DeactivatedAt.IsZero()},
	}, nil
}

func (s *Server) recordStatus(ctx context.Context, raw string) (*subjectStatus, error) {
	acct, path, err := s.subjectRecord(ctx, raw)
	if err != nil {
		return nil, err
	}
	rec, err := s.store.Record(ctx, acct.ID, path)
	if errors.Is(err, store.ErrNotFound) {
		return nil, subjectNotFound(err)
	}
	if err != nil {
		return nil, err
	}
	subject := subjectJSON{Type: subjectRecord, URI: recordURI(acct.DID, path), CID: rec.CID.String()}
	return &subjectStatus{Subject: subject, Takedown: takedownAttr(rec.TakedownRef)}, nil
}

func (s *Server) blobStatus(ctx context.Context, did syntax.DID, raw string) (*subjectStatus, error) {
	acct, c, err := s.subjectBlob(ctx, did, raw)
	if err != nil {
		return nil, err
	}
	b, err := s.store.Blob(ctx, acct.ID, c)
	if errors.Is(err, store.ErrNotFound) {
		return nil, subjectNotFound(err)
	}
	if err != nil {
		return nil, err
	}
	return &subjectStatus{Subject: subjectJSON{Type: subjectBlob, DID: did, CID: c.String()}, Takedown: takedownAttr(b.TakedownRef)}, nil
}

// subjectRecord finds the account and the path that an AT URI of a record names.
func (s *Server) subjectRecord(ctx context.Context, raw string) (*store.Account, string, error) {
	uri, err := syntax.ParseATURI(raw)
	if err != nil || uri.Collection() == "" || uri.RecordKey() == "" {
		return nil, "", xrpc.InvalidRequest("uri must be that of a record: at://did/collection/rkey")
	}
	acct, err := s.administered(ctx, uri.Authority())
	if err != nil {
		return nil, "", err
	}
	return acct, uri.Collection().String() + "/" + uri.RecordKey().String(), nil
}

func (s *Server) subjectBlob(ctx context.Context, did syntax.DID, raw string) (*store.Account, cid.Cid, error) {
	c, err := cid.Decode(raw)
	if err != nil {
		return nil, cid.Undef, xrpc.InvalidRequest("cid is not a CID")
	}
	acct, err := s.administered(ctx, did.AtIdentifier())
	if err != nil {
		return nil, cid.Undef, err
	}
	return acct, c, nil
}

type updateSubjectStatusInput struct {
	Subject     subjectJSON `json:"subject"`
	Takedown    *statusAttr `json:"takedown"`
	Deactivated *statusAttr `json:"deactivated"`
}

// ref is under what the takedown is kept, "" to end it.
func (in *updateSubjectStatusInput) ref() string {
	switch {
	case !in.Takedown.Applied:
		return ""
	case in.Takedown.Ref != "":
		return in.Takedown.Ref
	}
	return datetime(time.Now())
}

// updateSubjectStatus takes an account, a record or a blob down, or restores it, and deactivates or activates an account.
func (s *Server) updateSubjectStatus(ctx context.Context, in *updateSubjectStatusInput) (*subjectStatus, error) {
	var err error
	switch in.Subject.Type {
	case subjectRepo:
		err = s.updateAccountStatus(ctx, in)
	case subjectRecord:
		err = s.takeDownRecord(ctx, in)
	case subjectBlob:
		err = s.takeDownBlob(ctx, in)
	default:
		err = xrpc.InvalidRequest("Invalid subject")
	}
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "status of a subject", "subject", in.Subject, "takedown", in.Takedown, "deactivated", in.Deactivated,
		"by", auth.From(ctx).DID)
	return &subjectStatus{Subject: in.Subject, Takedown: in.Takedown}, nil
}

func (s *Server) takeDownRecord(ctx context.Context, in *updateSubjectStatusInput) error {
	if in.Deactivated != nil {
		return xrpc.InvalidRequest("Only an account can be deactivated")
	}
	acct, path, err := s.subjectRecord(ctx, in.Subject.URI)
	if err != nil || in.Takedown == nil {
		return err
	}
	return s.takeDown(ctx, func(tx *store.Tx) error { return tx.SetRecordTakedown(ctx, acct.ID, path, in.ref()) })
}

func (s *Server) takeDownBlob(ctx context.Context, in *updateSubjectStatusInput) error {
	if in.Deactivated != nil {
		return xrpc.InvalidRequest("Only an account can be deactivated")
	}
	acct, c, err := s.subjectBlob(ctx, in.Subject.DID, in.Subject.CID)
	if err != nil || in.Takedown == nil {
		return err
	}
	return s.takeDown(ctx, func(tx *store.Tx) error { return tx.SetBlobTakedown(ctx, acct.ID, c, in.ref()) })
}

func (s *Server) takeDown(ctx context.Context, fn func(*store.Tx) error) error {
	err := s.store.Update(ctx, fn)
	if errors.Is(err, store.ErrNotFound) {
		return subjectNotFound(err)
	}
	return err
}

// updateAccountStatus changes the status of an account and tells the network. Asked for no change, it tells the network again.
func (s *Server) updateAccountStatus(ctx context.Context, in *updateSubjectStatusInput) error {
	acct, err := s.administered(ctx, in.Subject.DID.AtIdentifier())
	if err != nil {
		return err
	}
	down, off := in.Takedown, in.Deactivated
	if down != nil && down.Applied && off != nil && !off.Applied {
		return xrpc.InvalidRequest("An account cannot be taken down and activated at once")
	}
	if off != nil && !off.Applied && !acct.DeactivatedAt.IsZero() {
		if err := s.checkDocument(ctx, acct); err != nil {
			return err
		}
	}
	if down != nil {
		err = s.setAccountTakedown(ctx, acct.ID, in.ref())
	}
	if err == nil && off != nil && off.Applied == acct.DeactivatedAt.IsZero() {
		err = s.setDeactivated(ctx, acct.ID, off.Applied)
	}
	if err == nil && down == nil && off == nil {
		err = s.store.Update(ctx, func(tx *store.Tx) error {
			now, err := tx.AccountByID(ctx, acct.ID)
			if err != nil {
				return err
			}
			return appendAccountEvent(tx, now)
		})
	}
	if err == nil {
		s.relay.Notify()
	}
	return err
}

func (s *Server) setAccountTakedown(ctx context.Context, id store.AccountID, ref string) error {
	switch {
	case ref == "":
		return s.accounts.Restore(ctx, id, tellStatus(ctx))
	case isSuspension(ref):
		return s.accounts.Suspend(ctx, id, true, tellStatus(ctx))
	}
	return s.accounts.Takedown(ctx, id, ref, tellStatus(ctx))
}

func (s *Server) setDeactivated(ctx context.Context, id store.AccountID, deactivated bool) error {
	if deactivated {
		return s.accounts.Deactivate(ctx, id, time.Time{}, tellStatus(ctx))
	}
	return s.activate(ctx, id)
}
