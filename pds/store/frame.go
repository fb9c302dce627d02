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

// unpackFrame returns the frame of a stored form, in memory of its own.
func unpackFrame(stored []byte) ([]byte, error) {
	if len(stored) == 0 || stored[0] != framePacked {
		return slices.Clone(stored), nil
	}
	switch n, err := s2.DecodedLen(stored[1:]); {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errPackedFrame, err)
	case n > event.MaxFrame:
		return nil, fmt.Errorf("%w: %d bytes", errPackedFrame, n)
	}
	frame, err := s2.Decode(nil, stored[1:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPackedFrame, err)
	}
	return frame, nil
}
