//go:build unix

package adopt

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// sharedLock is the byte of a database's shared memory file that everybody who has the database open keeps locked (SQLite's dead man's switch).
const sharedLock = 128

// inUse tells whether a process has the database open: SQLite's own lock says so, also across containers of one machine.
func inUse(file string) (bool, error) {
	f, err := os.Open(file + "-shm")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: sharedLock, Len: 1}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
		return false, err
	}
	return lock.Type != syscall.F_UNLCK, nil
}
