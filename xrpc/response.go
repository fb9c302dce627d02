package xrpc

import (
	"bufio"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// writeStall is how long a client may take to accept what is written, before it is given up.
	writeStall = 60 * time.Second
	// writeRefresh is how old a deadline may be before it is moved on.
	writeRefresh = 5 * time.Second
	// compressFrom is the smallest body that is compressed, in bytes.
	compressFrom = 1 << 10
)

// response is what handlers write to. It notes status and size, compresses where the client
// wants that and it helps, and moves the write deadline on as long as the client keeps reading.
type response struct {
	http.ResponseWriter
	c        *call
	status   int    // 0 until WriteHeader
	sent     bool   // the header is out
	hijacked bool   // the connection belongs to the handler
	abort    bool   // cut the connection instead of ending the body
	bytes    int64  // of the body, before compression
	pending  []byte // held back until it is clear whether to compress
	enc      encoder
	coding   *coding
	touched  time.Time // when the write deadline was last moved
}

// Unwrap lets http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// begun says whether it is too late to answer something else.
func (w *response) begun() bool { return w.sent || w.hijacked }

// restart forgets what was held back and not sent.
func (w *response) restart() { w.status, w.bytes, w.pending = 0, 0, nil }

// WriteHeader implements http.ResponseWriter. The header goes out with the first bytes of the body.
func (w *response) WriteHeader(status int) {
	if status < 200 {
		if status == http.StatusSwitchingProtocols {
			w.status, w.sent = status, true
		}
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.status == 0 {
		w.status = status
	}
}

// Write implements io.Writer.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.bytes += int64(len(p))
	w.touch()
	if !w.sent {
		if w.wait(len(p)) {
			w.pending = append(w.pending, p...)
			return len(p), nil
		}
		if err := w.start(); err != nil {
			return 0, err
		}
	}
	if w.enc != nil {
		return w.enc.Write(p)
	}
	return w.ResponseWriter.Write(p)
}

// wait says whether to hold a first small piece back, because the size decides about compression
// and is not known yet.
func (w *response) wait(n int) bool {
	h := w.ResponseWriter.Header()
	return len(w.pending)+n < compressFrom && w.c.acceptsCoding() && h["Content-Length"] == nil && compressible(w.status, h)
}

// start sends the header, compressed or not, and what was held back.
func (w *response) start() error {
	w.sent = true
	h := w.ResponseWriter.Header()
	if compressible(w.status, h) && w.c.r.Header["Range"] == nil {
		h["Vary"] = append(h["Vary"], "Accept-Encoding")
		if cd := negotiate(w.c.r.Header["Accept-Encoding"]); cd != nil && !w.isSmall(h) && w.c.r.Method != http.MethodHead {
			h.Del("Content-Length")
			if etag := h.Get("ETag"); etag != "" && !strings.HasPrefix(etag, "W/") {
				h.Set("ETag", "W/"+etag)
			}
			h.Set("Content-Encoding", cd.name)
			w.coding, w.enc = cd, cd.get(w.ResponseWriter)
		}
	}
	w.ResponseWriter.WriteHeader(w.status)
	held := w.pending
	w.pending = nil
	if len(held) == 0 {
		return nil
	}
	var err error
	if w.enc != nil {
		_, err = w.enc.Write(held)
	} else {
		_, err = w.ResponseWriter.Write(held)
	}
	return err
}

func (w *response) isSmall(h http.Header) bool {
	length := h["Content-Length"]
	if len(length) == 0 {
		return false
	}
	n, err := strconv.ParseInt(length[0], 10, 64)
	return err == nil && n < compressFrom
}

// touch moves the write deadline on, at most every writeRefresh.
func (w *response) touch() {
	now := time.Now()
	if now.Sub(w.touched) < writeRefresh {
		return
	}
	w.touched = now
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(now.Add(writeStall)) // not supported by every ResponseWriter in tests
}

// FlushError sends what was written so far to the client; http.ResponseController calls it.
func (w *response) FlushError() error {
	if w.hijacked {
		return nil
	}
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if !w.sent {
		if err := w.start(); err != nil {
			return err
		}
	}
	w.touch()
	if w.enc != nil {
		if err := w.enc.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// Hijack implements http.Hijacker.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.hijacked = true
	}
	return conn, rw, err
}

// finish ends the body. After an abort it gives the encoder back without the end mark, so that
// the client sees that something is missing.
func (w *response) finish() {
	if w.hijacked {
		return
	}
	w.touch()
	if !w.sent && !w.abort {
		if w.status == 0 {
			w.status = http.StatusOK
		}
		w.finishShort()
	}
	if w.enc != nil {
		if !w.abort {
			_ = w.enc.Close() // the client is gone: nobody to tell
		}
		w.coding.put(w.enc)
		w.enc = nil
	}
}

// finishShort sends a body that never grew long enough to be compressed.
func (w *response) finishShort() {
	w.sent = true
	h := w.ResponseWriter.Header()
	if len(w.pending) > 0 {
		h["Vary"] = append(h["Vary"], "Accept-Encoding")
	}
	w.ResponseWriter.WriteHeader(w.status)
	if len(w.pending) > 0 {
		_, _ = w.ResponseWriter.Write(w.pending)
	}
}
