package xrpc

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// coding is a content coding that answers may have. Encoders are big, so they are pooled.
type coding struct {
	name string
	pool sync.Pool
}

func (c *coding) get(w io.Writer) encoder {
	e := c.pool.Get().(encoder)
	e.Reset(w)
	return e
}

func (c *coding) put(e encoder) {
	e.Reset(nil)
	c.pool.Put(e)
}

// zstdWindow bounds the memory of one compressed answer, here and at the client, in bytes.
const zstdWindow = 256 << 10

var (
	zstdCoding = &coding{name: "zstd", pool: sync.Pool{New: func() any {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic("xrpc: zstd options: " + err.Error())
		}
		return e
	}}}
	gzipCoding = &coding{name: "gzip", pool: sync.Pool{New: func() any {
		e, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		if err != nil {
			panic("xrpc: gzip level: " + err.Error())
		}
		return e
	}}}
)

// negotiate picks a coding from Accept-Encoding: the one with the higher weight, zstd when both
// are equal, nil when neither is wanted.
func negotiate(accept []string) *coding {
	var zq, gq, any float64
	zset, gset := false, false
	for _, line := range accept {
		for line != "" {
			var item string
			item, line, _ = strings.Cut(line, ",")
			name, q := weight(item)
			switch {
			case strings.EqualFold(name, "zstd"):
				zq, zset = q, true
			case strings.EqualFold(name, "gzip"), strings.EqualFold(name, "x-gzip"):
				gq, gset = q, true
			case name == "*":
				any = q
			}
		}
	}
	if !gset {
		gq = any
	}
	switch {
	case zset && zq > 0 && zq >= gq:
		return zstdCoding
	case gq > 0:
		return gzipCoding
	}
	return nil
}

func weight(item string) (name string, q float64) {
	name, param, found := strings.Cut(item, ";")
	name = strings.TrimSpace(name)
	if !found {
		return name, 1
	}
	value, ok := strings.CutPrefix(strings.TrimSpace(param), "q=")
	if !ok {
		return name, 1
	}
	q, err := strconv.ParseFloat(value, 64)
	if err != nil || q < 0 || q > 1 {
		return name, 0
	}
	return name, q
}

func (c *call) acceptsCoding() bool {
	return c.r.Header["Accept-Encoding"] != nil && c.r.Header["Range"] == nil && c.r.Method != http.MethodHead
}

// compressible says whether an answer may be compressed: it has a body of a type that shrinks,
// is not a part of something, and is not encoded already.
func compressible(status int, h http.Header) bool {
	if status < 200 || status == http.StatusNoContent || status == http.StatusPartialContent || status == http.StatusNotModified {
		return false
	}
	if h["Content-Encoding"] != nil || h["Content-Range"] != nil {
		return false
	}
	if cc := h["Cache-Control"]; len(cc) > 0 && strings.Contains(cc[0], "no-transform") {
		return false
	}
	ct := h["Content-Type"]
	return len(ct) > 0 && shrinks(ct[0])
}

func shrinks(contentType string) bool {
	name, _, _ := strings.Cut(contentType, ";")
	name = strings.TrimSpace(name)
	switch name {
	case "application/json", "application/vnd.ipld.car", "application/javascript", "application/did+ld+json",
		"application/did+json", "application/jsonl", "application/xml", "image/svg+xml", "application/wasm":
		return true
	}
	return strings.HasPrefix(name, "text/") && name != "text/event-stream" || strings.HasSuffix(name, "+json")
}
