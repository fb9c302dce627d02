package xrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"sync"
)

// JSONAppender is an output that writes its own JSON, which spares reflection and copies on hot
// paths. AppendJSON appends one JSON value to dst and returns the longer slice.
type JSONAppender interface {
	AppendJSON(dst []byte) ([]byte, error)
}

type outputBuffer struct {
	buf bytes.Buffer
	enc *json.Encoder
	raw []byte
}

var outputPool = sync.Pool{New: func() any {
	o := &outputBuffer{}
	o.enc = json.NewEncoder(&o.buf)
	o.enc.SetEscapeHTML(false)
	return o
}}

// maxPooledOutput is the largest output buffer kept for reuse, in bytes.
const maxPooledOutput = 1 << 20

var jsonContentType = []string{"application/json; charset=utf-8"}

// writeOutput answers 200 with out as JSON; with an empty body when out is nil or an empty struct.
func writeOutput[O any](c *call, out *O) error {
	if out == nil || emptyStruct(reflect.TypeFor[O]()) {
		c.w.Header()["Content-Length"] = zeroLength
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
	o := outputPool.Get().(*outputBuffer)
	defer o.release()
	b, err := o.encode(out)
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	writeBody(c, http.StatusOK, b)
	return nil
}

func emptyStruct(t reflect.Type) bool { return t.Kind() == reflect.Struct && t.NumField() == 0 }

var zeroLength = []string{"0"}

func (o *outputBuffer) encode(v any) (b []byte, err error) {
	if a, ok := v.(JSONAppender); ok {
		o.raw, err = a.AppendJSON(o.raw[:0])
		return o.raw, err
	}
	o.buf.Reset()
	if err := o.enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(o.buf.Bytes(), []byte("\n")), nil
}

func (o *outputBuffer) release() {
	if o.buf.Cap() <= maxPooledOutput && cap(o.raw) <= maxPooledOutput {
		outputPool.Put(o)
	}
}

func writeBody(c *call, status int, b []byte) {
	h := c.w.Header()
	h["Content-Type"] = jsonContentType
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b) // the client is gone: nobody to tell
}

// WriteError answers with an error in the wire's form, unless something was written already. It
// is for pages and fallbacks; handlers of methods return their errors. The error's cause goes
// into the request's log line.
func (m *Mux) WriteError(r *http.Request, err error) {
	if c := callOf(r.Context()); c != nil {
		m.fail(c, err)
	}
}

// fail answers with an error. When the answer has begun, all that is left is to cut it off.
func (m *Mux) fail(c *call, err error) {
	e := m.wireError(err)
	c.errName, c.err = e.Name, err
	if c.w.begun() {
		c.w.abort = true
		return
	}
	c.w.restart()
	message := e.Message
	if e.Status >= http.StatusInternalServerError && message == "" {
		message = "Something went wrong here. If it goes on, tell the server's operator this request id: " + c.id
	}
	h := c.w.Header()
	for _, name := range []string{"Content-Length", "Content-Encoding", "ETag", "Last-Modified", "Content-Disposition"} {
		h.Del(name)
	}
	for name, values := range e.Header {
		h[name] = values
	}
	if e.Status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", bearerChallenge)
	}
	body, jerr := json.Marshal(struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}{e.Name, message})
	if jerr != nil {
		body = []byte(`{"error":"InternalServerError"}`)
		c.err = errors.Join(err, jerr)
	}
	writeBody(c, e.Status, body)
}
