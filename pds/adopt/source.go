package adopt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/blob"
)

var (
	// ErrRunning says that the reference PDS still runs on the directory.
	ErrRunning = errors.New("the reference PDS is still running on these data: stop it first")
	// ErrNoReference says that a directory does not hold the data of a reference PDS.
	ErrNoReference = errors.New("not the data of a reference PDS")
)

var errNoFile = errors.New("what is in its place is no file")

// Layout says where a reference PDS keeps its data.
type Layout struct {
	AccountDB   string       // account.sqlite
	SequencerDB string       // sequencer.sqlite
	Actors      string       // folder of the actor stores
	Blobs       string       // folder of the blobs; "" when they are not on disk
	Quarantine  string       // folder of the blobs that are taken down
	Bucket      *blob.Bucket // where the blobs are, when they are in no folder
	Scratch     string       // folder for copies of databases whose log is not folded in; "" for the system's
}

// Source is a reference PDS's data, open for reading.
type Source struct {
	layout    Layout
	accounts  *database
	sequencer *database
	running   bool
}

// Running tells whether the server has its databases open.
func Running(l Layout) (bool, error) {
	for _, file := range []string{l.AccountDB, l.SequencerDB} {
		if used, err := inUse(file); used || err != nil {
			return used, err
		}
	}
	return false, nil
}

// Open opens the data. It does not mind that the server runs; what Check finds then is of a moment, and Import refuses with ErrRunning.
func Open(ctx context.Context, l Layout) (src *Source, err error) {
	src = &Source{layout: l}
	if src.running, err = Running(l); err != nil {
		return nil, err
	}
	if src.accounts, err = openPart(ctx, l.AccountDB, l.Scratch); err != nil {
		return nil, err
	}
	if src.sequencer, err = openPart(ctx, l.SequencerDB, l.Scratch); err != nil {
		return nil, errors.Join(err, src.accounts.Close())
	}
	for file, d := range map[string]*database{l.AccountDB: src.accounts, l.SequencerDB: src.sequencer} {
		if err := d.PingContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", file, err), src.Close())
		}
	}
	return src, nil
}

func openPart(ctx context.Context, file, scratch string) (*database, error) {
	d, err := openDatabase(ctx, file, scratch)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no %s", ErrNoReference, file)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	return d, nil
}

// Close releases the files and removes copies.
func (src *Source) Close() error { return errors.Join(src.accounts.Close(), src.sequencer.Close()) }

// actorDir is the folder of one account.
func (src *Source) actorDir(did syntax.DID) string {
	sum := sha256.Sum256([]byte(did))
	return filepath.Join(src.layout.Actors, hex.EncodeToString(sum[:1]), string(did))
}

// blobFile finds the file of a blob; one that is taken down is looked for where those go first.
func (src *Source) blobFile(did syntax.DID, cid string, takendown bool) (file string, size int64, err error) {
	places := []string{src.layout.Blobs, src.layout.Quarantine}
	if takendown {
		places[0], places[1] = places[1], places[0]
	}
	err = fs.ErrNotExist
	for _, place := range places {
		if place == "" {
			continue
		}
		file = filepath.Join(place, string(did), cid)
		var info os.FileInfo
		if info, err = os.Stat(file); err == nil && !info.Mode().IsRegular() {
			return "", 0, errNoFile // a pipe would keep a reader waiting for ever
		}
		if err == nil {
			return file, info.Size(), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", 0, err
		}
	}
	return "", 0, err
}
