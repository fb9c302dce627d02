package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"perch/pds/event"
)

// StoredEvent is an event with its place in the stream. Nobody changes Frame.
type StoredEvent struct {
	Seq     int64
	Account AccountID
	Kind    event.Kind
	Time    time.Time
	Frame   []byte
}

// AppendEvent adds e to the stream as part of the transaction and returns its seq: the microseconds since 1970, or one more than the last when
// that is not less. So a seq is never used twice, also after the return of an old backup.
func (tx *Tx) AppendEvent(acct AccountID, e event.Event) (seq int64, err error) {
	w := tx.s.w
	seq = max(w.seq+1, micros(tx.now), event.MinSeq)
	if err := e.SetSeq(seq); err != nil {
		return 0, err
	}
	const insert = "INSERT INTO event (seq, account, time, kind, frame) VALUES (?, ?, ?, ?, ?)"
	packed := packFrame(w.packed[:0], e.Frame)
	if cap(packed) <= maxKeptFrame {
		w.packed = packed
	}
	if _, err := tx.conn.exec(insert, seq, int64(acct), micros(e.Time), string(e.Kind), packed); err != nil {
		return 0, fmt.Errorf("append event: %w", err)
	}
	w.seq = seq
	tx.events = append(tx.events, StoredEvent{Seq: seq, Account: acct, Kind: e.Kind, Time: e.Time, Frame: e.Frame})
	return seq, nil
}

// LastSeq is the seq of the newest event on disk, 0 when there has never been one.
func (s *Store) LastSeq() int64 { return s.lastSeq.Load() }

func (s *Store) loadLastSeq(ctx context.Context) error {
	var last sql.NullInt64
	if err := s.read.queryRow(ctx, "SELECT max(seq) FROM event").Scan(&last); err != nil {
		return fmt.Errorf("read last seq: %w", err)
	}
	s.lastSeq.Store(last.Int64)
	s.w.seq = last.Int64
	return nil
}

// OldestSeq is the seq of the oldest event that is still there, 0 when there is none.
func (s *Store) OldestSeq(ctx context.Context) (int64, error) {
	var first sql.NullInt64
	err := s.read.queryRow(ctx, "SELECT min(seq) FROM event").Scan(&first)
	return first.Int64, err
}

// Frames calls fn with the events after the given seq in order: at most limit of them, and no more once their frames come to maxBytes, but with one at
// least if there is any. A frame is valid until fn returns. It is what a subscriber that catches up is sent, and made to cost little.
func (s *Store) Frames(ctx context.Context, after int64, limit, maxBytes int, fn func(seq int64, f PackedFrame) error) error {
	rows, err := s.read.query(ctx, "SELECT seq, frame FROM event WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
	if err != nil {
		return err
	}
	defer rows.Close()
	var seq int64
	var stored sql.RawBytes
	dest := []any{&seq, &stored} // once: each call would make it anew
	for size := 0; size < maxBytes && rows.Next(); {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		f := PackedFrame(stored)
		n, err := f.Len()
		if err == nil {
			err = fn(seq, f)
		}
		if err != nil {
			return fmt.Errorf("event %d: %w", seq, err)
		}
		size += n
	}
	return rows.Err()
}

// Events returns the events after the given seq in order: at most limit of them, and no more once their frames come to maxBytes. It
// returns at least one if there is any.
func (s *Store) Events(ctx context.Context, after int64, limit, maxBytes int) ([]StoredEvent, error) {
	const query = "SELECT seq, account, kind, time, frame FROM event WHERE seq > ? ORDER BY seq LIMIT ?"
	rows, err := s.read.query(ctx, query, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var events []StoredEvent
	// Plain types and bytes that are not copied: those of our own would cost database/sql more than SQLite needs for the row.
	var seq, acct, at int64
	var kind, stored sql.RawBytes
	dest := []any{&seq, &acct, &kind, &at, &stored}
	for size := 0; size < maxBytes && rows.Next(); {
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		frame, err := unpackFrame(stored)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", seq, err)
		}
		events = append(events, StoredEvent{Seq: seq, Account: AccountID(acct), Kind: kindOf(kind), Time: fromMicros(at), Frame: frame})
		size += len(frame)
	}
	return events, rows.Err()
}

// kindOf is event.Kind(name) without memory for each of the common ones.
func kindOf(name []byte) event.Kind {
	if string(name) == string(event.Commit) {
		return event.Commit
	}
	return event.Kind(name)
}

// pruneChunk is the number of events deleted in one transaction, so that pruning never holds up commits for long.
const pruneChunk = 500

// PruneEvents deletes the events from before the given time and returns how many there were. The newest event always stays, because
// it is what the next seq is counted from.
func (s *Store) PruneEvents(ctx context.Context, before time.Time) (int64, error) {
	const del = `DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE seq < ? AND time < ? ORDER BY seq LIMIT ?)`
	var total int64
	for {
		var n int64
		err := s.Update(ctx, func(tx *Tx) (err error) {
			n, err = tx.execCount(ctx, del, s.LastSeq(), micros(before), pruneChunk)
			return err
		})
		total += n
		if err != nil || n < pruneChunk {
			return total, err
		}
	}
}

// Changed returns a channel that is closed when the next batch with events is on disk. Ask for it before reading, so that nothing is missed.
func (s *Store) Changed() <-chan struct{} {
	s.wakeMu.Lock()
	defer s.wakeMu.Unlock()
	return s.wake
}

// OnEvents has fn called with every batch of events once it is on disk, in the order of seq and from one goroutine. The next commits wait while it runs.
func (s *Store) OnEvents(fn func([]StoredEvent)) {
	s.wakeMu.Lock()
	defer s.wakeMu.Unlock()
	s.taps = append(s.taps[:len(s.taps):len(s.taps)], fn)
}

// publish tells the taps of events, then wakes those who wait.
func (s *Store) publish(events []StoredEvent) {
	if len(events) == 0 {
		return
	}
	s.wakeMu.Lock()
	taps := s.taps
	s.wakeMu.Unlock()
	for _, fn := range taps {
		fn(events)
	}
	s.wakeMu.Lock()
	close(s.wake)
	s.wake = make(chan struct{})
	s.wakeMu.Unlock()
}
