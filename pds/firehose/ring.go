package firehose

import (
	"sort"
	"sync"

	"perch/pds/store"
)

// message is one event as it goes over the wire: a complete unmasked websocket message, header included.
// Its bytes are shared by all subscribers and never change.
type message struct {
	seq  int64
	acct store.AccountID // 0: one that stays
	data []byte
}

// ring keeps the newest messages, bounded in bytes. It covers every event with seq > after, without a gap.
type ring struct {
	maxBytes int

	mu    sync.RWMutex
	buf   []message // circular, n entries from head
	head  int
	n     int
	bytes int
	after int64         // seq of the newest event that is not in the ring
	last  int64         // seq of the newest event
	wake  chan struct{} // closed at the next broadcast

	started bool // after is known
}

// place says where a cursor stands in relation to the ring.
type place int

const (
	atEnd  place = iota // nothing newer yet: wait
	inside              // messages were taken
	behind              // the ring no longer holds what follows: read the table
)

// view is what a subscriber learns from one look at the ring.
type view struct {
	place place
	msgs  [][]byte        // what to write
	last  int64           // seq of the last of msgs
	after int64           // ring.after at the moment of the look
	wake  <-chan struct{} // closed when something was added after the look
}

func newRing(maxBytes int) *ring {
	return &ring{maxBytes: maxBytes, wake: make(chan struct{})}
}

// start tells the ring where the events end that were stored before its first.
func (r *ring) start(last int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.started {
		r.after, r.last, r.started = last, last, true
	}
}

// add appends messages in seq order; what is not newer than the last is already known and skipped.
func (r *ring) add(msgs []message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range msgs {
		if m.seq <= r.last {
			continue
		}
		if !r.started { // whatever was committed before is in the table
			r.after, r.started = m.seq-1, true
		}
		r.push(m)
		for r.bytes > r.maxBytes && r.n > 1 {
			r.evict()
		}
	}
}

func (r *ring) push(m message) {
	if r.n == len(r.buf) {
		r.grow()
	}
	r.buf[(r.head+r.n)%len(r.buf)] = m
	r.n++
	r.bytes += len(m.data)
	r.last = m.seq
}

func (r *ring) grow() {
	next := make([]message, max(64, 2*len(r.buf)))
	for i := range r.n {
		next[i] = r.at(i)
	}
	r.buf, r.head = next, 0
}

func (r *ring) evict() {
	m := &r.buf[r.head]
	r.after = m.seq
	r.bytes -= len(m.data)
	*m = message{}
	r.head = (r.head + 1) % len(r.buf)
	r.n--
}

// forget takes the messages of an account out, but never the newest message of all. Who reads on meets no gap that matters: seqs are not dense.
func (r *ring) forget(acct store.AccountID) {
	if acct == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := make([]message, 0, len(r.buf))
	for i := range r.n {
		if m := r.at(i); m.acct != acct || i == r.n-1 {
			kept = append(kept, m)
		} else {
			r.bytes -= len(m.data)
		}
	}
	r.n, r.head = len(kept), 0
	r.buf = kept[:cap(kept)]
}

// at returns the i-th oldest message.
func (r *ring) at(i int) message { return r.buf[(r.head+i)%len(r.buf)] }

// take appends to dst the messages after cursor, at most maxMsgs and about maxBytes, without copying their bytes.
func (r *ring) take(cursor int64, dst [][]byte, maxMsgs, maxBytes int) view {
	r.mu.RLock()
	defer r.mu.RUnlock()
	v := view{place: atEnd, msgs: dst, last: cursor, after: r.after, wake: r.wake}
	if cursor >= r.last {
		return v
	}
	if cursor < r.after {
		v.place = behind
		return v
	}
	size := 0
	for i := r.search(cursor); i < r.n && len(v.msgs) < maxMsgs; i++ {
		m := r.at(i)
		if size += len(m.data); size > maxBytes && len(v.msgs) > 0 {
			break
		}
		v.place, v.msgs, v.last = inside, append(v.msgs, m.data), m.seq
	}
	return v
}

// search returns the position of the first message after cursor. A consumer is usually near the end.
func (r *ring) search(cursor int64) int {
	if r.n == 1 || r.at(r.n-2).seq <= cursor {
		return r.n - 1
	}
	return sort.Search(r.n, func(i int) bool { return r.at(i).seq > cursor })
}

// broadcast wakes everybody who waits.
func (r *ring) broadcast() {
	r.mu.Lock()
	close(r.wake)
	r.wake = make(chan struct{})
	r.mu.Unlock()
}

// lastSeq returns the newest seq that subscribers can be sent.
func (r *ring) lastSeq() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.last
}

// size returns how many messages and bytes the ring holds.
func (r *ring) size() (n, bytes int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.n, r.bytes
}
