package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"perch/testdata/peers/bench/wire"
)

const (
	writePause   = 20 * time.Millisecond // between the writes of the delivery cases: below what either server can do
	deliveryWait = 10 * time.Second      // for the last event to arrive
	backfillWait = 90 * time.Second
	minBackfill  = 1500 * time.Millisecond // short replays are repeated, /proc counts CPU in steps of 10 ms
)

// consumer is one reader of live events; seen is when each rev arrived.
type consumer struct {
	stream *wire.Firehose
	seen   map[string]time.Time
	err    error
}

// delivery has one writer at a steady pace and measures how long after a write's answer its event is at each consumer.
func delivery(consumers int) func(b *bench) (Figure, error) {
	return func(b *bench) (Figure, error) {
		all, err := b.accounts("one1", 1)
		if err != nil {
			return Figure{}, err
		}
		readers := make([]*consumer, consumers)
		for i := range readers {
			stream, err := wire.Subscribe(b.server.Addr, "")
			if err != nil {
				return Figure{}, err
			}
			defer stream.Close()
			readers[i] = &consumer{stream: stream, seen: map[string]time.Time{}}
		}
		return b.deliver(all[0], readers)
	}
}

func (b *bench) deliver(a *wire.Account, readers []*consumer) (Figure, error) {
	// A first write makes sure that every consumer is attached; consumers end when they see the last one.
	last := make(chan struct{})
	var lastRev string
	var wg sync.WaitGroup
	for _, r := range readers {
		r.stream.SetDeadline(time.Now().Add(b.limit + 3*deliveryWait))
		wg.Go(func() { r.read(last, &lastRev) })
	}
	answered := map[string]time.Time{}
	var latencies []time.Duration
	f, err := b.run(load{workers: 1, limit: b.limit, start: func(int) op {
		posts := wire.NewPosts("delivery")
		var body []byte
		next := time.Now()
		return func(c *wire.Conn) (int64, error) {
			next = next.Add(writePause)
			time.Sleep(time.Until(next)) // the pace is what is wanted here
			sent := time.Now()
			rev, err := create(c, posts, &body, a)
			if err == nil {
				answered[rev] = time.Now()
				latencies = append(latencies, answered[rev].Sub(sent))
			}
			return 0, err
		}
	}})
	if err != nil {
		return f, err
	}
	c := wire.NewConn(b.server.Addr)
	defer c.Close()
	var body []byte
	lastRev, err = create(c, wire.NewPosts("last"), &body, a)
	close(last)
	if err != nil {
		return f, err
	}
	for _, r := range readers {
		r.stream.SetDeadline(time.Now().Add(deliveryWait))
	}
	wg.Wait()
	f.P50, f.P99 = ms(percentile(latencies, 0.5)), ms(percentile(latencies, 0.99)) // those of run hold the pauses
	return f, f.addDelivery(readers, answered)
}

func create(c *wire.Conn, posts *wire.Posts, body *[]byte, a *wire.Account) (rev string, err error) {
	*body = posts.AppendCreate((*body)[:0], a.DID)
	var out wire.Written
	err = wire.Call(c, &wire.Request{Method: "POST", Path: recordPath, Token: a.Token, ContentType: jsonType, Body: *body}, &out)
	return out.Commit.Rev, err
}

// read notes arrivals until the event of *lastRev, which may be looked at once last is closed.
func (r *consumer) read(last <-chan struct{}, lastRev *string) {
	for {
		msg, err := r.stream.Next()
		if err != nil {
			r.err = err
			return
		}
		rev := wire.Rev(msg)
		r.seen[rev] = time.Now()
		select {
		case <-last:
			if _, done := r.seen[*lastRev]; done {
				return
			}
		default:
		}
	}
}

// addDelivery fills in the delivery times; an event that a consumer missed is an error.
func (f *Figure) addDelivery(readers []*consumer, answered map[string]time.Time) error {
	var all []time.Duration
	for i, r := range readers {
		for rev, at := range answered {
			seen, ok := r.seen[rev]
			if !ok {
				return fmt.Errorf("consumer %d never saw rev %s (%d of %d events, stream: %v)", i, rev, len(r.seen), len(answered), r.err)
			}
			all = append(all, seen.Sub(at))
		}
	}
	f.DeliverP50, f.DeliverP99 = ms(percentile(all, 0.5)), ms(percentile(all, 0.99))
	return nil
}

// backfill replays all events from cursor 0, again and again until it has measured long enough.
func (b *bench) backfill() (Figure, error) {
	all, err := b.accounts("one1", 1)
	if err != nil {
		return Figure{}, err
	}
	c := wire.NewConn(b.server.Addr)
	defer c.Close()
	var body []byte
	end, err := create(c, wire.NewPosts("end of log"), &body, all[0])
	if err != nil {
		return Figure{}, err
	}
	before, err := b.server.Usage()
	if err != nil {
		return Figure{}, err
	}
	began := time.Now()
	var t tally
	for time.Since(began) < minBackfill {
		if err := b.replay(end, &t); err != nil {
			return Figure{}, err
		}
	}
	took := time.Since(began)
	after, err := b.server.Usage()
	if err != nil {
		return Figure{}, err
	}
	f := b.figure([]tally{t}, took, after.Sub(before))
	f.P50, f.P99 = 0, 0
	return f, nil
}

// replay reads from cursor 0 to the event with rev end; each event counts as an operation.
func (b *bench) replay(end string, t *tally) error {
	stream, err := wire.Subscribe(b.server.Addr, "0")
	if err != nil {
		return err
	}
	defer stream.Close()
	stream.SetDeadline(time.Now().Add(backfillWait))
	for {
		msg, err := stream.Next()
		if err != nil {
			return fmt.Errorf("backfill broke off after %d events: %w", len(t.latencies), err)
		}
		if text, bad := wire.IsError(msg); bad {
			return errors.New(text)
		}
		t.latencies = append(t.latencies, 0)
		t.bytes += int64(len(msg))
		if wire.Rev(msg) == end {
			return nil
		}
	}
}
