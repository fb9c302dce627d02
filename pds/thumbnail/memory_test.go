package thumbnail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/png"
	"runtime"
	"testing"
)

// progressive is a JPEG whose head claims a size, and whose pixels come in several turns, so that whoever reads it keeps all coefficients until the end. Its
// components have the names given, one byte each: "RGB" are colours that are put together at the end.
func progressive(side uint16, names string) []byte {
	components := byte(len(names))
	segment := func(marker byte, body ...byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(body)+2)), body...)
	}
	frame := append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16([]byte{8}, side), side), components)
	scan := []byte{components}
	for i := range len(names) {
		frame = append(frame, names[i], 0x11, 0)
		scan = append(scan, names[i], 0)
	}
	lengths := make([]byte, 16)
	lengths[0] = 1 // one code of one bit
	return bytes.Join([][]byte{
		{0xff, 0xd8}, segment(0xdb, make([]byte, 65)...), segment(0xc2, frame...), segment(0xc4, append(append([]byte{0}, lengths...), 0)...),
		segment(0xda, append(scan, 0, 0, 0)...), make([]byte, 64), {0xff, 0xd9},
	}, nil)
}

// The bound is about bytes: one pixel takes one of them in some pictures, and two dozen in others.
func TestSquareTakesLittleMemory(t *testing.T) {
	largest := func(perPixel int) (side int) {
		for side = 1; side*side*perPixel <= maxMemory; side++ {
		}
		return side
	}
	const inks, colours = "\x01\x02\x03\x04", "\x01\x02\x03"
	var deep bytes.Buffer
	if err := png.Encode(&deep, image.NewNRGBA64(image.Rect(0, 0, 2880, 2880))); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"JPEG of four inks": progressive(2880, inks), "JPEG of four inks that fits": progressive(uint16(largest(24)-1), inks),
		"JPEG in colours": progressive(2880, colours), "JPEG in colours that fits": progressive(uint16(largest(19)-1), colours),
		"JPEG in RGB": progressive(4000, "RGB"), "JPEG in RGB that fits": progressive(uint16(largest(19)-1), "RGB"), "PNG of 16 bits": deep.Bytes(),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Square(bytes.NewReader(text), 88)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > maxMemory+16<<20 {
			t.Errorf("%s took %d MB (%v)", name, took>>20, err)
		}
	}
	if _, err := Square(bytes.NewReader(progressive(2880, inks)), 88); !errors.Is(err, ErrUnusable) {
		t.Errorf("four inks: %v", err)
	}
	if perPixel("jpeg", color.GrayModel) >= perPixel("jpeg", color.CMYKModel) {
		t.Error("all pictures count alike")
	}
}
