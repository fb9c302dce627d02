package lexicons

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/rivo/uniseg"
)

// Error says that data does not fit its schema. Path names the offending part, beginning with
// "Record", "Input", "Output" or, for query parameters, the name of the parameter; parts are
// separated by slashes. Reason reads on from it.
type Error struct {
	Path   string
	Reason string
	Kind   error // ErrBlobTooLarge, ErrBlobType, or nil
}

// Kinds of faults that have a name of their own on the wire.
var (
	// ErrBlobTooLarge: the schema permits smaller blobs only.
	ErrBlobTooLarge = errors.New("blob is larger than its schema permits")
	// ErrBlobType: the schema permits other MIME types only.
	ErrBlobType = errors.New("blob is of a type that its schema does not permit")
)

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

// Error returns path and reason as one sentence, as the reference implementation words it.
func (e *Error) Error() string { return e.Path + " " + e.Reason }

// in adds the name of the enclosing property to the path, on the way out of the recursion.
func (e *Error) in(name string) *Error {
	e.Path = "/" + name + e.Path
	return e
}

func (e *Error) at(i int) *Error { return e.in(strconv.Itoa(i)) }

// root completes the path with the name of the whole.
func (e *Error) root(name string) *Error {
	e.Path = name + e.Path
	return e
}

func mismatch(format string, args ...any) *Error {
	return &Error{Reason: fmt.Sprintf(format, args...)}
}

func missing(name string) *Error { return mismatch("must have the property %q", name) }

func (n *node) checkBool(v bool) *Error {
	if n.constant != nil && v != *n.constant {
		return mismatch("must be %t", *n.constant)
	}
	return nil
}

func (n *node) checkInt(v int64) *Error {
	if n.ints != nil && !slices.Contains(n.ints, v) {
		if n.hasConst {
			return mismatch("must be %d", n.ints[0])
		}
		return mismatch("must be one of (%s)", strings.ReplaceAll(strings.Trim(fmt.Sprint(n.ints), "[]"), " ", "|"))
	}
	if n.limited && v > n.max {
		return mismatch("can not be greater than %d", n.max)
	}
	if n.limited && v < n.min {
		return mismatch("can not be less than %d", n.min)
	}
	return nil
}

// checkString checks length in bytes and graphemes, the allowed values and the format.
func (n *node) checkString(v string) *Error {
	if n.enum != nil && !slices.Contains(n.enum, v) {
		if n.hasConst {
			return mismatch("must be %s", n.enum[0])
		}
		return mismatch("must be one of (%s)", strings.Join(n.enum, "|"))
	}
	if n.limited {
		if int64(len(v)) > n.max {
			return mismatch("must not be longer than %d characters", n.max)
		}
		if int64(len(v)) < n.min {
			return mismatch("must not be shorter than %d characters", n.min)
		}
	}
	if n.glimited {
		if err := n.checkGraphemes(v); err != nil {
			return err
		}
	}
	if n.format != "" {
		return checkFormat(n.format, v)
	}
	return nil
}

// checkGraphemes counts grapheme clusters only when the number of runes, which is never less,
// leaves the answer open.
func (n *node) checkGraphemes(v string) *Error {
	if n.gmin == 0 && int64(utf8.RuneCountInString(v)) <= n.gmax {
		return nil
	}
	count := int64(uniseg.GraphemeClusterCount(v))
	if count > n.gmax {
		return mismatch("must not be longer than %d graphemes", n.gmax)
	}
	if count < n.gmin {
		return mismatch("must not be shorter than %d graphemes", n.gmin)
	}
	return nil
}

func (n *node) checkBytesLen(size int) *Error {
	if int64(size) > n.max {
		return mismatch("must not be larger than %d bytes", n.max)
	}
	if int64(size) < n.min {
		return mismatch("must not be smaller than %d bytes", n.min)
	}
	return nil
}

func (n *node) checkArrayLen(size int) *Error {
	if int64(size) > n.max {
		return mismatch("must not have more than %d elements", n.max)
	}
	if int64(size) < n.min {
		return mismatch("must not have fewer than %d elements", n.min)
	}
	return nil
}

// checkBlob checks what a schema says of a blob: the MIME type as a whole, "type/*" or "*/*",
// and the size. A negative size marks the old form of blobs, which nobody may write any more.
func (n *node) checkBlob(mime string, size int64) *Error {
	if size < 0 {
		return mismatch("must be a blob reference of the current form")
	}
	if size > n.max {
		return &Error{Reason: fmt.Sprintf("must not be a blob larger than %d bytes, it has %d", n.max, size), Kind: ErrBlobTooLarge}
	}
	if len(n.enum) > 0 && !slices.ContainsFunc(n.enum, func(p string) bool { return acceptsMIME(p, mime) }) {
		return &Error{Reason: fmt.Sprintf("must be a blob of type %s, not %s", strings.Join(n.enum, " or "), mime), Kind: ErrBlobType}
	}
	return nil
}

func acceptsMIME(pattern, mime string) bool {
	if pattern == "*/*" {
		return true
	}
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasSuffix(prefix, "/") {
		return strings.HasPrefix(mime, prefix) && len(mime) > len(prefix)
	}
	return pattern == mime
}

// formatRules say for each string format of the Lexicon language how to check it and what to
// say when it does not hold. A format that is not listed does not restrict.
var formatRules = map[string]struct {
	valid  func(string) bool
	reason string
}{
	"at-identifier": {valid(syntax.ParseAtIdentifier), "must be a valid did or a handle"},
	"at-uri":        {validATURI, "must be a valid at-uri"},
	"cid":           {valid(syntax.ParseCID), "must be a cid string"},
	"datetime":      {valid(syntax.ParseDatetime), "must be an valid atproto datetime (both RFC-3339 and ISO-8601)"},
	"did":           {valid(syntax.ParseDID), "must be a valid did"},
	"handle":        {valid(syntax.ParseHandle), "must be a valid handle"},
	"language":      {valid(syntax.ParseLanguage), "must be a well-formed BCP 47 language tag"},
	"nsid":          {valid(syntax.ParseNSID), "must be a valid nsid"},
	"record-key":    {valid(syntax.ParseRecordKey), "must be a valid Record Key"},
	"tid":           {valid(syntax.ParseTID), "must be a valid TID"},
	"uri":           {valid(syntax.ParseURI), "must be a uri"},
}

func valid[T any](parse func(string) (T, error)) func(string) bool {
	return func(s string) bool {
		_, err := parse(s)
		return err == nil
	}
}

func checkFormat(format, v string) *Error {
	rule, ok := formatRules[format]
	if !ok || rule.valid(v) {
		return nil
	}
	return &Error{Reason: rule.reason}
}

// maxATURI is the longest AT URI, in bytes (spec: at-uri-scheme).
const maxATURI = 8 << 10

// validATURI checks the restricted form at://authority[/collection[/rkey]].
func validATURI(s string) bool {
	rest, ok := strings.CutPrefix(s, "at://")
	if !ok || len(s) > maxATURI {
		return false
	}
	authority, rest, more := strings.Cut(rest, "/")
	if _, err := syntax.ParseAtIdentifier(authority); err != nil {
		return false
	}
	if !more {
		return true
	}
	collection, rkey, more := strings.Cut(rest, "/")
	if _, err := syntax.ParseNSID(collection); err != nil {
		return false
	}
	if !more {
		return true
	}
	_, err := syntax.ParseRecordKey(rkey)
	return err == nil
}
