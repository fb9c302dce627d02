package repo

import (
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

// Action is what a write or an operation does to a record.
type Action string

// The actions of operations, and Put, which only writes have.
const (
	Create Action = "create"
	Update Action = "update"
	Delete Action = "delete"
	Put    Action = "put" // create or update, whichever applies
)

// Write is a change asked for.
type Write struct {
	Action     Action
	Collection syntax.NSID
	RKey       syntax.RecordKey
	CID        cid.Cid // of Record; Undef for a delete
	Record     []byte  // canonical CBOR; nil for a delete
	Blobs      []BlobRef
	Subject    string   // what a like, repost, follow or block points to, for the duplicate rule; "": nothing
	Dedup      bool     // delete another record of the collection with the same Subject in the same commit
	IfExists   bool     // a delete of what is not there is no error
	Swap       *cid.Cid // nil: no check; &cid.Undef: must not exist; else the record's CID must be this
}

// NewWrite returns a write of a record, encoded and with its blobs. A delete has
// a nil record.
func NewWrite(action Action, collection syntax.NSID, rkey syntax.RecordKey, record map[string]any) (Write, error) {
	w := Write{Action: action, Collection: collection, RKey: rkey}
	if action == Delete {
		return w, nil
	}
	b, err := EncodeRecord(record)
	if err != nil {
		return Write{}, err
	}
	w.Record, w.CID, w.Blobs = b, CIDOf(b), BlobRefs(record)
	return w, nil
}

// Path returns the path of the record, its key in the tree.
func (w Write) Path() string { return w.Collection.String() + "/" + w.RKey.String() }

func (w Write) check() error {
	if w.Collection == "" || w.RKey == "" {
		return fmt.Errorf("%w: path %q", ErrInvalidRecord, w.Path())
	}
	switch w.Action {
	case Delete:
		if w.Record != nil || w.CID.Defined() {
			return fmt.Errorf("%w: delete of %s with a record", ErrInvalidRecord, w.Path())
		}
		return nil
	case Create, Update, Put:
	default:
		return fmt.Errorf("%w: action %q", ErrInvalidRecord, w.Action)
	}
	if len(w.Record) > MaxRecord {
		return fmt.Errorf("%w: record %s of %d bytes, at most %d", ErrTooLarge, w.Path(), len(w.Record), MaxRecord)
	}
	if len(w.Record) == 0 || w.CID != CIDOf(w.Record) {
		return fmt.Errorf("%w: %s does not have the CID of its record", ErrInvalidRecord, w.Path())
	}
	return nil
}

// Op is what a commit did to one record.
type Op struct {
	Action Action // Create, Update or Delete
	Path   string
	CID    cid.Cid // Undef for a delete
	Prev   cid.Cid // Undef for a create
}
