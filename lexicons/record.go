package lexicons

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

// ValidateRecord checks a record against the schema of its collection: $type equals the
// collection, the record key is of the kind the schema asks for, the data fit. data holds the
// types of indigo's atdata. known is false, and nothing is checked, when the catalog has no
// record schema for the collection. An error that speaks of the data is an *Error whose path
// begins with "Record".
func (c *Catalog) ValidateRecord(collection syntax.NSID, rkey syntax.RecordKey, data map[string]any) (known bool, err error) {
	if c.kinds[collection.String()] != KindRecord {
		return false, nil
	}
	d, err := c.document(collection.String())
	if err != nil {
		return true, err
	}
	if err := checkRecordKey(d.rkey, rkey.String()); err != nil {
		return true, err
	}
	typ, ok := data["$type"].(string)
	if !ok {
		return true, &Error{Path: "Record/$type", Reason: "must be a string"}
	}
	if typ != collection.String() {
		return true, &Error{Path: "Record/$type", Reason: fmt.Sprintf("must be %s, got %s", collection, typ)}
	}
	if e := c.checkObject(d.defs["main"].items, data); e != nil {
		return true, e.root("Record")
	}
	return true, nil
}

// checkRecordKey enforces the key kind of a record schema (spec: record-key): "tid", "nsid", "any", or "literal:" and the only key.
func checkRecordKey(kind, rkey string) error {
	switch kind {
	case "tid":
		if _, err := syntax.ParseTID(rkey); err != nil {
			return &Error{Path: "Record key", Reason: "must be a valid TID"}
		}
	case "nsid":
		if _, err := syntax.ParseNSID(rkey); err != nil {
			return &Error{Path: "Record key", Reason: "must be a valid nsid"}
		}
	default:
		if want, ok := strings.CutPrefix(kind, "literal:"); ok && rkey != want {
			return &Error{Path: "Record key", Reason: fmt.Sprintf("must be %q", want)}
		}
	}
	if _, err := syntax.ParseRecordKey(rkey); err != nil {
		return &Error{Path: "Record key", Reason: "must be a valid Record Key"}
	}
	return nil
}

func (c *Catalog) checkObject(n *node, obj map[string]any) *Error {
	for i := range n.props {
		p := &n.props[i]
		v, ok := obj[p.name]
		switch {
		case !ok:
			if p.required {
				return missing(p.name)
			}
		case v == nil && p.nullable:
		default:
			if err := c.checkValue(p.node, v); err != nil {
				return err.in(p.name)
			}
		}
	}
	return nil
}

// checkValue checks a value of the data model against a schema element.
func (c *Catalog) checkValue(n *node, v any) *Error {
	switch n.kind {
	case kindRef:
		return c.checkRef(n, v)
	case kindUnion:
		return c.checkUnion(n, v)
	case kindObject:
		if obj, ok := v.(map[string]any); ok {
			return c.checkObject(n, obj)
		}
		return mismatch("must be an object")
	case kindArray:
		return c.checkArray(n, v)
	case kindRecord:
		return c.checkEmbeddedRecord(n, v)
	case kindUnknown:
		if _, ok := v.(map[string]any); !ok {
			return mismatch("must be an object")
		}
		return nil
	default:
		return n.checkScalar(v)
	}
}

func (n *node) checkScalar(v any) *Error {
	switch n.kind {
	case kindString:
		if s, ok := v.(string); ok {
			return n.checkString(s)
		}
		return mismatch("must be a string")
	case kindInteger:
		if i, ok := v.(int64); ok {
			return n.checkInt(i)
		}
		return mismatch("must be an integer")
	case kindBoolean:
		if b, ok := v.(bool); ok {
			return n.checkBool(b)
		}
		return mismatch("must be a boolean")
	case kindBytes:
		if b, ok := v.(atdata.Bytes); ok {
			return n.checkBytesLen(len(b))
		}
		return mismatch("must be a byte array")
	case kindCIDLink:
		if _, ok := v.(atdata.CIDLink); ok {
			return nil
		}
		return mismatch("must be a CID")
	case kindBlob:
		if b, ok := v.(atdata.Blob); ok {
			return n.checkBlob(b.MimeType, b.Size)
		}
		return mismatch("should be a blob ref")
	default: // a token, or a definition that is no data at all
		return mismatch("is of a type that holds no data")
	}
}

func (c *Catalog) checkArray(n *node, v any) *Error {
	list, ok := v.([]any)
	if !ok {
		return mismatch("must be an array")
	}
	if err := n.checkArrayLen(len(list)); err != nil {
		return err
	}
	for i, item := range list {
		if err := c.checkValue(n.items, item); err != nil {
			return err.at(i)
		}
	}
	return nil
}

func (c *Catalog) checkRef(n *node, v any) *Error {
	to, err := c.follow(n)
	if err != nil {
		return mismatch("can not be checked: %v", err)
	}
	return c.checkValue(to, v)
}

// checkEmbeddedRecord checks a record in the place of an object, which must say so by its $type
// when it has one.
func (c *Catalog) checkEmbeddedRecord(n *node, v any) *Error {
	obj, ok := v.(map[string]any)
	if !ok {
		return mismatch("must be an object")
	}
	return c.checkObject(n.items, obj)
}

// checkUnion checks a value against the variant that its $type names. A variant that the union
// does not list is accepted when the union is open; when the catalog knows its schema, the data
// must fit it all the same.
func (c *Catalog) checkUnion(n *node, v any) *Error {
	obj, ok := v.(map[string]any)
	typ, isString := obj["$type"].(string)
	if !ok || !isString {
		return mismatch(`must be an object which includes the "$type" property`)
	}
	to, e := c.variant(n, typ)
	if e != nil || to == nil {
		return e
	}
	return c.checkValue(to, v)
}

// variant returns the definition that a union's $type leads to; nil when an open union lets an
// unknown type pass.
func (c *Catalog) variant(n *node, typ string) (*node, *Error) {
	listed := n.lists(typ)
	if !listed && n.closed {
		return nil, mismatch("$type must be one of %s", strings.Join(n.refs, ", "))
	}
	to, err := c.definition(typ)
	switch {
	case errors.Is(err, ErrUnknownSchema) && !listed:
		return nil, nil
	case err != nil:
		return nil, mismatch("can not be checked: %v", err)
	case !listed && to.kind != kindObject && to.kind != kindRecord:
		return nil, nil
	}
	return to, nil
}

func (n *node) lists(typ string) bool {
	typ = strings.TrimSuffix(typ, "#main")
	for _, ref := range n.refs {
		if ref == typ {
			return true
		}
	}
	return false
}
