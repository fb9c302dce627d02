package web

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// qrCode is a QR code as a drawing: one unit a module.
type qrCode struct {
	Size int // of each side, with the quiet zone
	Path string
}

const quietZone = 4 // modules around a code that the standard wants empty

func newQR(text string) (qrCode, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return qrCode{}, fmt.Errorf("draw a QR code: %w", err)
	}
	var path strings.Builder
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x+quietZone, y+quietZone)
			}
		}
	}
	return qrCode{code.Size + 2*quietZone, path.String()}, nil
}
