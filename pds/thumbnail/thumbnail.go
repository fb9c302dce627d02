// Package thumbnail makes small pictures of large ones that strangers have uploaded.
package thumbnail

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	_ "image/png" // one of the two kinds that are read
	"io"
	"time"

	"golang.org/x/image/draw"
)

const (
	// maxMemory bounds what a picture takes while it is made small, in bytes.
	maxMemory = 96 << 20
	quality   = 75
	// maxTime bounds the reading. A small file can have its pixels drawn thousands of times (the scans of a JPEG).
	maxTime = 5 * time.Second
)

// ErrUnusable: it is no PNG or JPEG, is damaged, or has too many pixels.
var ErrUnusable = errors.New("no picture of which a small one can be made")

// Square makes a JPEG of the middle of a PNG or JPEG, side pixels wide and high. What is transparent becomes white. The source is read twice.
func Square(from io.ReadSeeker, side int) ([]byte, error) {
	size, format, err := image.DecodeConfig(from)
	if err != nil || size.Width <= 0 || size.Height <= 0 || int64(size.Width)*int64(size.Height) > maxMemory/perPixel(format, size.ColorModel) {
		return nil, fmt.Errorf("%w: %d by %d pixels (%v)", ErrUnusable, size.Width, size.Height, err)
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	large, _, err := image.Decode(&hurried{from, time.Now().Add(maxTime)})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	small := image.NewRGBA(image.Rect(0, 0, side, side))
	draw.Draw(small, small.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.CatmullRom.Scale(small, small.Bounds(), large, middle(large.Bounds()), draw.Over, nil)
	var out bytes.Buffer
	err = jpeg.Encode(&out, small, &jpeg.Options{Quality: quality})
	return out.Bytes(), err
}

// perPixel is how many bytes a pixel may take: those of the picture, and what is kept until its end has come. That is four bytes a colour for a JPEG that gets better by
// and by, and half the picture for such a PNG.
func perPixel(format string, m color.Model) int64 {
	const together = 4 // a second picture, made of the colours or inks at the end
	switch {
	case m == color.CMYKModel:
		return 4*4 + 4 + together
	case format == "jpeg" && m != color.GrayModel: // whether they are RGB may stand behind what was read so far
		return 3*4 + 3 + together
	case m == color.RGBA64Model, m == color.NRGBA64Model:
		return 8 + 4
	}
	return 4 + 2
}

// hurried gives nothing more after a time.
type hurried struct {
	io.Reader
	until time.Time
}

func (h *hurried) Read(p []byte) (int, error) {
	if time.Now().After(h.until) {
		return 0, errors.New("it takes too long")
	}
	return h.Reader.Read(p[:min(len(p), 512)])
}

// middle is the largest square in the middle of a picture.
func middle(r image.Rectangle) image.Rectangle {
	side := min(r.Dx(), r.Dy())
	at := image.Pt(r.Min.X+(r.Dx()-side)/2, r.Min.Y+(r.Dy()-side)/2)
	return image.Rectangle{Min: at, Max: at.Add(image.Pt(side, side))}
}
