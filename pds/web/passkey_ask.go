package web

import (
	"encoding/base64"
	"encoding/json"
	"errors"

	"perch/pds/account"
	"perch/pds/passkey"
	"perch/pds/store"
)

// passkeyAsk is a question to an authenticator as the template "passkey" shows it: a form with a button, which assets/passkey.js fills in and sends.
type passkeyAsk struct {
	Sealed  string // comes back with the answer
	Options string // what assets/passkey.js hands to the browser, as JSON
}

// passkeyForm is what the template "passkey" shows.
type passkeyForm struct {
	View          *view
	Ask           *passkeyAsk // nil: nothing is shown
	Action, Label string
	Offer         bool   // the browser may fill in a passkey where a name is entered
	Half          string // the sign-in so far, as factorPage has it
	Alone         bool   // nothing else would do
	Held          string // as confirmPage and confirmFactorPage have it
	Remember      bool
}

func newPasskeyForm(v *view, ask *passkeyAsk, action, label string) passkeyForm {
	f := passkeyForm{View: v, Ask: ask, Action: action, Label: label}
	switch page := v.Data.(type) {
	case factorPage:
		f.Half, f.Remember = page.Half, page.Remember
	case confirmPage:
		f.Held = page.Held
	case confirmFactorPage:
		f.Held, f.Alone = page.Held, !page.TOTP
	default:
		f.Offer = ask != nil && v.Current == nil
	}
	return f
}

// credentialOptions are those of navigator.credentials, as assets/passkey.js expects them: with base64url where the browser wants bytes.
type credentialOptions struct {
	Kind      string           `json:"kind"` // create or get
	PublicKey publicKeyOptions `json:"publicKey"`
}

type publicKeyOptions struct {
	Challenge string `json:"challenge"`
	Timeout   int64  `json:"timeout"` // ms

	// To sign in.
	RPID             string                 `json:"rpId,omitempty"`
	Allow            []credentialDescriptor `json:"allowCredentials,omitempty"`
	UserVerification string                 `json:"userVerification,omitempty"`

	// To make a passkey.
	RP          *entity                `json:"rp,omitempty"`
	User        *entity                `json:"user,omitempty"`
	Parameters  []parameter            `json:"pubKeyCredParams,omitempty"`
	Exclude     []credentialDescriptor `json:"excludeCredentials,omitempty"`
	Selection   map[string]any         `json:"authenticatorSelection,omitempty"`
	Attestation string                 `json:"attestation,omitempty"`
}

type entity struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	DisplayName string `json:"displayName,omitempty"`
}

type parameter struct {
	Type      string `json:"type"`
	Algorithm int    `json:"alg"`
}

type credentialDescriptor struct {
	Type       string   `json:"type"`
	ID         string   `json:"id"`
	Transports []string `json:"transports,omitempty"`
}

const (
	publicKeyType = "public-key"
	required      = "required"
)

// askPasskey makes a question for this page. acct is nil with account.PasskeySignIn. It returns nil when the account has no passkey that could answer.
func (r *request) askPasskey(use account.PasskeyUse, acct *store.Account) (*passkeyAsk, error) {
	r.needBrowser()
	ask, err := r.site.opts.Accounts.AskPasskey(r.Context(), use, acct, r.browser)
	if err != nil || acct != nil && use != account.NewPasskey && len(ask.Known) == 0 {
		return nil, err
	}
	o := credentialOptions{Kind: "get", PublicKey: publicKeyOptions{
		Challenge: base64url(ask.Challenge), Timeout: account.PasskeyLifetime.Milliseconds(),
	}}
	if use == account.NewPasskey {
		o.Kind = "create"
		o.PublicKey.forNew(r.site, acct, ask)
	} else {
		o.PublicKey.RPID, o.PublicKey.Allow, o.PublicKey.UserVerification = ask.Party, descriptors(ask.Known), required
	}
	text, err := json.Marshal(o)
	return &passkeyAsk{ask.Sealed, string(text)}, err
}

// forNew asks for a passkey that the authenticator finds by itself, so that nobody needs to enter a name.
func (o *publicKeyOptions) forNew(s *Site, acct *store.Account, ask account.PasskeyAsk) {
	handle := acct.Handle.String()
	o.RP, o.User = &entity{ID: ask.Party, Name: s.brand.Name}, &entity{ID: base64url(ask.UserHandle), Name: handle, DisplayName: handle}
	for _, a := range passkey.Algorithms() {
		o.Parameters = append(o.Parameters, parameter{publicKeyType, a})
	}
	o.Exclude = descriptors(ask.Known)
	o.Selection = map[string]any{"residentKey": required, "requireResidentKey": true, "userVerification": required}
	o.Attestation = "none"
}

func descriptors(known []store.Passkey) []credentialDescriptor {
	out := make([]credentialDescriptor, len(known))
	for i, p := range known {
		out[i] = credentialDescriptor{publicKeyType, base64url(p.Credential), p.Transports}
	}
	return out
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// passkeyRefusal is refusal for what an authenticator has answered. The log says what the page does not.
func (r *request) passkeyRefusal(f *Form, err error) bool {
	if errors.Is(err, account.ErrPasskey) {
		r.site.log.InfoContext(r.Context(), "passkey refused", "id", r.site.opts.RequestID(r.Request), "err", err)
	}
	return r.refusal(f, err)
}
