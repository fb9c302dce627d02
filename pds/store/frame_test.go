package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

func TestPackFrame(t *testing.T) {
	random := make([]byte, 3000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	random[0] = 0xa2
	for name, frame := range map[string][]byte{
		"empty":   {},
		"short":   {0xa2},
		"random":  random,
		"repeats": append([]byte{0xa2}, bytes.Repeat([]byte("bafyreib"), 1000)...),
	} {
		packed := packFrame([]byte("x"), frame)[1:]
		if len(packed) > len(frame) {
			t.Errorf("%s grew from %d to %d bytes", name, len(frame), len(packed))
		}
		if got, err := unpackFrame(packed); err != nil || !bytes.Equal(got, frame) {
			t.Errorf("%s came back as %d of %d bytes, %v", name, len(got), len(frame), err)
		}
	}
}

func TestUnpackDamagedFrame(t *testing.T) {
	packed := packFrame(nil, append([]byte{0xa2}, bytes.Repeat([]byte("bafyreib"), 1000)...))
	for name, stored := range map[string][]byte{
		"nothing behind the mark": {framePacked},
		"cut short":               packed[:len(packed)-1],
		"too much":                append(packed[:len(packed):len(packed)], 0),
		"huge":                    {framePacked, 0xff, 0xff, 0xff, 0xff, 0x0f, 0},
	} {
		if _, err := unpackFrame(stored); !errors.Is(err, errPackedFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
