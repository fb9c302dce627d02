package pds

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/pds/store"
	"perch/repo"
	"perch/xrpc"
)

type getRecordParams struct {
	Repo       syntax.AtIdentifier `query:"repo"`
	Collection syntax.NSID         `query:"collection"`
	RKey       syntax.RecordKey    `query:"rkey"`
	CID        string              `query:"cid"`
}

// recordOutput is one record as getRecord and listRecords show it. Its JSON is written straight from the stored CBOR.
type recordOutput struct {
	did  syntax.DID
	path string
	cid  string
	body []byte
	json []byte // the whole answer, when another service gave it
}

// AppendJSON appends {"uri","cid","value"}.
func (o *recordOutput) AppendJSON(dst []byte) ([]byte, error) {
	if o.json != nil {
		return append(dst, o.json...), nil
	}
	dst = append(dst, `{"uri":"at://`...)
	dst = append(dst, o.did...)
	dst = append(dst, '/')
	dst = append(dst, o.path...)
	dst = append(dst, `","cid":"`...)
	dst = append(dst, o.cid...)
	dst = append(dst, `","value":`...)
	dst, err := repo.AppendJSON(dst, o.body)
	return append(dst, '}'), err
}

func (s *Server) getRecord(ctx context.Context, p *getRecordParams) (*recordOutput, error) {
	acct, err := s.localAccount(ctx, p.Repo)
	if errors.Is(err, store.ErrNotFound) || err == nil && !acct.Active() {
		return s.foreignRecord(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	path := p.Collection.String() + "/" + p.RKey.String()
	rec, err := s.store.Record(ctx, acct.ID, path)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && rec.TakedownRef != "":
		return nil, recordNotFound(acct.DID, path)
	case err != nil:
		return nil, err
	case p.CID != "" && p.CID != rec.CID.String():
		return nil, recordNotFound(acct.DID, path)
	}
	return &recordOutput{did: acct.DID, path: path, cid: rec.CID.String(), body: rec.Body}, nil
}

func recordNotFound(did syntax.DID, path string) error {
	return &xrpc.Error{Status: 400, Name: "RecordNotFound", Message: "Could not locate record: " + recordURI(did, path)}
}

type listRecordsParams struct {
	Repo       syntax.AtIdentifier `query:"repo"`
	Collection syntax.NSID         `query:"collection"`
	Limit      int64               `query:"limit"`
	Cursor     string              `query:"cursor"`
	Reverse    bool                `query:"reverse"`
}

// listRecordsOutput is the answer of listRecords. Its records are read only when it is written, and straight into the buffer that is sent: a page of a hundred
// records as values, or in a buffer of its own, would cost more than to read them.
type listRecordsOutput struct {
	acct *store.Account
	read func(yield func(*store.RecordView) error) (more bool, err error)
	room int // that the records take, about
}

// AppendJSON appends {"records","cursor"}; the cursor is left out on the last page.
func (o *listRecordsOutput) AppendJSON(dst []byte) ([]byte, error) {
	dst = append(slices.Grow(dst, o.room), `{"records":[`...)
	var last []byte
	more, err := o.read(func(r *store.RecordView) (err error) {
		if last != nil {
			dst = append(dst, ',')
		}
		last = append(last[:0], r.RKey()...)
		dst, err = appendRecord(dst, o.acct.DID, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	dst = append(dst, ']')
	if more {
		dst = strconv.AppendQuote(append(dst, `,"cursor":`...), string(last))
	}
	return append(dst, '}'), nil
}

// appendRecord appends a record as one of a list.
func appendRecord(dst []byte, did syntax.DID, r *store.RecordView) ([]byte, error) {
	dst = append(dst, `{"uri":"at://`...)
	dst = append(dst, did...)
	dst = append(dst, '/')
	dst = append(dst, r.Path...)
	dst = append(dst, `","cid":"`...)
	dst = repo.AppendCID(dst, r.CID)
	dst = append(dst, `","value":`...)
	dst, err := repo.AppendJSON(dst, r.Body)
	return append(dst, '}'), err
}

// listedRecordBytes is what a record takes in the answer of listRecords, about.
const listedRecordBytes = 512

func (s *Server) listRecords(ctx context.Context, p *listRecordsParams) (*listRecordsOutput, error) {
	acct, err := s.readableRepo(ctx, p.Repo)
	if err != nil {
		return nil, err
	}
	if p.Cursor != "" {
		if _, err := syntax.ParseRecordKey(p.Cursor); err != nil {
			return nil, xrpc.InvalidRequest("cursor is not a record key: pass the cursor of the page before unchanged")
		}
	}
	read := func(yield func(*store.RecordView) error) (more bool, err error) {
		return s.store.Records(ctx, acct.ID, p.Collection, syntax.RecordKey(p.Cursor), int(p.Limit), p.Reverse, yield)
	}
	return &listRecordsOutput{acct: acct, read: read, room: int(p.Limit+1) * listedRecordBytes}, nil
}

type repoParams struct {
	Repo syntax.AtIdentifier `query:"repo"`
}

type describeRepoOutput struct {
	Handle          syntax.Handle   `json:"handle"`
	DID             syntax.DID      `json:"did"`
	DIDDoc          json.RawMessage `json:"didDoc"`
	Collections     []syntax.NSID   `json:"collections"`
	HandleIsCorrect bool            `json:"handleIsCorrect"`
}

func (s *Server) describeRepo(ctx context.Context, p *repoParams) (*describeRepoOutput, error) {
	acct, err := s.readableRepo(ctx, p.Repo)
	if err != nil {
		return nil, err
	}
	doc, err := s.identity.ResolveDID(ctx, acct.DID)
	if err != nil {
		return nil, &xrpc.Error{Status: 400, Name: "InvalidRequest", Message: "Could not resolve DID: " + acct.DID.String(), Err: err}
	}
	collections, err := s.store.Collections(ctx, acct.ID)
	if err != nil {
		return nil, err
	}
	return &describeRepoOutput{
		Handle:          acct.Handle,
		DID:             acct.DID,
		DIDDoc:          doc.Raw,
		Collections:     append([]syntax.NSID{}, collections...), // an empty list is no null
		HandleIsCorrect: s.handleIsCorrect(ctx, acct, doc),
	}, nil
}

// handleIsCorrect tells whether the document claims the account's handle and the handle resolves to the account.
func (s *Server) handleIsCorrect(ctx context.Context, acct *store.Account, doc *identity.Document) bool {
	if h, ok := doc.Handle(); !ok || h != acct.Handle {
		return false
	}
	did, err := s.identity.ResolveHandle(ctx, acct.Handle)
	return err == nil && did == acct.DID
}
