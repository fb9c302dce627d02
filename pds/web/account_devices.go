package web

import (
	"strings"

	"perch/pds/account"
	"perch/pds/store"
)

// devicesPage is where an account is signed in.
type devicesPage struct {
	Browsers []listedBrowser
	Sessions []store.Session // of apps that have a password
}

type listedBrowser struct {
	account.ListedDevice
	Name string
	Here bool
}

// showDevices lists browsers and apps.
func (s *Site) showDevices(r *request) error {
	id := r.current().Account.ID
	devices, err := s.opts.Accounts.Devices(r.Context(), id)
	if err != nil {
		return err
	}
	var page devicesPage
	for _, d := range devices {
		page.Browsers = append(page.Browsers, listedBrowser{d, r.browserName(d.UserAgent), d.ID == r.device.ID})
	}
	if page.Sessions, err = s.opts.Accounts.Sessions(r.Context(), id); err != nil {
		return err
	}
	return r.render("devices", page)
}

// endDevice signs the account out in one browser, perhaps this one.
func (s *Site) endDevice(r *request) error {
	if err := s.opts.Accounts.SignOutDevice(r.Context(), r.PostForm.Get("id"), r.current().Account.ID); err != nil {
		return err
	}
	return r.done("device-ended", "/account/devices")
}

// endSession signs out an app that has a password.
func (s *Site) endSession(r *request) error {
	if err := s.opts.Accounts.EndSession(r.Context(), r.current().Account.ID, r.PostForm.Get("id")); err != nil {
		return err
	}
	return r.done("device-ended", "/account/devices")
}

// signOutOthers leaves only this browser.
func (s *Site) signOutOthers(r *request) error {
	if err := s.opts.Accounts.SignOutOthers(r.Context(), r.device, r.current()); err != nil {
		return err
	}
	return r.done("others-ended", "/account/devices")
}

// Words by which browsers and systems are known, the more special first: Edge calls itself Chrome too, and Chrome Safari.
var (
	browserWords = []struct{ word, name string }{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"CriOS/", "Chrome"},
		{"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	}
	systemWords = []struct{ word, name string }{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	}
)

// browserName is what a browser and its system are called, as far as it tells.
func (r *request) browserName(userAgent string) string {
	find := func(words []struct{ word, name string }) string {
		for _, w := range words {
			if strings.Contains(userAgent, w.word) {
				return w.name
			}
		}
		return ""
	}
	browser, system := find(browserWords), find(systemWords)
	switch {
	case browser == "":
		return r.t("devices.unknown")
	case system == "":
		return browser
	}
	return r.t("devices.on", "browser", browser, "system", system)
}
