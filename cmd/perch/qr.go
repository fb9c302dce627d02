package main

import (
	"strings"

	"rsc.io/qr"
)

// quietZone is the light border that scanners need, in modules.
const quietZone = 2

// qrText draws a QR code for a terminal, two rows of modules to a line. Light modules are drawn, because most terminals are dark; phones read
// the reverse too.
func qrText(text string) (string, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return "", err
	}
	light := func(x, y int) bool { return !code.Black(x, y) } // beyond its edges nothing is black
	var b strings.Builder
	for y := -quietZone; y < code.Size+quietZone; y += 2 {
		for x := -quietZone; x < code.Size+quietZone; x++ {
			switch top, bottom := light(x, y), light(x, y+1) && y+1 < code.Size+quietZone; {
			case top && bottom:
				b.WriteRune('█')
			case top:
				b.WriteRune('▀')
			case bottom:
				b.WriteRune('▄')
			default:
				b.WriteRune(' ')
			}
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}
