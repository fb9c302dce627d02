package store

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrDiskFull says that the disk has no room for a change. Nothing was changed. Writes succeed again by themselves as soon as there is room.
var ErrDiskFull = errors.New("the disk of the database is full")

// diskFull adds ErrDiskFull to an error that comes of it.
func diskFull(err error) error {
	var e *sqlite.Error
	if err == nil || errors.Is(err, ErrDiskFull) || !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE: // the latter is how the index of the log meets a full disk
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}

// noteDisk tells the log when the disk becomes full, and when writes succeed again, once each. err is a batch's, or that of one of its jobs.
func (w *writer) noteDisk(err error) {
	full := errors.Is(err, ErrDiskFull)
	switch {
	case full && !w.diskFull:
		w.s.opts.Logger.Error("the disk is full: nothing can be written until there is more", "database", w.s.opts.Path, "err", err)
	case err == nil && w.diskFull:
		w.s.opts.Logger.Info("the disk has room again: writes go on", "database", w.s.opts.Path)
	case err != nil:
		return
	}
	w.diskFull = full
}

// fullest looks at the errors of a batch for a full disk, marks those that come of it, and returns one of them, else err.
func fullest(err error, batch []*job) error {
	for _, j := range batch {
		if j.err = diskFull(j.err); errors.Is(j.err, ErrDiskFull) {
			err = j.err
		}
	}
	return err
}
