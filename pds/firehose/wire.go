package firehose

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Opcodes with the FIN bit (RFC 6455, section 5.2).
const (
	opBinary = 0x82
	opClose  = 0x88
	opPing   = 0x89
)

// Limits of one connection's wire.
const (
	// maxPending bounds the control frames (pongs) that wait for a long write to end; more are dropped.
	maxPending = 2 << 10
	// controlWait is how long a control frame may take.
	controlWait = 5 * time.Second
	// sendBuffer bounds what the kernel holds for one consumer.
	sendBuffer = 1 << 20
	// coalesceBytes is the size of one write on connections that cannot gather (TLS).
	coalesceBytes = 32 << 10
)

var errSealed = errors.New("connection is closing")

// wire is the connection under the websocket library. The library does the handshake, reads, and answers pings
// and closes through Write; the messages go past it, many in one system call, because its own writer needs a
// call per message. Both take turns: a control frame of the library never waits, and so never times out, behind
// a slow batch: it is kept and follows it.
type wire struct {
	net.Conn
	gathers bool          // Conn has writev
	silence time.Duration // the peer is gone when it sends nothing for so long

	mu      sync.Mutex
	free    sync.Cond // signalled when busy becomes false
	busy    bool      // somebody writes
	sealed  bool      // our close frame is out: nothing may follow
	pending []byte    // control frames that wait for the writer
	limit   time.Time // no write deadline may be later, unless zero

	scratch [][]byte    // backing of vec; belongs to whoever holds the turn
	vec     net.Buffers // consumed by writev
}

func newWire(conn net.Conn, silence time.Duration) *wire {
	w := &wire{Conn: conn, silence: silence}
	w.free.L = &w.mu
	if tcp, ok := conn.(*net.TCPConn); ok {
		w.gathers = true
		_ = tcp.SetWriteBuffer(sendBuffer) // best effort: it only bounds the kernel's memory
	}
	return w
}

// upgrader passes the hijacked connection to the websocket library inside a wire.
type upgrader struct {
	http.ResponseWriter
	silence time.Duration
	wire    *wire
}

// Unwrap lets http.ResponseController see the writer below.
func (u *upgrader) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// Hijack implements http.Hijacker.
func (u *upgrader) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	u.wire = newWire(conn, u.silence)
	return u.wire, bufio.NewReadWriter(rw.Reader, bufio.NewWriterSize(u.wire, 256)), nil
}

// Read extends the read deadline first: pongs arrive in time, or the read fails and the connection ends.
func (w *wire) Read(p []byte) (int, error) {
	if err := w.alive(); err != nil {
		return 0, err
	}
	return w.Conn.Read(p)
}

// alive notes that the peer has shown life.
func (w *wire) alive() error { return w.SetReadDeadline(time.Now().Add(w.silence)) }

// Write sends control frames for the websocket library. It never waits for a batch.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	if w.sealed {
		w.mu.Unlock()
		return len(p), nil
	}
	if w.busy {
		if len(w.pending)+len(p) <= maxPending {
			w.pending = append(w.pending, p...)
		}
		w.mu.Unlock()
		return len(p), nil
	}
	w.busy = true
	w.deadlineLocked(controlWait)
	w.mu.Unlock()
	n, err := w.Conn.Write(p)
	w.release()
	return n, err
}

// acquire waits for the turn to write and sets the write deadline.
func (w *wire) acquire(wait time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.busy {
		w.free.Wait()
	}
	if w.sealed {
		return errSealed
	}
	w.busy = true
	w.deadlineLocked(wait)
	return nil
}

// release gives up the turn after the control frames that waited for it.
func (w *wire) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.pending) > 0 && !w.sealed {
		p := w.pending
		w.pending = nil
		w.deadlineLocked(controlWait)
		w.mu.Unlock()
		_, err := w.Conn.Write(p)
		w.mu.Lock()
		if err != nil {
			w.sealed = true // half a control frame may be out
		}
	}
	w.busy = false
	w.free.Signal()
}

func (w *wire) deadlineLocked(wait time.Duration) {
	t := time.Now().Add(wait)
	if !w.limit.IsZero() && w.limit.Before(t) {
		t = w.limit
	}
	_ = w.SetWriteDeadline(t)
}

// hurry ends a write that is under way, and each later one, at t at the latest; the zero time takes that back.
func (w *wire) hurry(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit = t
	_ = w.SetWriteDeadline(t)
}

// send writes complete messages within wait. On a timeout it returns the bytes that are missing to the end of
// the message that was cut, so that a last word can still be said on a whole stream.
func (w *wire) send(msgs [][]byte, wait time.Duration) (cut []byte, err error) {
	if err := w.acquire(wait); err != nil {
		return nil, err
	}
	defer w.release()
	var n int64
	if w.gathers {
		w.scratch = append(w.scratch[:0], msgs...)
		w.vec = w.scratch
		n, err = w.vec.WriteTo(w.Conn) // forgets each message once it is written
		clear(w.scratch)
	} else {
		n, err = w.coalesce(msgs)
	}
	if err == nil {
		return nil, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		cut = remainder(msgs, n)
	}
	w.mu.Lock()
	w.pending = nil // they would land inside the message that was cut
	w.mu.Unlock()
	return cut, err
}

// coalesce copies small messages together, for connections where each Write is a system call or a TLS record.
func (w *wire) coalesce(msgs [][]byte) (n int64, err error) {
	buf := make([]byte, 0, coalesceBytes)
	flush := func() error {
		k, err := w.Conn.Write(buf)
		n += int64(k)
		buf = buf[:0]
		return err
	}
	for _, m := range msgs {
		for len(m) > 0 {
			k := min(len(m), cap(buf)-len(buf))
			buf, m = append(buf, m[:k]...), m[k:]
			if len(buf) == cap(buf) {
				if err := flush(); err != nil {
					return n, err
				}
			}
		}
	}
	if len(buf) == 0 {
		return n, nil
	}
	return n, flush()
}

// remainder returns what is missing of the message in which the n-th byte lies; nil at a message boundary.
func remainder(msgs [][]byte, n int64) []byte {
	for _, m := range msgs {
		if n == 0 {
			return nil
		}
		if n < int64(len(m)) {
			return m[n:]
		}
		n -= int64(len(m))
	}
	return nil
}

// finish writes the last bytes of a connection: nothing is sent after them. A hurry does not count here.
func (w *wire) finish(last []byte, wait time.Duration) error {
	w.hurry(time.Time{})
	if err := w.acquire(wait); err != nil {
		return err
	}
	_, err := w.Conn.Write(last)
	w.mu.Lock()
	w.sealed = true
	w.mu.Unlock()
	w.release()
	return err
}

// ping sends a ping; the pong extends the read deadline.
func (w *wire) ping() error {
	_, err := w.Write([]byte{opPing, 0})
	return err
}

// appendMessage appends frame as one unmasked binary websocket message.
func appendMessage(dst, frame []byte) []byte {
	return append(appendHeader(dst, len(frame)), frame...)
}

// appendHeader appends what stands before the n bytes of a frame.
func appendHeader(dst []byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, opBinary, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, opBinary, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, opBinary, 127), uint64(n))
}

// maxHeader is the longest header appendMessage writes.
const maxHeader = 10

// appendClose appends a close frame. The reason is ours and short (at most 123 bytes).
func appendClose(dst []byte, code uint16, reason string) []byte {
	dst = append(dst, opClose, byte(2+len(reason)))
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, reason...)
}
