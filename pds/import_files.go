package pds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"perch/pds/store"
	"perch/repo"
	"perch/xrpc"
)

const (
	importFolder = "imports" // in the data folder: repositories on their way in
	importPrefix = "import-" // then the account's id and something random
	indexPrefix  = "index-"
	// maxImports is how many imports are verified and stored at a time; others wait. maxReceiving is how many are received that somebody sends by importRepo:
	// those that this server fetches are bounded where it does that.
	maxImports   = 2
	maxReceiving = 16
	// maxReceivingFrom is how many of those may come from one address: whoever sends slowly holds a place for hours.
	maxReceivingFrom = 4
	// roomStep is how many bytes are written between two looks at the disk.
	roomStep = 8 << 20
	// importLeftover is the age from which a file of nobody's is swept up.
	importLeftover = time.Hour
)

// imports are the repositories on their way in: their files, and who is bringing one.
type imports struct {
	dir  string
	gate chan struct{}
	room func() error // tells when the disk has too little room

	mu        sync.Mutex
	busy      map[store.AccountID]bool // guarded by mu
	receiving int                      // guarded by mu; how many are received by importRepo
	from      map[string]int           // guarded by mu; the same for each address
}

func newImports(dataDirectory string, room func() error) (*imports, error) {
	dir := filepath.Join(dataDirectory, importFolder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for imports: %w", err)
	}
	im := &imports{dir: dir, gate: make(chan struct{}, maxImports), room: room, busy: make(map[store.AccountID]bool), from: make(map[string]int)}
	return im, clearImports(dir)
}

// clearImports removes at the start what no job goes on with: an earlier process was in the midst of it, and it may be large.
func clearImports(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if err == nil && (strings.HasPrefix(e.Name(), rescuePrefix) || strings.HasPrefix(e.Name(), indexPrefix)) {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	if err != nil {
		return fmt.Errorf("clear the folder for imports: %w", err)
	}
	return nil
}

// enter keeps an account to one import at a time.
func (im *imports) enter(acct store.AccountID) (leave func(), err error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.busy[acct] {
		return nil, xrpc.NewError(400, "ImportInProgress", "Another import of this account is under way")
	}
	im.busy[acct] = true
	return func() {
		im.mu.Lock()
		defer im.mu.Unlock()
		delete(im.busy, acct)
	}, nil
}

// receive bounds what is sent by importRepo at a time, and keeps an address to its share of it; "" has all.
func (im *imports) receive(address string) (leave func(), err error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	switch {
	case im.receiving >= maxReceiving:
		return nil, xrpc.NewError(503, xrpc.NameNotEnough, "Too many repositories are being imported. Try again in a few minutes.")
	case address != "" && im.from[address] >= maxReceivingFrom:
		return nil, xrpc.NewError(503, xrpc.NameNotEnough, "Too many repositories are being imported from your address. Try again in a few minutes.")
	}
	im.receiving++
	im.from[address]++
	return func() {
		im.mu.Lock()
		defer im.mu.Unlock()
		im.receiving--
		if im.from[address]--; im.from[address] == 0 {
			delete(im.from, address)
		}
	}, nil
}

func (im *imports) running(acct store.AccountID) bool {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.busy[acct]
}

// importFile is the CAR of one import, with the files of its index.
type importFile struct {
	*os.File
	name  string // in the folder; also that of the replacement
	index []*os.File
	room  func() error
}

// create begins a file for a repository of the account.
func (im *imports) create(acct store.AccountID) (*importFile, error) {
	f, err := os.CreateTemp(im.dir, fmt.Sprintf("%s%d-*.car", importPrefix, acct))
	if err != nil {
		return nil, fmt.Errorf("begin import: %w", err)
	}
	return &importFile{File: f, name: filepath.Base(f.Name()), room: im.room}, nil
}

// open opens a file that create made, maybe in the life of another process.
func (im *imports) open(name string) (*importFile, error) {
	f, err := os.Open(im.path(name))
	if err != nil {
		return nil, err
	}
	return &importFile{File: f, name: name, room: im.room}, nil
}

func (im *imports) path(name string) string { return filepath.Join(im.dir, filepath.Base(name)) }

// remove deletes the file of an import that is done or given up.
func (im *imports) remove(name string) error {
	err := os.Remove(im.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// spool makes a file for the index.
func (f *importFile) spool() (repo.Spool, error) {
	x, err := os.CreateTemp(filepath.Dir(f.Name()), indexPrefix)
	if err != nil {
		return nil, fmt.Errorf("begin index of an import: %w", err)
	}
	f.index = append(f.index, x)
	return &roomyFile{x, roomy{x, f.room, 0}}, nil
}

// roomy writes as long as the disk has room for others besides: a repository of many small blocks, with its index, takes more than three times the bytes that come.
type roomy struct {
	w     io.Writer
	room  func() error
	since int // bytes written since the last look
}

// Write implements io.Writer.
func (r *roomy) Write(p []byte) (int, error) {
	if r.since += len(p); r.since >= roomStep {
		r.since = 0
		if err := r.room(); err != nil {
			return 0, err
		}
	}
	return r.w.Write(p)
}

// roomyFile is a file of the index.
type roomyFile struct {
	io.ReaderAt
	roomy
}

// sync brings the file and its name to the disk.
func (f *importFile) sync() error {
	if err := f.Sync(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	defer dir.Close()
	_ = dir.Sync() // not every system can
	return nil
}

// close closes all and removes the index.
func (f *importFile) close() {
	for _, x := range f.index {
		_ = x.Close()
		_ = os.Remove(x.Name())
	}
	_ = f.Close()
}

// sweepImports removes files that no import needs: what the end of the process left behind. A file whose repository is certain to come stays.
func (s *Server) sweepImports(ctx context.Context) error {
	return s.sweepImportsBefore(ctx, time.Now().Add(-importLeftover))
}

func (s *Server) sweepImportsBefore(ctx context.Context, before time.Time) error {
	entries, err := os.ReadDir(s.imports.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.ModTime().Before(before) || !s.importUnneeded(ctx, e.Name()) {
			continue
		}
		if err := s.imports.remove(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) importUnneeded(ctx context.Context, name string) bool {
	if strings.HasPrefix(name, indexPrefix) {
		return true
	}
	if strings.HasPrefix(name, rescuePrefix) {
		return !s.rescuing.Load()
	}
	id, _, ok := strings.Cut(strings.TrimPrefix(name, importPrefix), "-")
	acct, err := strconv.ParseInt(id, 10, 64)
	if !ok || err != nil || !strings.HasPrefix(name, importPrefix) || s.imports.running(store.AccountID(acct)) {
		return false
	}
	current, err := s.store.Replacing(ctx, store.AccountID(acct))
	return errors.Is(err, store.ErrNotFound) || err == nil && current != name
}
