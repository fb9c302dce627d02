package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// checkpointJobs is the number of jobs between two checkpoints.
const checkpointJobs = 256

// logLookJobs is the number of jobs between two looks at the size of the log's file.
const logLookJobs = 8

const (
	// resetWait is how long writes may stand still while the log is reset and other reads have to end. Those of this package are short, but a check is not.
	resetWait = 250 * time.Millisecond
	// resetPause is the time to the next attempt, if the log could not be reset.
	resetPause = 5 * time.Second
)

// checkpointer moves pages from the write-ahead log to the database file on a connection of its own, so that commits do not wait for it. SQLite begins
// the log anew only in a moment when all of it was moved and nobody reads from it, which may never come while repositories are exported one after the other and people
// write. So when the log has grown to logBytes, the checkpointer makes such a moment.
type checkpointer struct {
	db       *sql.DB
	log      *slog.Logger
	gate     *gate
	reset    func(ctx context.Context) (bool, error) // has the writer begin the log anew
	logFile  string
	logBytes int64
	jobs     int       // since the last checkpoint; owned by the writer's goroutine
	retry    time.Time // when the log may be reset again, after it could not be; owned by run
	wake     chan struct{}

	stop    context.CancelFunc
	stopped chan struct{}
	once    sync.Once
}

func (s *Store) startCheckpointer() (*checkpointer, error) {
	db, err := openPool(s.opts.Path, checkPragmas, 1, 1)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &checkpointer{
		db: db, log: s.opts.Logger, gate: s.gate, reset: s.w.resetLog, logFile: s.opts.Path + "-wal", logBytes: s.opts.LogBytes,
		wake: make(chan struct{}, 1), stop: cancel, stopped: make(chan struct{}),
	}
	go c.run(ctx)
	return c, nil
}

// committed counts the jobs of a batch. It never waits.
func (c *checkpointer) committed(jobs int) {
	before := c.jobs
	c.jobs += jobs
	look := c.jobs/logLookJobs > before/logLookJobs
	if c.jobs < checkpointJobs && !(look && c.logFull()) {
		return
	}
	c.jobs = 0
	select {
	case c.wake <- struct{}{}:
	default: // one is due already
	}
}

// logFull tells whether the log should be reset. The size of the file is that of the log, once that is more than what SQLite keeps of it.
func (c *checkpointer) logFull() bool {
	info, err := os.Stat(c.logFile)
	return err == nil && info.Size() > c.logBytes
}

func (c *checkpointer) run(ctx context.Context) {
	defer close(c.stopped)
	for {
		select {
		case <-c.wake:
			if err := c.checkpoint(ctx); err != nil && ctx.Err() == nil {
				c.log.Warn("checkpoint of the database", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (c *checkpointer) checkpoint(ctx context.Context) error {
	if !c.logFull() || time.Now().Before(c.retry) {
		return c.move(ctx)
	}
	c.gate.hold()
	defer c.gate.release()
	// Most of it while the writer goes on. It need only wait for the rest.
	if err := c.move(ctx); err != nil {
		return err
	}
	done, err := c.reset(ctx)
	if !done {
		c.retry = time.Now().Add(resetPause)
		c.log.Warn("the database's log is large and cannot be begun anew while somebody reads", "limit", c.logBytes)
	}
	return err
}

// move is a checkpoint that waits for nobody.
func (c *checkpointer) move(ctx context.Context) error {
	_, err := c.db.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)")
	return err
}

// close ends the goroutine. What is left in the log is moved when the last connection closes.
func (c *checkpointer) close() {
	c.once.Do(func() {
		c.stop()
		<-c.stopped
		_ = c.db.Close()
	})
}

// resetLog has the writer, between two transactions, move what is left in the log and begin it anew. It returns false if others read from it for too long.
func (w *writer) resetLog(ctx context.Context) (done bool, err error) {
	finished := make(chan struct{})
	reset := func() {
		defer close(finished)
		done, err = w.conn.resetLog()
	}
	select {
	case w.resets <- reset:
		<-finished
		return done, err
	case <-w.stopped:
		return false, ErrClosed
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (c *writeConn) resetLog() (done bool, err error) {
	patience := func(d time.Duration) error {
		_, err := c.conn.ExecContext(context.Background(), fmt.Sprintf("PRAGMA busy_timeout=%d", d.Milliseconds()))
		return err
	}
	if err := patience(resetWait); err != nil {
		return false, err
	}
	var busy, pages, moved int
	err = c.conn.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint(RESTART)").Scan(&busy, &pages, &moved)
	return err == nil && busy == 0, errors.Join(err, patience(busyTimeout))
}
