package thumbnail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"testing"
)

// encode paints a picture whose left third is red, and the rest transparent.
func encode(t testing.TB, width, height int) []byte {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width / 3 {
			m.Set(x, y, color.NRGBA{255, 0, 0, 255})
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, m); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestSquareShowsTheMiddle(t *testing.T) {
	small, err := Square(bytes.NewReader(encode(t, 300, 100)), 20)
	if err != nil {
		t.Fatal(err)
	}
	m, err := jpeg.Decode(bytes.NewReader(small))
	if err != nil || m.Bounds() != image.Rect(0, 0, 20, 20) {
		t.Fatalf("%v %v", m, err)
	}
	if r, g, b, _ := m.At(2, 10).RGBA(); min(r, g, b) < 0xf000 {
		t.Errorf("the middle is %x %x %x, want white", r, g, b)
	}
	tall, err := Square(bytes.NewReader(encode(t, 3, 900)), 20)
	if err != nil {
		t.Fatal(err)
	}
	m, _ = jpeg.Decode(bytes.NewReader(tall))
	if r, g, _, _ := m.At(1, 10).RGBA(); r < 0xc000 || g > 0x6000 {
		t.Errorf("the left is %x %x, want red", r, g)
	}
}

// huge is a PNG whose head claims a size.
func huge(t testing.TB, width, height uint32) []byte {
	out := encode(t, 3, 3)
	binary.BigEndian.PutUint32(out[16:], width)
	binary.BigEndian.PutUint32(out[20:], height)
	binary.BigEndian.PutUint32(out[29:], crc32.ChecksumIEEE(out[12:29]))
	return out
}

func TestSquareRefuses(t *testing.T) {
	whole := encode(t, 30, 30)
	for name, text := range map[string][]byte{
		"nothing": nil, "text": []byte("hello"), "half": whole[:len(whole)/2], "a GIF": []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;"),
		"too many pixels": huge(t, 60_000, 60_000), "a line": huge(t, 1, 9<<20),
	} {
		if _, err := Square(bytes.NewReader(text), 20); !errors.Is(err, ErrUnusable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzSquare(f *testing.F) {
	f.Add(encode(f, 9, 4))
	var j bytes.Buffer
	_ = jpeg.Encode(&j, image.NewGray(image.Rect(0, 0, 5, 5)), nil)
	f.Add(j.Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<12 {
			return
		}
		if small, err := Square(bytes.NewReader(text), 8); err == nil && len(small) == 0 {
			t.Error("nothing came out")
		}
	})
}
