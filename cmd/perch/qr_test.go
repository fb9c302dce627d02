package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"rsc.io/qr"
)

// Read back module by module, the drawing is the code.
func TestQRText(t *testing.T) {
	const text = "otpauth://totp/pds.example.com:alice.example.com?issuer=pds.example.com&secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
	drawn, err := qrText(text)
	if err != nil {
		t.Fatal(err)
	}
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(drawn, "\n"), "\n")
	if want := (code.Size + 2*quietZone + 1) / 2; len(lines) != want {
		t.Fatalf("%d lines, want %d", len(lines), want)
	}
	for y := range code.Size {
		line := []rune(lines[(y+quietZone)/2])
		if len(line) != code.Size+2*quietZone {
			t.Fatalf("line of row %d has %d modules", y, utf8.RuneCountInString(lines[(y+quietZone)/2]))
		}
		for x := range code.Size {
			r := line[x+quietZone]
			light := r == '█' || r == '▀' && (y+quietZone)%2 == 0 || r == '▄' && (y+quietZone)%2 == 1
			if light == code.Black(x, y) {
				t.Fatalf("module %d,%d is wrong", x, y)
			}
		}
	}
}
