package lexicons

import (
	"fmt"
	"strconv"
	"strings"
)

// Method is a query, procedure or subscription of the catalog.
type Method struct {
	NSID string
	Kind Kind
	cat  *Catalog
	doc  *document
}

// Method returns the method of an NSID, or an error that is ErrUnknownSchema when the catalog has
// no method of this name.
func (c *Catalog) Method(nsid string) (*Method, error) {
	switch c.kinds[nsid] {
	case KindQuery, KindProcedure, KindSubscription:
	default:
		return nil, fmt.Errorf("%w: no method %s", ErrUnknownSchema, nsid)
	}
	d, err := c.document(nsid)
	if err != nil {
		return nil, err
	}
	return &Method{NSID: nsid, Kind: d.main.Type, cat: c, doc: d}, nil
}

// InputEncoding returns the MIME type of the request body, "" when the method takes none.
// "*/*" stands for any type.
func (m *Method) InputEncoding() string {
	if m.doc.main.Input == nil {
		return ""
	}
	return m.doc.main.Input.Encoding
}

// OutputEncoding returns the MIME type of the answer, "" when the method has none.
func (m *Method) OutputEncoding() string {
	if m.doc.main.Output == nil {
		return ""
	}
	return m.doc.main.Output.Encoding
}

// HasParam says whether the schema declares a query parameter.
func (m *Method) HasParam(name string) bool {
	return m.doc.body.params != nil && m.doc.body.params.prop(name) >= 0
}

// InputDefaults returns a JSON object of the defaults that the schema gives for properties of
// the request body, nil when there are none. Decoding it before the body applies them.
func (m *Method) InputDefaults() []byte {
	if m.doc.body.input == nil || m.doc.body.input.kind != kindObject {
		return nil
	}
	var parts []string
	for _, p := range m.doc.body.input.props {
		if p.node.def != nil {
			parts = append(parts, strconv.Quote(p.name)+":"+defaultJSON(p.node.def))
		}
	}
	if parts == nil {
		return nil
	}
	return []byte("{" + strings.Join(parts, ",") + "}")
}

func defaultJSON(v any) string {
	if s, ok := v.(string); ok {
		return strconv.Quote(s)
	}
	return fmt.Sprint(v)
}

// ValidateInput checks the JSON body of a request: that it is one well-formed JSON value in
// UTF-8, not nested deeper than MaxDepth, and fits the schema. Properties that the schema does
// not name are let through. Violations of the schema are an *Error, malformed JSON an
// ErrMalformedJSON.
func (m *Method) ValidateInput(body []byte) error {
	return m.cat.validateJSON(m.doc.body.input, body, "Input")
}

// ValidateOutput checks the JSON body of an answer in the same way; it is meant for tests.
func (m *Method) ValidateOutput(body []byte) error {
	return m.cat.validateJSON(m.doc.body.output, body, "Output")
}
