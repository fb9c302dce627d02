package web

import (
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/number"
	"golang.org/x/text/unicode/bidi"

	"perch/identity/plc"
)

// isolate keeps a text that may run from right to left from turning the sentence around it.
func isolate(s string) string {
	turns := func(c rune) bool {
		p, _ := bidi.LookupRune(c)
		return p.Class() == bidi.R || p.Class() == bidi.AL
	}
	if !strings.ContainsFunc(s, turns) {
		return s
	}
	return "\u2068" + s + "\u2069"
}

// number writes a whole number as the language does.
func (w *words) number(n int64) string {
	return message.NewPrinter(language.Make(w.Tag)).Sprint(number.Decimal(n))
}

// noBreak keeps a number and its unit on one line.
const noBreak = "\u00a0"

// bytes writes a size for people: 512 B, 3.4 MB.
func (w *words) bytes(n int64) string {
	const step = 1000
	if n < step {
		return w.number(n) + noBreak + "B"
	}
	size, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB"} {
		if size /= step; size < step {
			break
		}
	}
	return message.NewPrinter(language.Make(w.Tag)).Sprint(number.Decimal(size, number.MaxFractionDigits(1))) + noBreak + unit
}

// change says what an operation has changed for a DID.
func (w *words) change(c plc.Change) string {
	or := func(s string) string {
		if s == "" {
			return w.text("change.none")
		}
		return s
	}
	switch c.What {
	case plc.ChangeText:
		return c.Is
	case plc.ChangeEnded, plc.ChangeOrder:
		return w.text("change." + c.What)
	}
	text := w.text("change.how-"+c.How, "what", w.text("change."+c.What, "name", c.Name), "is", or(c.Is), "was", or(c.Was))
	if c.Of > 0 {
		text += " (" + w.text("change.place", "n", c.Number, "of", c.Of) + ")"
	}
	if c.Holder != "" {
		text += " – " + w.text("change.whose-"+c.Holder)
	}
	return text
}
