package lexicons

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Params are the query parameters of one request, as far as the method's schema declares them,
// checked and with defaults filled in.
type Params []Param

// Param is one query parameter. List holds the values of an array parameter and is nil for all
// others; Value is the value of all others, in the spelling of the request.
type Param struct {
	Name  string
	Value string
	List  []string
}

// Get returns the value of a parameter, "" when it was not given and has no default.
func (p Params) Get(name string) string {
	for i := range p {
		if p[i].Name == name {
			return p[i].Value
		}
	}
	return ""
}

// MaxQuery is the longest query string, in bytes.
const MaxQuery = 64 << 10

// ParseParams reads the query string of a request and checks it against the schema: required
// parameters, types, ranges, lengths and formats; defaults are filled in. An empty value counts
// as absent. An array parameter is repeated, as name=a&name=b, name[]=a or name[0]=a. Parameters
// that the schema does not declare are ignored. Errors are an *Error.
func (m *Method) ParseParams(query string) (Params, error) {
	n := m.doc.body.params
	if n == nil {
		return nil, checkQuery(query)
	}
	out := make(Params, 0, len(n.props))
	if err := scanQuery(query, func(name, value string) *Error { return out.add(n, name, value) }); err != nil {
		return nil, err
	}
	return out.complete(n)
}

func checkQuery(query string) error {
	return scanQuery(query, func(string, string) *Error { return nil })
}

// scanQuery yields the pairs of a query string that have a value, unescaped.
func scanQuery(query string, yield func(name, value string) *Error) error {
	if len(query) > MaxQuery {
		return &Error{Path: "Params", Reason: "must not be longer than " + strconv.Itoa(MaxQuery) + " bytes"}
	}
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := unescape(name)
		value, err2 := unescape(value)
		if err1 != nil || err2 != nil {
			return &Error{Path: "Params", Reason: "must be percent-encoded UTF-8"}
		}
		if value == "" {
			continue
		}
		if err := yield(name, value); err != nil {
			return err
		}
	}
	return nil
}

func unescape(s string) (string, error) {
	if strings.ContainsAny(s, "%+") {
		u, err := url.QueryUnescape(s)
		if err != nil {
			return "", err
		}
		s = u
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("not utf-8")
	}
	return s, nil
}

// add takes one pair of the query string in, checked.
func (p *Params) add(n *node, name, value string) *Error {
	i := n.prop(name)
	if i < 0 {
		if i = n.prop(bareName(name)); i < 0 || n.props[i].node.kind != kindArray {
			return nil
		}
	}
	pr := &n.props[i]
	element := pr.node
	if pr.node.kind == kindArray {
		element = pr.node.items
	}
	if err := element.checkParam(value); err != nil {
		return err.root(pr.name)
	}
	at := p.index(pr.name)
	if pr.node.kind == kindArray {
		(*p)[at].List = append((*p)[at].List, value)
		if err := pr.node.checkMax(len((*p)[at].List)); err != nil {
			return err.root(pr.name)
		}
		return nil
	}
	if (*p)[at].Value != "" {
		return &Error{Path: pr.name, Reason: "must not be given more than once"}
	}
	(*p)[at].Value = value
	return nil
}

// index returns where the parameter is, after adding it when it is new.
func (p *Params) index(name string) int {
	for i := range *p {
		if (*p)[i].Name == name {
			return i
		}
	}
	*p = append(*p, Param{Name: name})
	return len(*p) - 1
}

// bareName turns "name[]" and "name[3]" into "name".
func bareName(name string) string {
	open := strings.IndexByte(name, '[')
	if open < 0 || !strings.HasSuffix(name, "]") {
		return ""
	}
	for _, r := range name[open+1 : len(name)-1] {
		if r < '0' || r > '9' {
			return ""
		}
	}
	return name[:open]
}

// complete checks what only the whole shows, and fills in the defaults.
func (p Params) complete(n *node) (Params, error) {
	for i := range n.props {
		pr := &n.props[i]
		at := -1
		for j := range p {
			if p[j].Name == pr.name {
				at = j
			}
		}
		switch {
		case at >= 0 && pr.node.kind == kindArray:
			if err := pr.node.checkArrayLen(len(p[at].List)); err != nil {
				return nil, err.root(pr.name)
			}
		case at >= 0:
		case pr.node.def != nil:
			p = append(p, Param{Name: pr.name, Value: fmt.Sprint(pr.node.def)})
		case pr.required:
			return nil, missing(pr.name).root("Params")
		}
	}
	return p, nil
}

func (n *node) checkMax(size int) *Error {
	if int64(size) > n.max {
		return n.checkArrayLen(size)
	}
	return nil
}

// checkParam checks one value as it stands in the query string.
func (n *node) checkParam(value string) *Error {
	switch n.kind {
	case kindInteger:
		i, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return mismatch("must be an integer")
		}
		return n.checkInt(i)
	case kindBoolean:
		if value != "true" && value != "false" {
			return mismatch("must be a boolean")
		}
		return n.checkBool(value == "true")
	default:
		return n.checkString(value)
	}
}
