package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

const (
	// maxBatch is the number of jobs that share one transaction and one sync to disk.
	maxBatch = 64
	// queueLength bounds the jobs that wait; further callers wait to get in.
	queueLength = 512
)

// A job's state: the writer takes it, or its caller gives up first.
const (
	jobQueued int32 = iota
	jobTaken
	jobAbandoned
)

type job struct {
	fn     func(tx *Tx) error
	atomic bool // fn changes nothing before its last reason to fail, so it needs no savepoint
	state  atomic.Int32
	done   chan struct{} // closed once err is final
	err    error

	events []StoredEvent
	after  []func()
}

// writer owns the connection that writes. Only run's goroutine touches conn once it has been started.
type writer struct {
	s      *Store
	conn   *writeConn
	seq    int64  // of the last event in the transaction
	packed []byte // room for the stored form of an event's frame

	diskFull bool // at the last batch that wrote

	queue   chan *job
	resets  chan func() // done between two batches
	started bool

	stopOnce sync.Once
	stopping chan struct{}
	stopped  chan struct{}
}

func newWriter(s *Store, conn *writeConn) *writer {
	return &writer{
		s: s, conn: conn,
		queue:    make(chan *job, queueLength),
		resets:   make(chan func()),
		stopping: make(chan struct{}),
		stopped:  make(chan struct{}),
	}
}

// Update runs fn inside the writer's current transaction and returns once that is synced to disk. An error of fn, which Update returns as it
// is, undoes what fn did and nothing else. fn must be short, must not use the network, and must not call Store's methods.
//
// ctx counts while the job waits for its turn. From then on Update waits for the outcome, so that a write that may be on disk is never
// reported as cancelled.
func (s *Store) Update(ctx context.Context, fn func(tx *Tx) error) error {
	return s.w.do(ctx, &job{fn: fn})
}

func (w *writer) do(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.join(ctx)
	j.done = make(chan struct{})
	select {
	case <-w.stopping:
		return ErrClosed
	default:
	}
	select {
	case w.queue <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.stopping:
		return ErrClosed
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return j.giveUp(ctx.Err())
	case <-w.stopped:
		return j.giveUp(ErrClosed)
	}
}

// giveUp takes the job back if the writer has not taken it yet; otherwise it waits for the answer.
func (j *job) giveUp(err error) error {
	if j.state.CompareAndSwap(jobQueued, jobAbandoned) {
		return err
	}
	<-j.done
	return j.err
}

func (w *writer) stop() {
	w.stopOnce.Do(func() { close(w.stopping) })
	if w.started {
		<-w.stopped
	}
}

func (w *writer) run() {
	defer close(w.stopped)
	batch := make([]*job, 0, maxBatch)
	for {
		select {
		case j := <-w.queue:
			w.runBatch(w.take(batch[:0], j))
		case reset := <-w.resets:
			reset()
		case <-w.stopping:
			for batch = w.take(batch[:0], nil); len(batch) > 0; batch = w.take(batch[:0], nil) {
				w.runBatch(batch)
			}
			return
		}
	}
}

// take adds first and whatever else waits to batch, without waiting itself.
func (w *writer) take(batch []*job, first *job) []*job {
	if first != nil && first.state.CompareAndSwap(jobQueued, jobTaken) {
		batch = append(batch, first)
	}
	for len(batch) < maxBatch {
		select {
		case j := <-w.queue:
			if j.state.CompareAndSwap(jobQueued, jobTaken) {
				batch = append(batch, j)
			}
		default:
			return batch
		}
	}
	return batch
}

func (w *writer) runBatch(batch []*job) {
	if len(batch) == 0 {
		return
	}
	events, err := w.transact(batch)
	err = diskFull(err)
	w.noteDisk(fullest(err, batch))
	if err != nil {
		for _, j := range batch {
			if j.err == nil { // those who failed by themselves keep their own reason
				j.err = err
			}
		}
	} else {
		_ = w.s.fault("committed")
		if len(events) > 0 {
			w.s.lastSeq.Store(events[len(events)-1].Seq)
		}
	}
	for _, j := range batch {
		if j.err == nil {
			for _, fn := range j.after {
				fn()
			}
		}
		close(j.done)
	}
	_ = w.s.fault("answered")
	if err == nil {
		w.s.publish(events)
		w.s.check.committed(len(batch))
	}
}

// transact runs the jobs in one transaction. When it returns an error, nothing of any job is in the database.
func (w *writer) transact(batch []*job) ([]StoredEvent, error) {
	if err := w.begin(); err != nil {
		return nil, err
	}
	events, err := w.apply(batch)
	if err == nil {
		err = w.s.fault("before commit")
	}
	if err == nil {
		if _, err = w.conn.exec("COMMIT"); err != nil {
			if err = diskFull(err); !errors.Is(err, ErrDiskFull) { // without room for the last page of a transaction it is none
				err = fmt.Errorf("%w: %w", ErrUncertain, err)
			}
			err = fmt.Errorf("commit transaction: %w", err)
		}
	}
	if err != nil {
		w.rollback()
		return nil, err
	}
	return events, nil
}

func (w *writer) begin() error {
	if _, err := w.conn.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	return nil
}

// rollback is for a transaction that may have ended by itself, which some errors of SQLite bring about.
func (w *writer) rollback() {
	_, _ = w.conn.exec("ROLLBACK")
	w.seq = w.s.LastSeq()
}

func (w *writer) apply(batch []*job) (events []StoredEvent, err error) {
	now := w.s.opts.Now()
	for _, j := range batch {
		if err := w.runJob(j, &Tx{s: w.s, conn: w.conn, now: now}); err != nil {
			return nil, err
		}
		events = append(events, j.events...)
	}
	return events, nil
}

// errHalfApplied wraps the error of a job that needed no savepoint and yet failed after its first change. It ends the whole transaction.
var errHalfApplied = errors.New("transaction abandoned")

// runJob runs one job. Its own failure is left in j.err; the error returned is one that ends the whole transaction.
func (w *writer) runJob(j *job, tx *Tx) error {
	if j.atomic {
		if j.err = callJob(j.fn, tx); !leftUntouched(j.err) {
			return j.err
		}
	} else if err := w.runSaved(j, tx); err != nil {
		return err
	}
	if j.err == nil {
		j.events, j.after = tx.events, tx.after
	}
	return nil
}

// leftUntouched tells whether a job that has no savepoint, and ended with err, surely changed nothing and left the transaction open. An error that it does not
// know is none of those: after a panic there may be half a commit, and after some errors of the disk SQLite has ended the transaction by itself, so that what the
// next job writes would be on disk at once, bit by bit.
func leftUntouched(err error) bool {
	return err == nil || !errors.Is(err, errHalfApplied) && (refused(err) || errors.Is(err, errMoved) || errors.Is(err, ErrNotFound))
}

// runSaved runs a job inside a savepoint, so that its error undoes it alone.
func (w *writer) runSaved(j *job, tx *Tx) error {
	if _, err := w.conn.exec("SAVEPOINT job"); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	seq := w.seq
	j.err = callJob(j.fn, tx)
	if j.err != nil {
		w.seq = seq
		if _, err := w.conn.exec("ROLLBACK TO job"); err != nil {
			return fmt.Errorf("roll back job: %w: %w", err, j.err) // which may be why
		}
	}
	if _, err := w.conn.exec("RELEASE job"); err != nil {
		return fmt.Errorf("release savepoint: %w", err)
	}
	return nil
}

// callJob turns a panic into an error: it must not end the writer, on whom all callers wait.
func callJob(fn func(tx *Tx) error, tx *Tx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in a database job: %v\n%s", r, debug.Stack())
		}
	}()
	return fn(tx)
}
