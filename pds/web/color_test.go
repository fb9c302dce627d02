package web

import (
	"testing"

	"pgregory.net/rapid"
)

// Whatever colour an operator chooses, everything can be read.
func TestEveryBrandCanBeRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.IntRange(0, 255)
		c := color{float64(part.Draw(t, "r")) / 255, float64(part.Draw(t, "g")) / 255, float64(part.Draw(t, "b")) / 255}
		if ink := c.ink(); c.contrast(ink) < 4.5 {
			t.Errorf("%s on %s: %.2f", ink.hex(), c.hex(), c.contrast(ink))
		}
		for _, papers := range [][]color{{lightPaper, lightCard}, {darkPaper, darkCard}} {
			text := c.readableOn(papers...)
			for _, p := range papers {
				if text.contrast(p) < 4.5 {
					t.Errorf("%s became %s, which on %s has %.2f", c.hex(), text.hex(), p.hex(), text.contrast(p))
				}
			}
		}
	})
}

func TestColorsAreParsed(t *testing.T) {
	for in, want := range map[string]string{"#1f6b57": "#1f6b57", "#ABC": "#aabbcc", "rgb(1, 2, 255)": "#0102ff"} {
		if c, err := parseColor(in); err != nil || c.hex() != want {
			t.Errorf("%s: %v, %v", in, c.hex(), err)
		}
	}
	for _, bad := range []string{"", "red", "#12345", "#gggggg", "rgb(1,2)", "rgb(300,0,0)", "#fff;}body{x", "rgb(1,2,3);"} {
		if _, err := parseColor(bad); err == nil {
			t.Errorf("%q was taken as a colour", bad)
		}
	}
}
