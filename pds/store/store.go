package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

var (
	// ErrNotFound says that there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrClosed is returned once Close has been called.
	ErrClosed = errors.New("store is closed")
	// ErrUncertain says that the disk failed while a change was written. It is not in force, but may come back when the database is opened anew.
	ErrUncertain = errors.New("outcome is uncertain")
	// ErrLocked says that another process has this database open.
	ErrLocked = errors.New("database is in use by another process")
)

// AccountID is the small number by which every table of a repository begins. Zero is no account.
type AccountID int64

// Options configure Open. Only Path is needed.
type Options struct {
	// Path of the database file. Its folder is made when it is missing.
	Path string
	// TreeCacheBytes bounds the memory of warm trees; zero means 16 MB.
	TreeCacheBytes int64
	// Snapshots bounds how many consistent reads of whole repositories may be open at once; zero means 16.
	Snapshots int
	// LogBytes is the size at which the write-ahead log is begun anew even if snapshots have to be interrupted for it; zero means 128 MB.
	LogBytes int64
	// OutlineRecords is the number of records from which a repository keeps a stored outline; zero means 4096.
	OutlineRecords int64
	// Logger hears of trouble that no caller can be told about; nil means slog.Default.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

const (
	defaultTreeCacheBytes = 16 << 20
	defaultSnapshots      = 16
	defaultLogBytes       = 128 << 20
	defaultOutlineRecords = 4096
)

func (o Options) withDefaults() Options {
	if o.TreeCacheBytes == 0 {
		o.TreeCacheBytes = defaultTreeCacheBytes
	}
	if o.Snapshots == 0 {
		o.Snapshots = defaultSnapshots
	}
	if o.LogBytes == 0 {
		o.LogBytes = defaultLogBytes
	}
	if o.OutlineRecords == 0 {
		o.OutlineRecords = defaultOutlineRecords
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Store is an open database. It is safe for use by many goroutines.
type Store struct {
	opts   Options
	unlock func() error

	read  *reader // short reads
	snaps *sql.DB // one connection for each open Snapshot
	w     *writer
	check *checkpointer
	gate  *gate // of snapshots

	lastSeq atomic.Int64

	repoLocks keyedLocks // held by whoever changes a repository
	blobLocks keyedLocks
	trees     *treeCache
	clockID   uint // of revs; drawn for each process

	// failAt, set by tests alone, is called at the steps of a write. Its error is the step's.
	failAt func(step string) error

	wakeMu sync.Mutex
	wake   chan struct{}         // guarded by wakeMu; closed and replaced after a batch with events
	taps   []func([]StoredEvent) // guarded by wakeMu; the slice is never changed in place

	counts   blockCounts
	accounts peopleCaches // hot reads of account.go and session.go
}

// Open opens or creates the database at opts.Path and brings its schema up to date. It returns ErrLocked when another
// process has it open.
func Open(ctx context.Context, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	if err := os.MkdirAll(filepath.Dir(opts.Path), 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	unlock, err := lockFile(opts.Path + ".lock")
	if err != nil {
		return nil, err
	}
	if err := makePrivate(opts.Path); err != nil {
		return nil, errors.Join(err, unlock())
	}
	s := &Store{
		opts:    opts,
		unlock:  unlock,
		wake:    make(chan struct{}),
		gate:    newGate(),
		trees:   newTreeCache(opts.TreeCacheBytes),
		clockID: rand.UintN(1024),
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.closeAll())
	}
	return s, nil
}

// fileMode is that of the database and of the files beside it, to which SQLite gives the database's.
const fileMode = 0o600

// makePrivate sees that only the server's own user can read the database, wherever it lies: it holds e-mail addresses and hashes of passwords.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return fmt.Errorf("open the database file: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("open the database file: %w", err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Chmod(name, fileMode); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("keep others from reading the database: %w", err)
		}
	}
	return nil
}

func (s *Store) open(ctx context.Context) error {
	conn, err := openWriterConn(ctx, s.opts.Path, s.opts.LogBytes/2)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.opts.Path, err)
	}
	s.w = newWriter(s, conn)
	if err := migrate(ctx, conn.conn); err != nil {
		return err
	}
	if s.read, err = openReader(s.opts.Path); err != nil {
		return err
	}
	if s.snaps, err = openPool(s.opts.Path, readPragmas, s.opts.Snapshots, 2); err != nil {
		return err
	}
	if s.check, err = s.startCheckpointer(); err != nil {
		return err
	}
	if err := s.loadLastSeq(ctx); err != nil {
		return err
	}
	go s.w.run()
	s.w.started = true
	return nil
}

// Close lets the writer finish what it has been given, then closes the database. Calls that come later return ErrClosed.
func (s *Store) Close() error {
	return s.closeAll()
}

func (s *Store) closeAll() error {
	var errs []error
	if s.w != nil {
		s.w.stop()
	}
	if s.check != nil {
		s.check.close()
	}
	if s.read != nil {
		errs = append(errs, s.read.close())
	}
	if s.snaps != nil {
		errs = append(errs, s.snaps.Close())
	}
	if s.w != nil {
		errs = append(errs, s.w.conn.close())
	}
	if s.unlock != nil {
		errs = append(errs, s.unlock())
		s.unlock = nil
	}
	return errors.Join(errs...)
}

// PRAGMAs are part of the DSN, so that every connection of a pool has them. busy_timeout comes first: the others may have to wait.
const (
	commonPragmas = "_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)" +
		"&_pragma=temp_store(MEMORY)&_pragma=mmap_size(0)"
	// The writer checkpoints by itself only when the checkpointer falls far behind.
	writePragmas = commonPragmas + "&_pragma=cache_size(-4000)&_pragma=wal_autocheckpoint(16000)"
	readPragmas  = commonPragmas + "&_pragma=cache_size(-1000)&_pragma=wal_autocheckpoint(0)&_pragma=query_only(ON)"
	checkPragmas = commonPragmas + "&_pragma=cache_size(-1000)&_pragma=wal_autocheckpoint(0)"
)

// busyTimeout is that of the PRAGMA above.
const busyTimeout = 10 * time.Second

// openPool opens a pool of at most max connections to the database, of which idle are kept.
func openPool(path, pragmas string, max, idle int) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: pragmas}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(max)
	db.SetMaxIdleConns(idle)
	return db, nil
}

func readers() int { return max(4, runtime.GOMAXPROCS(0)) }

// micros gives the database's form of a time: microseconds since 1970, 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros is the inverse of micros. The time is in UTC.
func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// nullMicros is micros for columns that hold NULL for the zero time.
func nullMicros(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: micros(t), Valid: !t.IsZero()}
}

// nullString is NULL for "".
func nullString(s string) sql.NullString {
	return sql.NullString{String: s, Valid: s != ""}
}

// fault is a step at which a test may have a write fail, or end the process.
func (s *Store) fault(step string) error {
	if s.failAt == nil {
		return nil
	}
	return s.failAt(step)
}
