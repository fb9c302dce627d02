package store

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
)

// checkpointJobs is the number of jobs between two checkpoints.
const checkpointJobs = 256

// checkpointer moves pages from the write-ahead log to the database file on a connection of its own, so that commits do not wait for it.
type checkpointer struct {
	db   *sql.DB
	log  *slog.Logger
	jobs int // since the last checkpoint; owned by the writer's goroutine
	wake chan struct{}

	stop    context.CancelFunc
	stopped chan struct{}
	once    sync.Once
}

func startCheckpointer(path string, log *slog.Logger) (*checkpointer, error) {
	db, err := openPool(path, checkPragmas, 1, 1)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &checkpointer{db: db, log: log, wake: make(chan struct{}, 1), stop: cancel, stopped: make(chan struct{})}
	go c.run(ctx)
	return c, nil
}

// committed counts the jobs of a batch. It never waits.
func (c *checkpointer) committed(jobs int) {
	if c.jobs += jobs; c.jobs < checkpointJobs {
		return
	}
	c.jobs = 0
	select {
	case c.wake <- struct{}{}:
	default: // one is due already
	}
}

func (c *checkpointer) run(ctx context.Context) {
	defer close(c.stopped)
	for {
		select {
		case <-c.wake:
			if _, err := c.db.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)"); err != nil && ctx.Err() == nil {
				c.log.Warn("checkpoint of the database", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// close ends the goroutine. What is left in the log is moved when the last connection closes.
func (c *checkpointer) close() {
	c.once.Do(func() {
		c.stop()
		<-c.stopped
		_ = c.db.Close()
	})
}
