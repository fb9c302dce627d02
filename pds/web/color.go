package web

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// color is a colour in sRGB, each part from 0 to 1.
type color struct{ r, g, b float64 }

var (
	white = color{1, 1, 1}
	black = color{0, 0, 0}
)

// parseColor reads #rgb, #rrggbb, and rgb(r, g, b).
func parseColor(s string) (color, error) {
	s = strings.TrimSpace(strings.ToLower(s))
	if hex, ok := strings.CutPrefix(s, "#"); ok {
		if len(hex) == 3 {
			hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
		}
		n, err := strconv.ParseUint(hex, 16, 32)
		if err != nil || len(hex) != 6 {
			return color{}, fmt.Errorf("%q is no colour; write one such as #1f6b57", s)
		}
		return color{float64(n>>16) / 255, float64(n>>8&0xff) / 255, float64(n&0xff) / 255}, nil
	}
	var r, g, b uint8
	plain := strings.ReplaceAll(s, " ", "")
	if _, err := fmt.Sscanf(plain, "rgb(%d,%d,%d)", &r, &g, &b); err != nil || plain != fmt.Sprintf("rgb(%d,%d,%d)", r, g, b) {
		return color{}, fmt.Errorf("%q is no colour; write one such as #1f6b57", s)
	}
	return color{float64(r) / 255, float64(g) / 255, float64(b) / 255}, nil
}

func mustColor(s string) color {
	c, err := parseColor(s)
	if err != nil {
		panic(err)
	}
	return c
}

func (c color) hex() string {
	part := func(v float64) int { return int(math.Round(min(1, max(0, v)) * 255)) }
	return fmt.Sprintf("#%02x%02x%02x", part(c.r), part(c.g), part(c.b))
}

// mix goes from c to other by a part of the way.
func (c color) mix(other color, part float64) color {
	f := func(a, b float64) float64 { return a + (b-a)*part }
	return color{f(c.r, other.r), f(c.g, other.g), f(c.b, other.b)}
}

// luminance as WCAG 2 defines it.
func (c color) luminance() float64 {
	f := func(v float64) float64 {
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*f(c.r) + 0.7152*f(c.g) + 0.0722*f(c.b)
}

// contrast as WCAG 2 defines it: from 1 to 21.
func (c color) contrast(other color) float64 {
	a, b := c.luminance(), other.luminance()
	return (max(a, b) + 0.05) / (min(a, b) + 0.05)
}

// minContrast is what WCAG AA asks for text, and a little.
const minContrast = 4.6

// readableOn moves the colour towards black or white, as little as needed, until it can be read on all papers given.
func (c color) readableOn(papers ...color) color {
	target := black
	if papers[0].luminance() < 0.5 {
		target = white
	}
	for step := 0.0; step < 1; step += 0.02 {
		if tried := mustColor(c.mix(target, step).hex()); tried.readable(papers) {
			return tried
		}
	}
	return target
}

func (c color) readable(papers []color) bool {
	for _, p := range papers {
		if c.contrast(p) < minContrast {
			return false
		}
	}
	return true
}

// ink is black or white, whichever is better read on the colour.
func (c color) ink() color {
	if c.contrast(white) >= c.contrast(black) {
		return white
	}
	return black
}
