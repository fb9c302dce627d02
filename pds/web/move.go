package web

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/pds/account"
	"perch/pds/migrate"
	"perch/pds/oauthclient"
	"perch/pds/store"
)

const (
	moveCookie = "perch-move"      // key of a move to here, and the account's DID
	awayCookie = "perch-move-away" // a browser that was sent to the old server, sealed

	moveLifetime = 45 * 24 * time.Hour
)

// movePage is the first page: what it means to move here, and which account.
type movePage struct {
	Going *migrate.Status // the visitor's move that is under way; nil when there is none
}

// showMove explains and asks for the account.
func (s *Site) showMove(r *request) error {
	st, err := hereMove(r)
	if err != nil {
		return err
	}
	if st != nil && st.State.Ended() {
		st = nil
	}
	return r.renderForm("move", r.form(), movePage{st})
}

// fromPage shows where the account lives, and the ways to sign in there.
type fromPage struct {
	*migrate.Source
	HostName string
	AskCode  bool // the old server wants a second factor
	Invite   bool // a code has to be given first
}

// showMoveFrom shows where the account lives.
func (s *Site) showMoveFrom(r *request) error {
	if r.FormValue("account") == "" {
		return r.redirect(movePath)
	}
	return r.showFrom(r.form(), false)
}

// showFrom looks where the account lives and shows it, with what is wrong with a form.
func (r *request) showFrom(f *Form, askCode bool) error {
	from, invite, err := r.site.opts.Host.MoveFrom(r.Context(), f.Value("account"))
	if err != nil {
		wrong := &Form{values: f.values}
		if !r.moveRefusal(wrong, "account", r.site.unknown(f.Value("account"), err)) {
			return err
		}
		return r.renderForm("move", wrong, movePage{})
	}
	if from.SignIn != "" {
		r.formTargets = append(r.formTargets, from.SignIn)
	}
	page := fromPage{Source: from, HostName: hostName(from.Host), AskCode: askCode}
	page.Invite = invite && (f.Value("invite") == "" || f.Error("invite") != "")
	return r.renderForm("move-from", f, page)
}

// errOwnAddress: this server's address was entered where an account is asked for.
var errOwnAddress = errors.New("this server's address, and no account")

// unknown is why no account was found, so that who enters the address of this server is not told to check its spelling. It may be somebody's handle as well.
func (s *Site) unknown(entered string, err error) error {
	none := errors.Is(err, ErrNoAccount) || errors.Is(err, identity.ErrHandleNotFound)
	if none && strings.EqualFold(hostName(serverAddress(entered)), hostName(s.opts.PublicURL)) {
		return errOwnAddress
	}
	return err
}

// hostName is a server's address as people say it.
func hostName(origin string) string {
	return strings.TrimPrefix(strings.TrimPrefix(origin, "https://"), "http://")
}

// moveInvite takes the invite code, before somebody signs in in vain.
func (s *Site) moveInvite(r *request) error {
	f := r.form()
	if err := s.checkMoveInvite(r, f); err != nil {
		return err
	}
	return r.showFrom(f, false)
}

// checkMoveInvite adds to the form what is wrong with the invite code, if one is needed.
func (s *Site) checkMoveInvite(r *request, f *Form) error {
	code := strings.TrimSpace(f.Value("invite"))
	if code == "" {
		return nil // asked for by showFrom, or not needed: the account is not made without one
	}
	err := s.opts.Accounts.CheckInvite(r.Context(), code)
	if err != nil && !r.refusal(f, err) {
		return err
	}
	return nil
}

// takeGuess counts attempts to sign in at another server as an account, so that nobody tries passwords by way of this one.
func (r *request) takeGuess(name string) error {
	name = strings.ToLower(strings.TrimPrefix(strings.TrimSpace(name), "@"))
	for _, l := range []Limit{
		{Name: "web move password", Points: 10, Window: 10 * time.Minute, Key: name, PerAddress: true},
		{Name: "web move account", Points: 100, Window: time.Hour, Key: name},
	} {
		if err := r.take(l); err != nil {
			return err
		}
	}
	return nil
}

// moveSignIn signs in at the old server with its password, which is used for that and not kept.
func (s *Site) moveSignIn(r *request) error {
	f := r.form()
	if err := s.checkMoveInvite(r, f); err != nil {
		return err
	}
	if f.Value("password") == "" {
		f.add("password", r.t("error.move-password-missing"))
	}
	if !f.ok() {
		return r.showFrom(f, f.Value("code") != "")
	}
	if err := r.takeGuess(f.Value("account")); err != nil {
		return err
	}
	in, err := s.opts.Host.MoveSignIn(r.Context(), f.Value("account"), f.Value("password"), f.Value("code"), strings.TrimSpace(f.Value("invite")))
	if err != nil {
		if !r.moveRefusal(f, "", err) {
			return err
		}
		return r.showFrom(f, f.Value("code") != "")
	}
	if in.Needs == migrate.NeedsFactor {
		if f.Value("code") != "" {
			f.add("code", r.t("error.code"))
		}
		return r.showFrom(f, true)
	}
	return r.entered(in)
}

// moveByBrowser sends the browser to the old server, to sign in there.
func (s *Site) moveByBrowser(r *request) error {
	f := r.form()
	if err := s.checkMoveInvite(r, f); err != nil {
		return err
	}
	if !f.ok() {
		return r.showFrom(f, false)
	}
	sealed, to, err := s.opts.Host.MoveSendAway(r.Context(), f.Value("account"), strings.TrimSpace(f.Value("invite")))
	if err != nil {
		if !r.moveRefusal(f, "", err) {
			return err
		}
		return r.showFrom(f, false)
	}
	r.setCookie(awayCookie, sealed, oauthclient.PendingTime)
	return r.redirect(to)
}

// moveSignedIn takes the browser back from the old server.
func (s *Site) moveSignedIn(r *request) error {
	sealed := r.cookie(awayCookie)
	r.dropCookie(awayCookie)
	in, err := s.opts.Host.MoveCameBack(r.Context(), sealed, r.URL.Query())
	f := &Form{values: url.Values{}}
	switch {
	case err == nil:
		return r.entered(in)
	case errors.Is(err, store.ErrNotFound), errors.Is(err, oauthclient.ErrAnswer):
		f.add("", r.t("error.move-late"))
	case errors.Is(err, oauthclient.ErrRefused):
		f.add("", r.t("error.move-denied"))
	case !r.moveRefusal(f, "", err):
		return err
	}
	return r.renderForm("move", f, movePage{})
}

// entered gives the browser the key of its move and goes on.
func (r *request) entered(in *migrate.Entered) error {
	r.setCookie(moveCookie, in.Key+"."+in.DID.String(), moveLifetime)
	return r.redirect(movePath + "/progress")
}

// hereMove is the move to here that the visitor may see: the browser has its key, or is signed in to the account. It is nil when there is none.
func hereMove(r *request) (*migrate.Status, error) {
	key, name, _ := strings.Cut(r.cookie(moveCookie), ".")
	did, err := syntax.ParseDID(name)
	held := err == nil && r.site.opts.Host.MoveOpens(r.Context(), did, key)
	if !held && r.current() != nil {
		did = r.current().Account.DID
	} else if !held {
		return nil, nil
	}
	st, err := r.site.opts.Host.MoveStatus(r.Context(), did)
	if errors.Is(err, store.ErrNotFound) || err == nil && st.Out {
		return nil, nil
	}
	return st, err
}

// accountPage asks for what the account here needs.
type accountPage struct {
	*migrate.Status
	HostName string
	Keep     string // the handle that the account may keep; "" when it must take a new one
	Domains  []string
	Invite   bool // a code is needed still
}

// showMoveAccount asks for handle, address and password here.
func (s *Site) showMoveAccount(r *request) error {
	st, err := hereMove(r)
	if err != nil {
		return err
	}
	if st == nil || st.Needs != migrate.NeedsAccount {
		return r.redirect(movePath + "/progress")
	}
	return r.showAccount(r.form(), st)
}

func (r *request) showAccount(f *Form, st *migrate.Status) error {
	page := accountPage{Status: st, HostName: hostName(st.Host), Domains: r.site.opts.HandleDomains}
	from, invite, err := r.site.opts.Host.MoveFrom(r.Context(), st.DID.String())
	if err == nil && from.Handle != "" && !from.Ends {
		page.Keep = from.Handle
	}
	code, err := r.site.opts.Host.MoveInvite(r.Context(), st.DID)
	if err != nil {
		return err
	}
	page.Invite = invite && (code == "" || f.Error("invite") != "")
	if _, given := f.values["handle"]; !given {
		name, _, _ := strings.Cut(st.OldHandle, ".")
		if page.Keep == "" && !strings.Contains(name, ":") {
			f.values = url.Values{"handle": {name}}
		}
	}
	return r.renderForm("move-account", f, page)
}

// moveAccount makes the account here. From then on the server goes on by itself.
func (s *Site) moveAccount(r *request) error {
	st, err := hereMove(r)
	if err != nil {
		return err
	}
	if st == nil || st.Needs != migrate.NeedsAccount {
		return r.redirect(movePath + "/progress")
	}
	f := r.form()
	in := account.NewAccount{Email: strings.TrimSpace(f.Value("email")), Password: f.Value("password"), InviteCode: strings.TrimSpace(f.Value("invite"))}
	if in.InviteCode == "" {
		if in.InviteCode, err = s.opts.Host.MoveInvite(r.Context(), st.DID); err != nil {
			return err
		}
	}
	keeps := f.Value("keep") == "yes"
	if !keeps {
		if strings.TrimSpace(f.Value("handle")) == "" {
			f.add("handle", r.t("error.handle"))
			return r.showAccount(f, st)
		}
		in.Handle = s.wantedHandle(f)
	}
	if err := s.opts.Host.MoveSettle(r.Context(), st.DID, in); err != nil {
		if errors.Is(err, migrate.ErrSignIn) {
			r.tell("warning", "move-sign-in")
			return r.redirect(movePath + "/from?" + url.Values{"account": {string(st.DID)}}.Encode())
		}
		if keeps && (errors.Is(err, account.ErrInvalidHandle) || errors.Is(err, account.ErrUnsupportedDomain)) {
			f.add("handle", r.t("error.move-keep"))
		} else if !r.moveRefusal(f, "", err) {
			return err
		}
		return r.showAccount(f, st)
	}
	return r.redirect(movePath + "/progress")
}

// moveRefusal adds to the form what an error of a move means, at a field if it may be about that one, and tells whether it knew.
func (r *request) moveRefusal(f *Form, field string, err error) bool {
	if r.refusal(f, err) {
		return true
	}
	var host *migrate.HostError
	for _, known := range moveRefusals {
		if errors.Is(err, known.is) {
			if known.field != "" {
				field = known.field
			}
			f.add(field, r.t("error."+known.key))
			return true
		}
	}
	switch {
	case errors.As(err, &host) && hostRefusals[host.Name].key != "":
		f.add(hostRefusals[host.Name].field, r.t("error."+hostRefusals[host.Name].key))
	case errors.As(err, &host) && host.Status == http.StatusUnauthorized:
		f.add("password", r.t("error.move-password"))
	case errors.As(err, &host) && host.Status == http.StatusTooManyRequests:
		f.add("", r.t("error.move-busy"))
	case errors.As(err, &host) && host.Status < 500 && !host.Vague:
		f.add("", r.t("error.move-refused", "reason", cut(host.Name+": "+host.Message, maxReason)))
	case problemOf(err).name == "unexpected":
		r.site.log.InfoContext(r.Context(), "move", "path", r.URL.Path, "err", err)
		f.add("", r.t("error.move-silent"))
	default:
		return false
	}
	return true
}

// maxReason bounds what another server says and we repeat, in bytes.
const maxReason = 300

func cut(text string, most int) string {
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// ErrNoAccount: what was entered is neither a handle nor a DID.
var ErrNoAccount = errors.New("neither a handle nor a DID")

// hostRefusals is the table from what other servers answer to the field that it is about and the key of what to say.
var hostRefusals = map[string]struct{ field, key string }{
	"AuthFactorTokenRequired": {"code", "code"},
	"InvalidToken":            {"code", "code"},
	"ExpiredToken":            {"code", "code-expired"},
	"HandleNotAvailable":      {"handle", "handle-taken"},
	"InvalidHandle":           {"handle", "move-handle"},
	"UnsupportedDomain":       {"handle", "move-handle"},
	"InvalidInviteCode":       {"invite", "invite"},
}

// moveRefusals is the table from errors to the field that they are about, when it is only one, and the key of what to say.
var moveRefusals = []struct {
	is         error
	field, key string
}{
	{identity.ErrHandleNotFound, "", "move-unknown"},
	{identity.ErrNotFound, "", "move-unknown"},
	{ErrNoAccount, "", "move-unknown"},
	{errOwnAddress, "", "move-this-server"},
	{migrate.ErrThisServer, "", "away-this-server"}, // before ErrHere, which it is too
	{migrate.ErrHere, "", "move-here"},
	{migrate.ErrNowhere, "", "move-nowhere"},
	{migrate.ErrHandle, "handle", "move-handle"},
	{migrate.ErrFull, "", "move-full"},
	{migrate.ErrBusy, "", "move-busy"},
	{migrate.ErrChanged, "", "move-changed"},
	{migrate.ErrUnsure, "", "move-unsure"},
	{migrate.ErrState, "", "move-state"},
	{migrate.ErrEmail, "email", "move-email"},
	{migrate.ErrHost, "", "move-host"},
	{migrate.ErrOperation, "", "move-operation"},
	{oauthclient.ErrNone, "", "move-no-browser"},
	{oauthclient.ErrRefused, "", "move-denied"},
	{store.ErrActive, "", "move-here"},
}
