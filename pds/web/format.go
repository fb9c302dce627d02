package web

import (
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/number"
)

// number writes a whole number as the language does.
func (w *words) number(n int64) string {
	return message.NewPrinter(language.Make(w.Tag)).Sprint(number.Decimal(n))
}

// bytes writes a size for people: 512 B, 3.4 MB.
func (w *words) bytes(n int64) string {
	const step = 1000
	if n < step {
		return w.number(n) + " B"
	}
	size, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB"} {
		if size /= step; size < step {
			break
		}
	}
	return message.NewPrinter(language.Make(w.Tag)).Sprint(number.Decimal(size, number.MaxFractionDigits(1))) + " " + unit
}
