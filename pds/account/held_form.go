package account

import (
	"net/url"
	"time"

	"perch/pds/store"
)

const (
	heldFormName = "held form"
	// heldFormLifetime is how long somebody may take to confirm.
	heldFormLifetime = 10 * time.Minute
)

// HeldForm is a form that waits until its sender has shown that it is the owner who sits there.
type HeldForm struct {
	Path   string     `json:"p"`
	Fields url.Values `json:"f"`
	// Dropped are fields that were filled in and must be entered again: secrets are not held.
	Dropped []string `json:"d,omitempty"`
}

type heldForm struct {
	HeldForm
	Account store.AccountID `json:"a"`
	Browser string          `json:"b"`
	Ends    time.Time       `json:"e"`
}

// HoldForm seals a form of an account, to wait in a page of one browser.
func (s *Service) HoldForm(f HeldForm, acct store.AccountID, browser string) string {
	return s.sealPage(heldFormName, heldForm{f, acct, browser, s.now().Add(heldFormLifetime)})
}

// OpenHeldForm returns what HoldForm has sealed for the same account and browser, unless that is too long ago.
func (s *Service) OpenHeldForm(sealed string, acct store.AccountID, browser string) (HeldForm, bool) {
	var h heldForm
	if !s.openPage(heldFormName, sealed, &h) || browser == "" || h.Browser != browser || h.Account != acct || !s.now().Before(h.Ends) {
		return HeldForm{}, false
	}
	return h.HeldForm, true
}
