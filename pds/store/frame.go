package store

import (
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"

	"perch/pds/event"
)

// Frames are stored packed: more than half of the bytes that a write causes on the disk are its event's, a frame names each block twice,
// and two of the usual length share a page once they are packed. That takes 3 µs.

// framePacked is the first byte of a packed frame; an S2 block follows. A frame that is stored as it is begins with a CBOR map.
const framePacked = 's'

// maxKeptFrame is the largest room for a packed frame that the writer keeps for the next one.
const maxKeptFrame = 64 << 10

var errPackedFrame = errors.New("packed frame is damaged")

// packFrame appends the stored form of a frame to dst.
func packFrame(dst, frame []byte) []byte {
	dst = slices.Grow(dst, 1+s2.MaxEncodedLen(len(frame)))
	room := dst[len(dst)+1 : cap(dst)]
	packed := s2.Encode(room, frame)
	if len(packed) >= len(frame) {
		return append(dst, frame...)
	}
	return append(dst, framePacked)[:len(dst)+1+len(packed)]
}

// PackedFrame is a frame in the form in which it is stored.
type PackedFrame []byte

func (f PackedFrame) packed() bool { return len(f) > 0 && f[0] == framePacked }

// Len is the length of the frame in bytes.
func (f PackedFrame) Len() (int, error) {
	if !f.packed() {
		return len(f), nil
	}
	n, err := s2.DecodedLen(f[1:])
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errPackedFrame, err)
	case n > event.MaxFrame:
		return 0, fmt.Errorf("%w: %d bytes", errPackedFrame, n)
	}
	return n, nil
}

// AppendTo appends the frame to dst.
func (f PackedFrame) AppendTo(dst []byte) ([]byte, error) {
	if !f.packed() {
		return append(dst, f...), nil
	}
	n, err := f.Len()
	if err != nil {
		return dst, err
	}
	at := len(dst)
	dst = slices.Grow(dst, n)[:at+n]
	if _, err := s2.Decode(dst[at:], f[1:]); err != nil {
		return dst[:at], fmt.Errorf("%w: %w", errPackedFrame, err)
	}
	return dst, nil
}

// unpackFrame returns the frame of a stored form, in memory of its own.
func unpackFrame(stored []byte) ([]byte, error) { return PackedFrame(stored).AppendTo(nil) }
