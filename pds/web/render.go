package web

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"perch/pds/account"
)

// view is what a template sees.
type view struct {
	Name      string // of its template
	Site      siteView
	Lang      string
	Languages []languageLink
	Token     string // for forms
	Flash     *flash
	Form      *Form
	Next      string // the page to go on to, for hidden fields
	Nav       []navItem
	Admin     bool // it is a page of administrators
	Device    *account.Device
	Current   *account.SignedIn
	Flow      *flow // the app that waits; nil when there is none
	Data      any
	Page      map[string]template.HTML // its pageBlocks, for the layout
}

// siteView is what all pages show of the server.
type siteView struct {
	Name, URL, Host                       string
	Home, Logo, Support, Terms, Privacy   string
	Contact, Version, Style, Script, Icon string
	PasskeyScript                         string
	ThemeLight, ThemeDark                 string
	HasBackground, InviteRequired         bool
}

// render answers with a page.
func (r *request) render(name string, data any) error {
	return r.renderStatus(http.StatusOK, name, data)
}

// renderForm answers with a page that shows a form: again, with its errors, or for the first time.
func (r *request) renderForm(name string, f *Form, data any) error {
	status := http.StatusOK
	if !f.ok() {
		status = http.StatusUnprocessableEntity
	}
	return r.renderView(status, name, f, data)
}

func (r *request) renderStatus(status int, name string, data any) error {
	return r.renderView(status, name, nil, data)
}

func (r *request) renderView(status int, name string, f *Form, data any) error {
	r.resumeFlow() // may choose the language
	set, err := templates(r.words.Tag)
	if err != nil {
		return err
	}
	v := &view{
		Name: name, Site: r.site.view(), Lang: r.words.Tag, Languages: r.languageLinks(), Token: r.token(), Flash: r.takeFlash(), Form: f,
		Next: localPath(r.FormValue("next")), Device: r.device, Current: r.current(), Flow: r.flow, Data: data,
	}
	v.Nav = r.navigation()
	v.Admin = len(v.Nav) > 0 && v.Nav[0].Path == adminPath
	var page bytes.Buffer
	if err := renderPage(&page, set, name, v); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	h := r.w.Header()
	h.Set("Content-Security-Policy", r.site.policy(r.Host, r.formTargets, r.images))
	r.w.WriteHeader(status)
	_, _ = page.WriteTo(r.w)
	return nil
}

func (s *Site) view() siteView {
	b := s.brand
	return siteView{
		Name: b.Name, URL: s.opts.PublicURL, Host: hostName(s.opts.PublicURL),
		Home: b.HomeURL, Logo: b.LogoURL, Support: b.SupportURL, Terms: b.TermsURL, Privacy: b.PrivacyURL, Contact: b.Contact,
		Version: s.opts.Version, Style: s.assets.url("style.css"), Script: s.assets.url("app.js"), PasskeyScript: s.assets.url("passkey.js"), Icon: s.assets.url("icon.svg"),
		ThemeLight: lightPaper.hex(), ThemeDark: darkPaper.hex(),
		HasBackground: b.BackgroundLightURL != "" || b.BackgroundDarkURL != "", InviteRequired: s.opts.InviteRequired,
	}
}

// functions are what templates can call.
func functions(w *words) template.FuncMap {
	return template.FuncMap{
		"t":       w.text,
		"change":  w.change,
		"field":   newField,
		"passkey": newPasskeyForm,
		"icon":    icon,
		"date":    func(t time.Time) string { return t.UTC().Format(w.text("format.date")) },
		"stamp":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"bytes":   w.bytes,
		"number":  w.number,
		"moment":  func(t time.Time) []string { return strings.Fields(t.UTC().Format(w.text("format.admin-time"))) },
		"lag":     func(d time.Duration) string { return d.Round(time.Millisecond).String() },
		"values":  values,
		"action":  w.action,
		"sign":    sign,
	}
}

// values gives a part more than one value: {{template "part" values "view" . "title" "…"}}.
func values(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("values: a name without a value")
	}
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return m, nil
}

// sign is the icon of a notice of a kind.
func sign(kind string) string {
	switch kind {
	case "success":
		return "check"
	case "info":
		return "info"
	}
	return "alert"
}

// icon is a drawing in a line of text. It says nothing that the text does not.
func icon(name string) (template.HTML, error) {
	d, ok := icons[name]
	if !ok {
		return "", fmt.Errorf("there is no icon %s", name)
	}
	return template.HTML(`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d="` + d + `"/></svg>`), nil
}

// icons are paths on a board of 24 by 24, drawn as lines.
var icons = map[string]string{
	"account":  "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20.5c.6-3.6 3.6-6 7.5-6s6.9 2.4 7.5 6",
	"alert":    "M12 8.5v4.5M12 16.5v.01M10.3 4.2 2.8 17.3A2 2 0 0 0 4.5 20.3h15a2 2 0 0 0 1.7-3L13.7 4.2a2 2 0 0 0-3.4 0z",
	"app":      "M4 5.5A1.5 1.5 0 0 1 5.5 4h3A1.5 1.5 0 0 1 10 5.5v3A1.5 1.5 0 0 1 8.5 10h-3A1.5 1.5 0 0 1 4 8.5zM14 5.5A1.5 1.5 0 0 1 15.5 4h3A1.5 1.5 0 0 1 20 5.5v3a1.5 1.5 0 0 1-1.5 1.5h-3A1.5 1.5 0 0 1 14 8.5zM4 15.5A1.5 1.5 0 0 1 5.5 14h3a1.5 1.5 0 0 1 1.5 1.5v3A1.5 1.5 0 0 1 8.5 20h-3A1.5 1.5 0 0 1 4 18.5zM17 14v6M14 17h6",
	"arrow":    "M9 5l7 7-7 7",
	"at":       "M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0zm0 0v1.5a2.5 2.5 0 0 0 5 0V12a9 9 0 1 0-3.5 7.1",
	"check":    "M5 12.5l4.5 4.5L19 7.5",
	"device":   "M5 5h14a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1zM9 20h6M12 16v4",
	"download": "M12 4v10M8 10.5l4 4 4-4M5 19.500h14",
	"globe":    "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM3 12h18M12 3c2.5 2.5 3.8 5.6 3.8 9s-1.3 6.5-3.8 9c-2.5-2.5-3.8-5.6-3.8-9S9.5 5.5 12 3z",
	"home":     "M4 11l8-7 8 7v8.5a.5.5 0 0 1-.5.5H15v-6H9v6H4.5a.5.5 0 0 1-.5-.5z",
	"info":     "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 11v5M12 7.500v.01",
	"key":      "M14.5 14a5 5 0 1 0-4.8-3.7L4 16v4h4v-2.5h2.5V15l1.2-1.2c.8.2 1.8.2 2.8.2zM16 8.5v.01",
	"leave":    "M14 8V5.5A1.5 1.5 0 0 0 12.5 4h-7A1.5 1.5 0 0 0 4 5.5v13A1.5 1.5 0 0 0 5.5 20h7a1.5 1.5 0 0 0 1.5-1.5V16M9 12h11M17 9l3 3-3 3",
	"lock":     "M6.5 11h11a.5.5 0 0 1 .5.5v8a.5.5 0 0 1-.5.5h-11a.5.5 0 0 1-.5-.5v-8a.5.5 0 0 1 .5-.5zM8.500 11V8a3.500 3.500 0 0 1 7 0v3",
	"mail":     "M4.5 5.5h15a1 1 0 0 1 1 1v11a1 1 0 0 1-1 1h-15a1 1 0 0 1-1-1v-11a1 1 0 0 1 1-1zM4 7l8 6 8-6",
	"move":     "M7 7h11M15 4l3 3-3 3M17 17H6M9 14l-3 3 3 3",
	"passkey":  "M10 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7zM3.500 20c.5-3.500 3-5.500 6.500-5.500 1 0 1.900.2 2.700.5M18 15.500a2.500 2.500 0 1 0-1.500-.5V20l1.500 1.500 1.500-1.500-1-1 1-1-1-1z",
	"picture":  "M5 4.5h14a1 1 0 0 1 1 1v13a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1v-13a1 1 0 0 1 1-1zM4 16l5-5 4 4 2.5-2.5L20 17M15.5 9v.01",
	"plus":     "M12 5v14M5 12h14",
	"post":     "M5 19l1-4L16.5 4.5a1.4 1.4 0 0 1 2 0l1 1a1.4 1.4 0 0 1 0 2L9 18zM14 7l3 3",
	"service":  "M5 4.5h14a1 1 0 0 1 1 1v4a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1v-4a1 1 0 0 1 1-1zM5 13.5h14a1 1 0 0 1 1 1v4a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1v-4a1 1 0 0 1 1-1zM7.5 7.5v.01M7.5 16.5v.01",
	"shield":   "M12 3l7.5 3v5.5c0 4.5-3 8-7.5 9.5-4.5-1.5-7.5-5-7.5-9.5V6z",
	"chart":    "M4 20V4M4 20h16M8 16v-4M12 16V8M16 16v-6",
	"clock":    "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v5l3.500 2",
	"relay":    "M12 13a1.500 1.500 0 1 0 0-3 1.500 1.500 0 0 0 0 3zM8 15.500a6 6 0 0 1 0-8M16 7.500a6 6 0 0 1 0 8M5.500 18a9.500 9.500 0 0 1 0-13M18.500 5a9.500 9.500 0 0 1 0 13M12 13v7",
	"ticket":   "M4 7h16v3a2 2 0 0 0 0 4v3H4v-3a2 2 0 0 0 0-4zM14 7v10",
}
