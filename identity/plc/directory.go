package plc

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// How many operations the directory takes for one DID, as the public one does.
var rateLimits = []struct {
	window time.Duration
	most   int
	name   string
}{
	{time.Hour, 10, "hour"},
	{24 * time.Hour, 30, "day"},
	{7 * 24 * time.Hour, 100, "week"},
}

// DirectoryOptions are the settings of a Directory; the zero value works.
type DirectoryOptions struct {
	Now          func() time.Time // nil: time.Now
	Logger       *slog.Logger     // nil: slog.Default()
	NoRateLimits bool             // take any number of operations for one DID
}

// Directory is a PLC directory for development and tests: an http.Handler with
// the routes of plc.directory, and state in one append-only file of JSON lines.
// It is safe for concurrent use.
type Directory struct {
	opts DirectoryOptions
	mux  *http.ServeMux

	mu   sync.RWMutex // guards what follows
	dids map[syntax.DID]*record
	all  []position // every operation in the order of its coming: what /export walks
	file *journal   // nil: memory only
}

// record is the log of one DID.
type record struct {
	log []LogEntry // replaced, never changed, by an operation
}

// position names one operation: index is its place in the DID's log.
type position struct {
	did   syntax.DID
	index int
}

// OpenDirectory opens or makes the directory whose operations are in the file
// path, and verifies all of them; an empty path keeps them in memory only. An
// unfinished last line, which was never acknowledged, is cut off; any other
// damage is an error that names the line.
func OpenDirectory(path string, opts DirectoryOptions) (*Directory, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	d := &Directory{opts: opts, dids: map[syntax.DID]*record{}}
	d.mux = d.routes()
	if path == "" {
		return d, nil
	}
	file, err := openJournal(path, opts.Logger, func(e LogEntry) error {
		next, err := Append(d.logOf(e.DID), e)
		if err == nil {
			d.store(e.DID, next)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open PLC directory %s: %w", path, err)
	}
	d.file = file
	return d, nil
}

// Close closes the file. The directory answers no more operations after it.
func (d *Directory) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == nil {
		return nil
	}
	return d.file.close()
}

// ServeHTTP answers the PLC directory's HTTP API, to web pages of any origin.
func (d *Directory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
		w.Header().Set("Access-Control-Allow-Headers", "*")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	d.mux.ServeHTTP(w, r)
}

// Submit takes a signed operation, as POST /:did does. The operation is on disk
// when Submit returns nil. Errors are this package's.
func (d *Directory) Submit(did syntax.DID, op Operation) error {
	if err := CheckDID(did); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidOperation, err)
	}
	if err := check(op, maxServerKeys); err != nil {
		return err
	}
	c, err := op.CID()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	log := d.logOf(did)
	now := d.now(log)
	next, err := Append(log, LogEntry{DID: did, Operation: op, CID: c, CreatedAt: now})
	if err != nil {
		return err
	}
	if err := d.checkRate(log, now); err != nil {
		return err
	}
	if d.file != nil {
		if err := d.file.append(next[len(next)-1]); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	d.store(did, next)
	return nil
}

// now is the time of an operation that follows log: whole milliseconds, as the
// file keeps them, and never before the last one.
func (d *Directory) now(log []LogEntry) time.Time {
	now := d.opts.Now().UTC().Truncate(time.Millisecond)
	if len(log) > 0 && now.Before(log[len(log)-1].CreatedAt) {
		return log[len(log)-1].CreatedAt
	}
	return now
}

func (d *Directory) checkRate(log []LogEntry, now time.Time) error {
	if d.opts.NoRateLimits {
		return nil
	}
	for _, limit := range rateLimits {
		n := 0
		for _, e := range log {
			if now.Sub(e.CreatedAt) < limit.window {
				n++
			}
		}
		if n >= limit.most {
			return fmt.Errorf("%w: too many operations within last %s (max %d)", ErrRateLimited, limit.name, limit.most)
		}
	}
	return nil
}

// logOf returns the log of did, nil if there is none; the caller holds mu.
func (d *Directory) logOf(did syntax.DID) []LogEntry {
	if r := d.dids[did]; r != nil {
		return r.log
	}
	return nil
}

// store makes log, which has one entry more, the log of did; the caller holds mu.
func (d *Directory) store(did syntax.DID, log []LogEntry) {
	r := d.dids[did]
	if r == nil {
		r = &record{}
		d.dids[did] = r
	}
	r.log = log
	d.all = append(d.all, position{did, len(log) - 1})
}

// Audit returns the whole log of did, oldest first, or ErrNotFound. The caller
// must not change it.
func (d *Directory) Audit(did syntax.DID) ([]LogEntry, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if log := d.logOf(did); log != nil {
		return log, nil
	}
	return nil, ErrNotFound
}

// statusOf maps an error of Submit to the answer of POST.
func statusOf(err error) int {
	switch {
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrTombstoned):
		return http.StatusGone
	case errors.Is(err, ErrMisordered):
		return http.StatusConflict
	case errors.Is(err, ErrRateLimited):
		return http.StatusTooManyRequests
	case errors.Is(err, ErrUnavailable):
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}
