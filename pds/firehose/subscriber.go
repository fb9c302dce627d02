package firehose

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"perch/pds/event"
	"perch/pds/store"
)

// farewell bounds the last words to a consumer (an error frame and a close frame), the wait for its answer, and at
// shutdown the write that is under way.
const farewell = 500 * time.Millisecond

// Why a subscription ends.
var (
	errFuture   = errors.New("cursor in the future")
	errTooSlow  = errors.New("consumer too slow")
	errShutdown = errors.New("server is shutting down")
	errGone     = errors.New("consumer is gone")
)

// subscriber is one connection: a cursor that moves along the events. All its work is done by the goroutine that
// serves the request; another one reads what the consumer sends.
type subscriber struct {
	hose  *Firehose
	conn  *websocket.Conn
	wire  *wire
	ip    string
	agent string
	since time.Time

	cursor atomic.Int64  // seq of the last event that was sent
	sent   atomic.Int64  // messages sent
	gone   chan struct{} // closed when the consumer closed or broke the connection

	batch [][]byte   // scratch for what is about to be written
	ahead chan *page // the page after the one that is being written, while that is read; nil when there is none
	spare *page      // a page that has been written, for its memory
	cut   []byte     // what is missing of a message that a timeout cut
}

// page is a batch of messages made of table rows.
type page struct {
	from, last int64    // the cursor before it and the one after it
	buf        []byte   // the messages, one after the other
	ends       []int    // where each ends
	msgs       [][]byte // the same, as they are written
	err        error
}

// serve streams until the end and closes the connection.
func (s *subscriber) serve(cursor *int64) {
	log := s.hose.opt.Logger.With("ip", s.ip, "agent", s.agent)
	go s.discard()
	err := s.stream(cursor)
	s.bye(err)
	_ = s.conn.CloseNow()
	<-s.gone
	log.Info("firehose consumer left", "reason", err, "cursor", s.cursor.Load(), "frames", s.sent.Load(),
		"duration", s.hose.opt.Now().Sub(s.since))
}

// discard reads and drops all messages of the consumer; the library answers its pings and its close.
func (s *subscriber) discard() {
	defer close(s.gone)
	for {
		_, r, err := s.conn.Reader(context.Background())
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			return
		}
	}
}

// stream sends events from the cursor on, without one from s.cursor on. It always returns an error: why it ended.
func (s *subscriber) stream(cursor *int64) error {
	if cursor != nil {
		if err := s.begin(*cursor); err != nil {
			return err
		}
	}
	ping := time.NewTicker(s.hose.opt.PingInterval)
	defer ping.Stop()
	for {
		wake, err := s.step()
		if err != nil {
			return err
		}
		select {
		case <-s.hose.ctx.Done():
			return errShutdown
		case <-s.gone:
			return errGone
		case <-ping.C:
			if err := s.wire.ping(); err != nil {
				return err
			}
		case <-wake:
		}
	}
}

// begin goes to the cursor that the consumer has asked for.
func (s *subscriber) begin(cursor int64) error {
	start, info, err := s.hose.position(s.hose.ctx, cursor)
	if err != nil {
		return err
	}
	s.cursor.Store(start)
	if info == nil {
		return nil
	}
	return s.write([][]byte{appendMessage(nil, info)})
}

// ready is a wake-up that has already happened.
var ready = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

// step sends one batch. It returns what to wait for before the next step.
func (s *subscriber) step() (wake <-chan struct{}, err error) {
	cursor := s.cursor.Load()
	v := s.hose.ring.take(cursor, s.batch[:0], maxBatch, maxBatchBytes)
	s.batch = v.msgs
	switch v.place {
	case atEnd:
		s.ahead, s.spare = nil, nil // a live consumer needs none
		return v.wake, nil
	case behind:
		return ready, s.stepPage(cursor, v.after)
	}
	if err := s.write(s.batch); err != nil {
		return nil, err
	}
	s.cursor.Store(v.last)
	return ready, nil
}

// stepPage sends one page of the table, and meanwhile has the next one read. after is the newest seq that is only in the table.
func (s *subscriber) stepPage(cursor, after int64) error {
	p := s.nextPage(cursor, after)
	if p.err != nil {
		return p.err
	}
	if err := s.checkWindow(cursor); err != nil {
		return err
	}
	if p.last < after {
		ahead, room := make(chan *page, 1), s.spare
		s.ahead, s.spare = ahead, nil
		go func() { ahead <- s.readPage(room, p.last, after) }()
	}
	if err := s.write(p.msgs); err != nil {
		return err
	}
	s.cursor.Store(p.last)
	s.spare = p
	return nil
}

// nextPage returns the page after the cursor: the one that was read ahead, or else it reads one.
func (s *subscriber) nextPage(cursor, after int64) *page {
	if s.ahead != nil {
		p := <-s.ahead
		s.ahead = nil
		if p.from == cursor {
			return p
		}
	}
	room := s.spare
	s.spare = nil
	return s.readPage(room, cursor, after)
}

// readPage reads the page after the cursor from the table, into the memory of one that is not needed any more, or of none.
func (s *subscriber) readPage(p *page, cursor, after int64) *page {
	if p == nil {
		p = &page{}
	}
	// Without any event, the rest up to the ring was deleted, with an account.
	p.from, p.last, p.ends, p.buf = cursor, after, p.ends[:0], p.buf[:0]
	p.err = s.frames(cursor, func(seq int64, f store.PackedFrame) error {
		n, err := f.Len()
		if err != nil {
			return err
		}
		p.buf, err = f.AppendTo(appendHeader(p.buf, n))
		p.ends, p.last = append(p.ends, len(p.buf)), seq
		return err
	})
	p.msgs = p.msgs[:0]
	start := 0
	for _, end := range p.ends { // only now, because the buffer moves while it grows
		p.msgs = append(p.msgs, p.buf[start:end:end])
		start = end
	}
	return p
}

// frames reads one page, when there is a place to read.
func (s *subscriber) frames(cursor int64, fn func(int64, store.PackedFrame) error) error {
	select {
	case s.hose.readers <- struct{}{}:
	case <-s.gone:
		return errGone
	case <-s.hose.ctx.Done():
		return errShutdown
	}
	defer func() { <-s.hose.readers }()
	return s.hose.opt.Store.Frames(s.hose.ctx, cursor, maxPage, maxBatchBytes, fn)
}

// checkWindow is called after a page was read: events after the cursor may have been pruned before. seq counts
// microseconds, so most of the time the cursor alone shows that they were not.
func (s *subscriber) checkWindow(cursor int64) error {
	if cursor >= s.hose.floor.Load() || cursor == 0 {
		return nil // 0: there was no event at all when it came
	}
	oldest, err := s.hose.opt.Store.OldestSeq(s.hose.ctx)
	if err != nil {
		return err
	}
	if oldest > cursor+1 {
		return errTooSlow
	}
	return nil
}

// slowWrite is how long a write takes at least when it had to wait for the consumer to read.
const slowWrite = 50 * time.Millisecond

// write sends messages and forgets them.
func (s *subscriber) write(msgs [][]byte) error {
	if len(msgs) == 0 {
		return nil
	}
	begin := time.Now()
	size := 0
	for _, m := range msgs {
		size += len(m)
	}
	cut, err := s.wire.send(msgs, s.hose.opt.WriteWait)
	n := len(msgs)
	clear(msgs)
	if err != nil {
		s.cut = append([]byte(nil), cut...)
		return s.writeError(err)
	}
	s.sent.Add(int64(n))
	s.hose.counts.frames.Add(int64(n))
	s.hose.counts.bytes.Add(int64(size))
	if time.Since(begin) > slowWrite {
		// It reads, so it lives, although the pong is still behind all that it has to read.
		return s.wire.alive()
	}
	return nil
}

func (s *subscriber) writeError(err error) error {
	switch {
	case s.hose.ctx.Err() != nil:
		return errShutdown
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errTooSlow
	default:
		return err
	}
}

// bye says why, if the consumer can still be reached, and waits a moment for its answer, because closing a
// connection with unread bytes in it would throw the last words away.
func (s *subscriber) bye(reason error) {
	name, message, code := "", "", websocket.StatusInternalError
	switch {
	case errors.Is(reason, errGone):
		return
	case errors.Is(reason, errFuture):
		name, message, code = "FutureCursor", "Cursor in the future.", websocket.StatusPolicyViolation
	case errors.Is(reason, errTooSlow):
		s.hose.counts.tooSlow.Add(1)
		name, message, code = "ConsumerTooSlow", "Stream consumer too slow", websocket.StatusPolicyViolation
	case errors.Is(reason, errShutdown):
		message, code = "server is restarting", websocket.StatusGoingAway
	default:
		message = "internal error"
		s.hose.opt.Logger.Debug("firehose consumer", "ip", s.ip, "err", reason)
	}
	last := append([]byte(nil), s.cut...)
	if name != "" {
		last = appendMessage(last, event.ErrorFrame(name, message))
	}
	if err := s.wire.finish(appendClose(last, uint16(code), message), farewell); err != nil {
		return
	}
	select {
	case <-s.gone:
	case <-time.After(farewell):
	}
}
