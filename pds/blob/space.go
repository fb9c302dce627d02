package blob

import (
	"errors"
	"fmt"
)

// ErrDiskFull: the disk has too little room left to take uploads.
var ErrDiskFull = errors.New("too little room on the disk for uploads")

const (
	// minFree bytes of the disk, or one part in minFreePart of a small one, are left to the database: uploads must not be able to keep people from writing.
	minFree     = 512 << 20
	minFreePart = 20
	// spaceStep is how many bytes of an upload are received between two looks at the disk.
	spaceStep = 8 << 20
)

// checkSpace returns ErrDiskFull when the disk under the folder is nearly full. Where that cannot be found out it is not.
func (s *Store) checkSpace() error {
	free, total, err := s.space(s.root.Name())
	if err != nil {
		return nil
	}
	if free < min(minFree, total/minFreePart) {
		return fmt.Errorf("%w: %d MiB are free", ErrDiskFull, free>>20)
	}
	return nil
}

// Space tells how many bytes of the disk are free, and how many it has.
func (s *Store) Space() (free, total uint64, err error) { return s.space(s.root.Name()) }

// CheckSpace returns ErrDiskFull when uploads of any kind should wait until there is more room.
func (s *Store) CheckSpace() error { return s.checkSpace() }

// CheckRoom returns ErrDiskFull when the disk has no room for so many bytes more, beside what is always left free.
func (s *Store) CheckRoom(bytes int64) error {
	free, total, err := s.space(s.root.Name())
	if err != nil {
		return nil
	}
	if need := uint64(max(bytes, 0)) + min(minFree, total/minFreePart); free < need {
		return fmt.Errorf("%w: %d MiB are free on the disk of %s, %d are needed", ErrDiskFull, free>>20, s.root.Name(), need>>20)
	}
	return nil
}
