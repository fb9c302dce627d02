package xrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"perch/lexicons"
)

const (
	anyType = "*/*"
	noLimit = -1

	// A body may take bodyGrace plus one second for every bodyRate bytes that have come; then it
	// is given up. A client that trickles bytes to hold a connection gains no more than that.
	bodyGrace = 30 * time.Second
	bodyRate  = 4 << 10

	// maxDecodeWindow bounds the memory that a zstd body may ask for, in bytes.
	maxDecodeWindow = 8 << 20
	// maxPooledBody is the largest buffer kept for reuse, in bytes.
	maxPooledBody = 1 << 20
)

var (
	errTooLarge    = errors.New("request body too large")
	errSlowBody    = errors.New("request body too slow")
	errBadEncoding = errors.New("request body does not decode")
)

// guardedBody limits the bytes of a body and the time it may take.
type guardedBody struct {
	io.ReadCloser
	rc       *http.ResponseController
	start    time.Time
	deadline time.Time // as last set on the connection
	read     int64
	limit    int64 // noLimit or the most bytes allowed
}

// guardBody puts the guard in front of the request's body.
func (c *call) guardBody(limit int64) {
	if c.r.Body == nil || c.r.Body == http.NoBody {
		return
	}
	if g, ok := c.r.Body.(*guardedBody); ok {
		g.limit = limit
		return
	}
	c.r.Body = &guardedBody{ReadCloser: c.r.Body, rc: http.NewResponseController(c.w.ResponseWriter), start: c.start, limit: limit}
}

// Read implements io.Reader.
func (g *guardedBody) Read(p []byte) (int, error) {
	g.extend()
	n, err := g.ReadCloser.Read(p)
	g.read += int64(n)
	switch {
	case g.limit != noLimit && g.read > g.limit:
		g.release()
		return n, errTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, errSlowBody
	case err != nil:
		g.release()
	}
	return n, err
}

// Close implements io.Closer.
func (g *guardedBody) Close() error {
	g.release()
	return g.ReadCloser.Close()
}

// extend moves the deadline on as bytes come in; not for every read, as it costs a timer.
func (g *guardedBody) extend() {
	d := g.start.Add(bodyGrace + time.Duration(g.read/bodyRate)*time.Second)
	if d.Sub(g.deadline) >= time.Second {
		g.deadline = d
		_ = g.rc.SetReadDeadline(d) // not supported by every ResponseWriter in tests
	}
}

// release takes the deadline off, so that it does not end the request while the handler works.
func (g *guardedBody) release() {
	if !g.deadline.IsZero() {
		g.deadline = time.Time{}
		_ = g.rc.SetReadDeadline(time.Time{})
	}
}

// openBody checks the headers that describe the body, and makes c.r.Body yield it decoded and
// within the limit.
func (md *method) openBody(c *call) error {
	if md.encoding == "" {
		return md.refuseBody(c)
	}
	if c.r.ContentLength == 0 || c.r.Body == nil {
		return InvalidRequest("A request body is expected but none was provided")
	}
	if err := md.checkContentType(c.r.Header.Get("Content-Type")); err != nil {
		return err
	}
	codings := c.r.Header["Content-Encoding"]
	if len(codings) == 0 && md.bodyLimit != noLimit && c.r.ContentLength > md.bodyLimit {
		return tooLarge(nil)
	}
	c.guardBody(md.bodyLimit)
	return decodeBody(c.r, codings, md.bodyLimit)
}

// refuseBody lets only an empty body pass, whatever its headers are.
func (md *method) refuseBody(c *call) error {
	if c.r.ContentLength == 0 || c.r.Body == nil || c.r.Body == http.NoBody {
		return nil
	}
	c.guardBody(noLimit)
	var one [1]byte
	n, err := io.ReadFull(c.r.Body, one[:])
	if n > 0 {
		return InvalidRequest("A request body was provided when none was expected")
	}
	if err != io.EOF {
		return InvalidRequest("The request body could not be read")
	}
	return nil
}

func (md *method) checkContentType(header string) error {
	given, _, _ := strings.Cut(header, ";")
	given = strings.ToLower(strings.TrimSpace(given))
	switch {
	case given == "":
		return InvalidRequest("Request encoding (Content-Type) required but not provided")
	case md.encoding == anyType && strings.Count(given, "/") == 1, given == md.encoding:
		return nil
	}
	return InvalidRequest("Wrong request encoding (Content-Type): %.100s", given)
}

// decodeBody undoes the content codings, the last one applied first.
func decodeBody(r *http.Request, headers []string, limit int64) error {
	if len(headers) == 0 {
		return nil
	}
	codings := strings.Split(strings.Join(headers, ","), ",")
	if len(codings) > 2 { // nobody needs more, and each one multiplies what a byte can blow up to
		return unsupportedCoding("more than two")
	}
	decoded := false
	for i := len(codings) - 1; i >= 0; i-- {
		name := strings.ToLower(strings.TrimSpace(codings[i]))
		if name == "" || name == "identity" {
			continue
		}
		open := decoders[name]
		if open == nil {
			return unsupportedCoding(name)
		}
		r.Body = &decodedBody{src: r.Body, open: open, limit: limit}
		decoded = true
	}
	if decoded {
		r.Header.Del("Content-Encoding")
		r.Header.Del("Content-Length")
		r.ContentLength = -1
	}
	return nil
}

func unsupportedCoding(name string) *Error {
	e := NewError(http.StatusUnsupportedMediaType, NameUnsupportedMedia, "unsupported content encoding: %.40s", name)
	e.Header = http.Header{"Accept-Encoding": {"gzip, deflate, zstd"}}
	return e
}

var decoders = map[string]func(io.Reader) (io.Reader, error){
	"gzip":    openGzip,
	"x-gzip":  openGzip,
	"deflate": openDeflate,
	"zstd": func(r io.Reader) (io.Reader, error) {
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxDecodeWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	},
}

func openGzip(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }

// openDeflate takes both readings of "deflate": the zlib format, which the standard means, and
// the bare stream, which some clients send.
func openDeflate(r io.Reader) (io.Reader, error) {
	head := make([]byte, 2)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	r = io.MultiReader(bytes.NewReader(head[:n]), r)
	if n == 2 && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(r)
	}
	return flate.NewReader(r), nil
}

// decodedBody reads a body through a decoder that is opened at the first read.
type decodedBody struct {
	src   io.ReadCloser
	open  func(io.Reader) (io.Reader, error)
	dec   io.Reader
	err   error
	read  int64
	limit int64
}

// Read implements io.Reader.
func (d *decodedBody) Read(p []byte) (int, error) {
	if d.dec == nil && d.err == nil {
		d.dec, d.err = d.open(d.src)
	}
	if d.err != nil {
		return 0, d.wrap(d.err)
	}
	n, err := d.dec.Read(p)
	d.read += int64(n)
	if d.limit != noLimit && d.read > d.limit {
		return n, errTooLarge
	}
	return n, d.wrap(err)
}

func (d *decodedBody) wrap(err error) error {
	if err == nil || err == io.EOF || errors.Is(err, errTooLarge) || errors.Is(err, errSlowBody) {
		return err
	}
	return fmt.Errorf("%w: %w", errBadEncoding, err)
}

// Close implements io.Closer.
func (d *decodedBody) Close() error {
	if c, ok := d.dec.(io.Closer); ok {
		_ = c.Close()
	}
	return d.src.Close()
}

var bodyPool = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// readInput reads, checks and decodes the JSON body into in, a pointer to a struct.
func (md *method) readInput(c *call, in any) error {
	if err := md.openBody(c); err != nil || md.encoding == "" {
		return err
	}
	buf := bodyPool.Get().(*bytes.Buffer)
	buf.Reset()
	defer func() {
		if buf.Cap() <= maxPooledBody {
			bodyPool.Put(buf)
		}
	}()
	if _, err := buf.ReadFrom(c.r.Body); err != nil {
		return md.readError(err)
	}
	if buf.Len() == 0 {
		return InvalidRequest("A request body is expected but none was provided")
	}
	return md.decodeInput(buf.Bytes(), in)
}

// readError tells a body that broke off, which is the client's affair, from those with an answer
// of their own.
func (md *method) readError(err error) error {
	if errors.Is(err, errTooLarge) || errors.Is(err, errSlowBody) || errors.Is(err, errBadEncoding) {
		return err
	}
	return &Error{Status: http.StatusBadRequest, Name: NameInvalidRequest, Message: "The request body ended too early", Err: err}
}

func (md *method) decodeInput(body []byte, in any) error {
	err := md.lex.ValidateInput(body)
	if errors.Is(err, lexicons.ErrMalformedJSON) {
		return InvalidRequest("The request body is not valid JSON: %v", err)
	}
	if err != nil {
		return err
	}
	if reflect.TypeOf(in).Elem().NumField() == 0 {
		return nil
	}
	if md.defaults != nil {
		if err := json.Unmarshal(md.defaults, in); err != nil {
			return fmt.Errorf("apply defaults: %w", err)
		}
	}
	if err := json.Unmarshal(body, in); err != nil {
		return decodeError(err)
	}
	return nil
}

// decodeError words an error of the JSON decoder for the client.
func decodeError(err error) error {
	var typ *json.UnmarshalTypeError
	if errors.As(err, &typ) && typ.Field != "" {
		return InvalidRequest("Input/%s must not be a %s", strings.ReplaceAll(typ.Field, ".", "/"), typ.Value)
	}
	return InvalidRequest("Input is not valid: %v", err)
}
