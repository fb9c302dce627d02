package web

import "strings"

// flash is what a page says about what was done before it, once.
type flash struct {
	Kind string // success, warning or error
	Text string
}

// Cookies carry keys, never texts: what does not stand in the messages is not shown.
const flashPrefix = "flash."

// tell has the next page say something: success, warning or error, and a key below "flash.".
func (r *request) tell(kind, key string) { r.setCookie(flashCookie, kind+"."+key, 0) }

// takeFlash returns what there is to say, and forgets it.
func (r *request) takeFlash() *flash {
	value := r.cookie(flashCookie)
	if value == "" {
		return nil
	}
	r.dropCookie(flashCookie)
	kind, key, _ := strings.Cut(value, ".")
	if !r.words.has(flashPrefix+key) || kind != "success" && kind != "warning" && kind != "error" {
		return nil
	}
	return &flash{kind, r.t(flashPrefix + key)}
}
