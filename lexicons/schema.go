package lexicons

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

type nodeKind uint8

const (
	kindBoolean nodeKind = iota + 1
	kindInteger
	kindString
	kindBytes
	kindCIDLink
	kindBlob
	kindArray
	kindObject
	kindParams
	kindRef
	kindUnion
	kindUnknown
	kindToken
	kindRecord
	kindMethod
	kindPermissionSet
)

var nodeKinds = map[string]nodeKind{
	"boolean": kindBoolean, "integer": kindInteger, "string": kindString, "bytes": kindBytes,
	"cid-link": kindCIDLink, "blob": kindBlob, "array": kindArray, "object": kindObject,
	"params": kindParams, "ref": kindRef, "union": kindUnion, "unknown": kindUnknown,
	"token": kindToken, "record": kindRecord, "query": kindMethod, "procedure": kindMethod,
	"subscription": kindMethod, "permission-set": kindPermissionSet,
}

// definable are the kinds that may be a named definition, and whether only as "main".
var definable = map[nodeKind]bool{
	kindRecord: true, kindMethod: true, kindPermissionSet: true,
	kindBoolean: false, kindInteger: false, kindString: false, kindBytes: false, kindCIDLink: false,
	kindBlob: false, kindArray: false, kindObject: false, kindToken: false,
}

// document is a compiled schema file.
type document struct {
	defs map[string]*node
	rkey string  // for a record: the kind of its key
	main rawMain // for a method
	body methodNodes
}

// methodNodes are the compiled parts of a method; each may be nil.
type methodNodes struct {
	params, input, output *node
}

// node is one compiled schema element. Which fields matter depends on kind.
type node struct {
	kind     nodeKind
	closed   bool     // union
	limited  bool     // min or max bind
	glimited bool     // gmin or gmax bind
	hasConst bool     // enum holds a single constant
	format   string   // string
	min, max int64    // integer range; length of string, bytes, array; max: size of a blob
	gmin     int64    // string: graphemes
	gmax     int64    // string: graphemes
	refs     []string // ref: one; union: all, in full
	enum     []string // string: allowed values; blob: accepted types
	ints     []int64  // integer: allowed values
	items    *node    // array; record: its object
	props    []prop   // object, params: sorted by name
	def      any      // default: string, int64 or bool
	constant *bool    // boolean
}

// prop is one property of an object.
type prop struct {
	name     string
	node     *node
	required bool
	nullable bool
}

type rawDoc struct {
	Lexicon int
	ID      string
	Defs    map[string]*rawDef
}

// rawMain is what only methods have.
type rawMain struct {
	Type       Kind
	Parameters *rawDef
	Input      *rawBody
	Output     *rawBody
}

type rawBody struct {
	Encoding string
	Schema   *rawDef
}

// rawDef is a schema element of any type as it is written.
type rawDef struct {
	rawMain
	Type                       string
	Key                        string
	Record                     *rawDef
	Properties                 map[string]*rawDef
	Required, Nullable         []string
	Items                      *rawDef
	Ref                        string
	Refs                       []string
	Closed                     bool
	Format                     string
	MinLength, MaxLength       *int64
	MinGraphemes, MaxGraphemes *int64
	Minimum, Maximum           *int64
	MaxSize                    *int64
	Accept                     []string
	Enum                       json.RawMessage
	Const                      json.RawMessage
	Default                    json.RawMessage
}

// compile parses a schema file and checks it as far as using it needs.
func compile(nsid string, b []byte) (*document, error) {
	var raw rawDoc
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, err
	}
	if raw.Lexicon != 1 {
		return nil, fmt.Errorf("lexicon language version is %d, not 1", raw.Lexicon)
	}
	if _, err := syntax.ParseNSID(raw.ID); err != nil || raw.ID != nsid {
		return nil, fmt.Errorf("id %q is not the schema's NSID", raw.ID)
	}
	d := &document{defs: make(map[string]*node, len(raw.Defs))}
	for name, r := range raw.Defs {
		if err := d.define(nsid, name, r); err != nil {
			return nil, fmt.Errorf("#%s: %w", name, err)
		}
	}
	return d, nil
}

func (d *document) define(nsid, name string, r *rawDef) error {
	if r == nil || name == "" || strings.ContainsAny(name, "#.") {
		return fmt.Errorf("not a definition")
	}
	n, err := r.compile(nsid)
	if err != nil {
		return err
	}
	primary, ok := definable[n.kind]
	if !ok || primary && name != "main" {
		return fmt.Errorf("type %s may not be defined here", r.Type)
	}
	switch n.kind {
	case kindRecord:
		d.rkey = r.Key
	case kindMethod:
		if err := d.defineMethod(nsid, r); err != nil {
			return err
		}
	}
	d.defs[name] = n
	return nil
}

func (d *document) defineMethod(nsid string, r *rawDef) (err error) {
	d.main = r.rawMain
	d.main.Type = Kind(r.Type)
	if r.Parameters != nil {
		if d.body.params, err = r.Parameters.compile(nsid); err != nil {
			return err
		}
	}
	if r.Input != nil && r.Input.Schema != nil {
		if d.body.input, err = r.Input.Schema.compile(nsid); err != nil {
			return err
		}
	}
	if r.Output != nil && r.Output.Schema != nil {
		if d.body.output, err = r.Output.Schema.compile(nsid); err != nil {
			return err
		}
	}
	return nil
}

func (r *rawDef) compile(nsid string) (*node, error) {
	n := &node{kind: nodeKinds[r.Type], format: r.Format, closed: r.Closed, max: math.MaxInt64}
	var err error
	switch n.kind {
	case 0:
		return nil, fmt.Errorf("unknown type %q", r.Type)
	case kindRecord:
		if r.Key == "" || r.Record == nil || r.Record.Type != "object" {
			return nil, fmt.Errorf("record without key or object")
		}
		n.items, err = r.Record.compile(nsid)
	case kindObject, kindParams:
		err = n.compileProps(r, nsid)
	case kindArray:
		if r.Items == nil {
			return nil, fmt.Errorf("array without items")
		}
		n.limit(r.MinLength, r.MaxLength)
		n.items, err = r.Items.compile(nsid)
	case kindRef:
		n.refs = []string{fullRef(nsid, r.Ref)}
	case kindUnion:
		for _, ref := range r.Refs {
			n.refs = append(n.refs, fullRef(nsid, ref))
		}
	case kindBlob:
		n.limit(nil, r.MaxSize)
		n.enum = r.Accept
	default:
		err = n.compilePrimitive(r)
	}
	return n, err
}

func (n *node) compileProps(r *rawDef, nsid string) error {
	n.props = make([]prop, 0, len(r.Properties))
	for name, p := range r.Properties {
		if p == nil {
			return fmt.Errorf("property %q is empty", name)
		}
		c, err := p.compile(nsid)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		n.props = append(n.props, prop{name, c, slices.Contains(r.Required, name), slices.Contains(r.Nullable, name)})
	}
	sort.Slice(n.props, func(i, j int) bool { return n.props[i].name < n.props[j].name })
	if len(n.props) > maxProps {
		return fmt.Errorf("more than %d properties", maxProps)
	}
	for _, name := range slices.Concat(r.Required, r.Nullable) {
		if _, ok := r.Properties[name]; !ok {
			return fmt.Errorf("no property %q", name)
		}
	}
	return nil
}

func (n *node) compilePrimitive(r *rawDef) (err error) {
	read := func(b json.RawMessage, to any) {
		if b != nil && err == nil {
			err = json.Unmarshal(b, to)
		}
	}
	switch n.kind {
	case kindString:
		n.limit(r.MinLength, r.MaxLength)
		n.limitGraphemes(r.MinGraphemes, r.MaxGraphemes)
		read(r.Enum, &n.enum)
		if r.Const != nil {
			n.hasConst, n.enum = true, []string{""}
			read(r.Const, &n.enum[0])
		}
	case kindInteger:
		n.limit(r.Minimum, r.Maximum)
		read(r.Enum, &n.ints)
		if r.Const != nil {
			n.hasConst, n.ints = true, []int64{0}
			read(r.Const, &n.ints[0])
		}
	case kindBytes:
		n.limit(r.MinLength, r.MaxLength)
	case kindBoolean:
		read(r.Const, &n.constant)
	}
	if err == nil && r.Default != nil {
		n.def, err = n.compileDefault(r.Default)
	}
	return err
}

func (n *node) compileDefault(b json.RawMessage) (any, error) {
	switch n.kind {
	case kindString:
		var v string
		err := json.Unmarshal(b, &v)
		return v, err
	case kindInteger:
		var v int64
		err := json.Unmarshal(b, &v)
		return v, err
	case kindBoolean:
		var v bool
		err := json.Unmarshal(b, &v)
		return v, err
	}
	return nil, nil
}

func (n *node) limit(low, high *int64) {
	if n.kind == kindInteger {
		n.min = math.MinInt64
	}
	if low != nil {
		n.min, n.limited = *low, true
	}
	if high != nil {
		n.max, n.limited = *high, true
	}
}

func (n *node) limitGraphemes(low, high *int64) {
	n.gmax = math.MaxInt64
	if low != nil {
		n.gmin, n.glimited = *low, true
	}
	if high != nil {
		n.gmax, n.glimited = *high, true
	}
}

// fullRef spells a reference out: "#name" is a definition of the same document, and "nsid#main"
// is the same as "nsid".
func fullRef(nsid, ref string) string {
	if strings.HasPrefix(ref, "#") {
		ref = nsid + ref
	}
	return strings.TrimSuffix(ref, "#main")
}

// prop returns the index of a property, or -1.
func (n *node) prop(name string) int {
	i, ok := slices.BinarySearchFunc(n.props, name, func(p prop, s string) int { return strings.Compare(p.name, s) })
	if !ok {
		return -1
	}
	return i
}
