package xrpc

import (
	"context"
	"net/http"
	"reflect"
	"strings"

	"perch/lexicons"
)

// Access decides who may call a method. It runs after the cheap checks and before the body is
// read. The context it returns is what the handler gets; it must descend from ctx. A method
// without Access (nil) is open to all and does not look at credentials.
type Access func(ctx context.Context, r *http.Request) (context.Context, error)

// Option changes one method.
type Option func(*method)

// WithBodyLimit sets the largest body in bytes, after decoding its Content-Encoding; -1 takes
// the limit off. Streams default to no limit, and handlers must then stop reading by themselves.
func WithBodyLimit(n int64) Option { return func(md *method) { md.bodyLimit = n } }

// WithRateLimit adds limits that are counted after access was granted and before the body is read.
func WithRateLimit(rules ...RateLimit) Option {
	return func(md *method) { md.limits = append(md.limits, rules...) }
}

// WithInputRateLimit adds limits whose Key or Cost look at the decoded input. They are counted
// just before the handler runs.
func WithInputRateLimit(rules ...RateLimit) Option {
	return func(md *method) { md.inputLimits = append(md.inputLimits, rules...) }
}

// WithoutGlobalLimit keeps requests of the method out of the global rate limit.
func WithoutGlobalLimit() Option { return func(md *method) { md.noGlobalLimit = true } }

// method is one registered method.
type method struct {
	mux           *Mux
	nsid          string
	lex           *lexicons.Method
	kind          lexicons.Kind
	access        Access
	bodyLimit     int64
	limits        []RateLimit
	inputLimits   []RateLimit
	noGlobalLimit bool
	encoding      string // MIME type of the body, "" for none
	defaults      []byte // JSON of the input's defaults
	run           func(*call) error
}

// Query registers a method that is called by GET. The fields of P that carry a `query:"name"`
// tag take the parameters: strings and types of kind string, integers, booleans, pointers to
// them (nil when absent), and slices of strings. O is written as JSON; see JSONAppender.
//
// Registering panics when the method is registered already, is not in the catalog, is no query,
// or does not have one of the parameters.
func Query[P, O any](m *Mux, nsid string, a Access, h func(context.Context, *P) (*O, error), opts ...Option) {
	md := m.register(nsid, lexicons.KindQuery, a, opts)
	bind := newBinder(reflect.TypeFor[P](), md)
	md.run = func(c *call) error {
		p := new(P)
		if err := bind.fill(reflect.ValueOf(p).Elem(), c.params); err != nil {
			return err
		}
		if err := m.limiter.take(c, md.inputLimits, p); err != nil {
			return err
		}
		out, err := h(c.ctx, p)
		if err != nil {
			return err
		}
		return writeOutput(c, out)
	}
}

// Procedure registers a method that is called by POST. The JSON body is checked against the
// lexicon and decoded into I, with the lexicon's defaults; fields with a `query` tag take
// parameters. I is struct{} for a method without a body. An O of struct{} answers with an empty body.
func Procedure[I, O any](m *Mux, nsid string, a Access, h func(context.Context, *I) (*O, error), opts ...Option) {
	md := m.register(nsid, lexicons.KindProcedure, a, opts)
	bind := newBinder(reflect.TypeFor[I](), md)
	md.run = func(c *call) error {
		in := new(I)
		if err := md.readInput(c, in); err != nil {
			return err
		}
		if err := md.accessAgain(c); err != nil {
			return err
		}
		if err := bind.fill(reflect.ValueOf(in).Elem(), c.params); err != nil {
			return err
		}
		if err := m.limiter.take(c, md.inputLimits, in); err != nil {
			return err
		}
		out, err := h(c.ctx, in)
		if err != nil {
			return err
		}
		return writeOutput(c, out)
	}
}

// Stream registers a query, procedure or subscription that reads and writes HTTP itself: CAR
// files, blobs, websockets. The query string and the content type of the body are checked, and
// the body arrives decoded. An error that the handler returns before it wrote anything is
// answered like any other; later it cuts the connection, so that the client notices.
func Stream(m *Mux, nsid string, a Access, h func(w http.ResponseWriter, r *http.Request) error, opts ...Option) {
	md := m.register(nsid, "", a, append([]Option{WithBodyLimit(noLimit)}, opts...))
	md.run = func(c *call) error {
		if md.kind == lexicons.KindProcedure {
			if err := md.openBody(c); err != nil {
				return err
			}
		}
		if err := m.limiter.take(c, md.inputLimits, nil); err != nil {
			return err
		}
		return h(&c.w, md.streamRequest(c))
	}
}

// streamRequest returns the request with the context that access gave. Array parameters that
// were spelled name[]= get the usual spelling, so that r.URL.Query() finds them.
func (md *method) streamRequest(c *call) *http.Request {
	r := c.r.WithContext(c.ctx)
	if q := r.URL.RawQuery; strings.Contains(q, "[") || strings.Contains(q, "%5B") || strings.Contains(q, "%5b") {
		u := *r.URL
		values := u.Query()
		for _, p := range c.params {
			if p.List != nil {
				values[p.Name] = p.List
			}
		}
		u.RawQuery = values.Encode()
		r.URL = &u
	}
	return r
}

// register makes a method of the catalog known; kind "" takes what the catalog says.
func (m *Mux) register(nsid string, kind lexicons.Kind, a Access, opts []Option) *method {
	if m.methods[nsid] != nil {
		panic("xrpc: " + nsid + " is registered twice")
	}
	lex, err := m.catalog.Method(nsid)
	if err != nil {
		panic("xrpc: " + err.Error())
	}
	if kind != "" && lex.Kind != kind {
		panic("xrpc: " + nsid + " is a " + string(lex.Kind) + ", not a " + string(kind))
	}
	md := &method{
		mux: m, nsid: nsid, lex: lex, kind: lex.Kind, access: a, bodyLimit: m.opts.BodyLimit,
		encoding: lex.InputEncoding(), defaults: lex.InputDefaults(),
	}
	for _, o := range opts {
		o(md)
	}
	m.limiter.name(nsid, md.limits)
	m.limiter.name(nsid, md.inputLimits)
	m.methods[nsid] = md
	return md
}

// serve takes a request through the steps that need no body, then runs the method.
func (md *method) serve(c *call) error {
	if err := md.checkVerb(c.r.Method); err != nil {
		return err
	}
	if err := md.readParams(c); err != nil {
		return err
	}
	if md.access != nil {
		h := c.w.Header()
		h["Cache-Control"] = cachePrivate
		h["Vary"] = append(h["Vary"], "Authorization")
		ctx, err := md.access(c, c.r)
		if err != nil {
			return err
		}
		c.ctx = ctx
	}
	if err := md.mux.limiter.take(c, md.limits, nil); err != nil {
		return err
	}
	return md.run(c)
}

// accessAgain looks again at who was let in before the body came.
func (md *method) accessAgain(c *call) error {
	again := md.mux.opts.Again
	if again == nil || md.access == nil || md.encoding == "" {
		return nil
	}
	ctx, err := again(c.ctx)
	if err == nil {
		c.ctx = ctx
	}
	return err
}

var cachePrivate = []string{"private"}

func (md *method) checkVerb(verb string) error {
	want := http.MethodGet
	if md.kind == lexicons.KindProcedure {
		want = http.MethodPost
	}
	if verb == want || want == http.MethodGet && verb == http.MethodHead && md.kind == lexicons.KindQuery {
		return nil
	}
	e := InvalidRequest("Incorrect HTTP method (%.20s) expected %s", verb, want)
	e.Header = http.Header{"Allow": {want}}
	return e
}

func (md *method) readParams(c *call) error {
	params, err := md.lex.ParseParams(c.r.URL.RawQuery)
	if err != nil {
		return InvalidRequest("Error: %v", err)
	}
	c.params = params
	return nil
}
