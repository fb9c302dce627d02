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
	frames atomic.Int64  // messages sent
	gone   chan struct{} // closed when the consumer closed or broke the connection

	batch [][]byte // scratch for what is about to be written
	page  []byte   // scratch for messages made of table rows
	cut   []byte   // what is missing of a message that a timeout cut
}

// serve streams until the end and closes the connection.
func (s *subscriber) serve(cursor *int64) {
	log := s.hose.opt.Logger.With("ip", s.ip, "agent", s.agent)
	go s.discard()
	err := s.stream(cursor)
	s.bye(err)
	_ = s.conn.CloseNow()
	<-s.gone
	log.Info("firehose consumer left", "reason", err, "cursor", s.cursor.Load(), "frames", s.frames.Load(),
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
		s.page = nil // a live consumer needs none
		return v.wake, nil
	case behind:
		if v.last, err = s.readPage(cursor, v.after); err != nil {
			return nil, err
		}
	}
	if err := s.write(s.batch); err != nil {
		return nil, err
	}
	s.cursor.Store(v.last)
	return ready, nil
}

// readPage fills the batch from the table and returns the cursor after it. after is the newest seq that is only in
// the table.
func (s *subscriber) readPage(cursor, after int64) (int64, error) {
	events, err := s.events(cursor)
	if err != nil {
		return 0, err
	}
	if err := s.checkWindow(cursor); err != nil {
		return 0, err
	}
	if len(events) == 0 {
		return after, nil // the rest up to the ring was deleted, with an account
	}
	size := 0
	for _, e := range events {
		size += len(e.Frame) + maxHeader
	}
	if cap(s.page) < size {
		s.page = make([]byte, 0, size)
	}
	buf := s.page[:0]
	for _, e := range events {
		at := len(buf)
		buf = appendMessage(buf, e.Frame)
		s.batch = append(s.batch, buf[at:len(buf):len(buf)])
	}
	return events[len(events)-1].Seq, nil
}

// events reads one page, when there is a place to read.
func (s *subscriber) events(cursor int64) ([]store.StoredEvent, error) {
	select {
	case s.hose.readers <- struct{}{}:
	case <-s.gone:
		return nil, errGone
	case <-s.hose.ctx.Done():
		return nil, errShutdown
	}
	defer func() { <-s.hose.readers }()
	return s.hose.opt.Store.Events(s.hose.ctx, cursor, maxPage, maxBatchBytes)
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
	s.frames.Add(int64(n))
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
