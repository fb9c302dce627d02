package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/oauth/dpop"
	"perch/pds/oauth/scope"
	"perch/pds/store"
)

const (
	maxState   = 2048 // bytes
	maxLocales = 20
	// What a request asked for goes so long after its end, some with each new one: whoever pushes many must not fill the database.
	overGrace      = 10 * time.Minute
	emptiedPerPush = 20
)

var (
	displays = []string{"page", "popup", "touch"}
	prompts  = []Prompt{PromptNone, PromptLogin, PromptConsent, PromptSelect, PromptCreate}
	modes    = []Mode{Query, Fragment, FormPost}

	challengePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`) // SHA-256 in base64url
	verifierPattern  = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)
	localePattern    = regexp.MustCompile(`^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$`)
)

// params are the parameters of a pushed request, as they are kept.
type params struct {
	State       string    `json:"state"`
	Challenge   string    `json:"challenge"`
	RedirectURI string    `json:"redirect"`
	Mode        Mode      `json:"mode"`
	Scopes      []string  `json:"scopes"`
	Prompt      Prompt    `json:"prompt,omitempty"`
	LoginHint   string    `json:"hint,omitempty"`
	Display     string    `json:"display,omitempty"`
	UILocales   []string  `json:"locales,omitempty"`
	JKT         string    `json:"jkt"`          // thumbprint of the DPoP key
	Key         clientKey `json:"key,omitzero"` // that the client has proved itself with

	// Set when it was granted.
	Granted  []string `json:"granted,omitempty"`
	Expanded []string `json:"expanded,omitempty"` // Granted, with permission sets taken apart
	Client   *Client  `json:"client,omitempty"`   // as it was let in
}

type pushOutput struct {
	RequestURI string `json:"request_uri"`
	ExpiresIn  int    `json:"expires_in"`
}

// push takes a request from an app, checks all that can be checked without the person, and keeps it.
func (s *Service) push(c *call) (any, error) {
	who, err := s.identify(c)
	if err != nil {
		return nil, err
	}
	p, err := readParams(who, c.form.Get)
	if err != nil {
		return nil, err
	}
	// Sets that cannot be found now would fail the person later.
	if _, err := s.expand(c.r.Context(), p.Scopes, true); err != nil {
		return nil, err
	}
	data, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	secret, id := newSecret()
	now := s.now()
	ctx := c.r.Context()
	err = s.act(ctx, who.assertion, func(tx *store.Tx) (*Error, error) {
		if err := tx.EmptyOAuthRequests(ctx, now.Add(-overGrace), emptiedPerPush); err != nil {
			return nil, err
		}
		err := tx.CreateOAuthRequest(ctx, store.OAuthRequest{
			ID: id, ClientID: who.client.id, Challenge: hashOf(p.Challenge), State: hashOf(who.client.id + " " + p.State), Data: string(data),
			ExpiresAt: now.Add(RequestLifetime), ForgetAt: now.Add(challengeMemory),
		})
		switch {
		case errors.Is(err, store.ErrChallengeUsed):
			return refuse(InvalidRequest, "code_challenge was used before: each request needs its own"), nil
		case errors.Is(err, store.ErrStateUsed):
			return refuse(InvalidRequest, "state was used before: each request needs its own"), nil
		}
		return nil, err
	})
	return pushOutput{requestPrefix + secret, int(RequestLifetime.Seconds())}, err
}

// readParams checks the parameters of a request.
func readParams(who caller, get func(string) string) (*params, error) {
	p := &params{
		State: get("state"), Challenge: get("code_challenge"), RedirectURI: get("redirect_uri"), Mode: Mode(get("response_mode")),
		Prompt: Prompt(get("prompt")), Display: get("display"), JKT: who.jkt, Key: who.key,
	}
	if p.Mode == "" {
		p.Mode = Query
	}
	for _, check := range []func(*client, *params, func(string) string) *Error{checkForm, checkKey, checkTarget, checkScopes, checkHints} {
		if err := check(who.client, p, get); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func checkForm(_ *client, p *params, get func(string) string) *Error {
	switch {
	case get("request") != "" || get("request_uri") != "":
		return refuse(InvalidRequest, "Request objects are not supported: push the parameters themselves")
	case get("response_type") == "":
		return refuse(InvalidRequest, "response_type is missing")
	case get("response_type") != "code":
		return refuse(UnsupportedResponse, "response_type must be code")
	case p.State == "" || len(p.State) > maxState:
		return refuse(InvalidRequest, "state is missing or too long")
	case get("code_challenge_method") != "S256":
		return refuse(InvalidRequest, "code_challenge_method must be S256")
	case !challengePattern.MatchString(p.Challenge):
		return refuse(InvalidRequest, "code_challenge must be a SHA-256 hash in base64url")
	case !slices.Contains(modes, p.Mode):
		return refuse(InvalidRequest, "response_mode must be query, fragment or form_post")
	case p.Prompt != "" && !slices.Contains(prompts, p.Prompt):
		return refuse(InvalidRequest, "prompt must be one of none, login, consent, select_account, create")
	case p.Display != "" && !slices.Contains(displays, p.Display):
		return refuse(InvalidRequest, "display must be page, popup or touch")
	}
	return nil
}

// checkKey finds the key that the tokens will be bound to: that of the proof, or the one that dpop_jkt names. Both must agree.
func checkKey(_ *client, p *params, get func(string) string) *Error {
	named := get("dpop_jkt")
	switch {
	case named != "" && !challengePattern.MatchString(named):
		return refuse(InvalidRequest, "dpop_jkt must be a SHA-256 thumbprint in base64url")
	case named != "" && p.JKT != "" && !same(named, p.JKT):
		return refuse(InvalidDPoPProof, "dpop_jkt is not the key of the DPoP proof")
	case named == "" && p.JKT == "":
		return refuse(InvalidDPoPProof, "The request needs a DPoP proof, or dpop_jkt")
	case named != "" && same(named, p.Key.Thumbprint):
		return refuse(InvalidClient, "The DPoP key must be another than the key of the client")
	}
	if p.JKT == "" {
		p.JKT = named
	}
	return nil
}

func checkTarget(c *client, p *params, _ func(string) string) *Error {
	if p.RedirectURI == "" {
		return refuse(InvalidRequest, "redirect_uri is missing")
	}
	if !c.allowsRedirect(p.RedirectURI) {
		return refuse(InvalidRequest, "redirect_uri is none of those that the client has declared")
	}
	if p.Mode == FormPost && !isWeb(p.RedirectURI) {
		return refuse(InvalidRequest, "response_mode form_post needs a redirect_uri with http or https")
	}
	return nil
}

func checkScopes(c *client, p *params, get func(string) string) *Error {
	values, err := scope.Split(get("scope"))
	if err != nil {
		return refuse(InvalidScope, err.Error())
	}
	if !slices.Contains(values, scope.Atproto) {
		return refuse(InvalidScope, "scope must have atproto")
	}
	for _, v := range values {
		if !slices.Contains(c.scopes, v) {
			return refuse(InvalidScope, "The client's metadata do not declare the scope "+clip(v))
		}
	}
	p.Scopes = values
	return nil
}

func checkHints(_ *client, p *params, get func(string) string) *Error {
	if hint := strings.TrimPrefix(get("login_hint"), "@"); hint != "" {
		id, err := syntax.ParseAtIdentifier(hint)
		if err != nil {
			return refuse(InvalidRequest, "login_hint must be a handle or a DID")
		}
		p.LoginHint = id.Normalize().String()
	}
	for _, l := range strings.Fields(get("ui_locales")) {
		if len(p.UILocales) < maxLocales && localePattern.MatchString(l) {
			p.UILocales = append(p.UILocales, l)
		}
	}
	return nil
}

// proofError makes the answer to a proof that was not accepted.
func proofError(err error) *Error {
	if errors.Is(err, dpop.ErrNonce) {
		return refuse(UseDPoPNonce, "The DPoP proof must carry the nonce of the header DPoP-Nonce")
	}
	return refuse(InvalidDPoPProof, err.Error())
}

// permissions explains scopes to the person. Permission sets are asked for where they are not known.
func (s *Service) permissions(ctx context.Context, scopes []string) ([]Permission, error) {
	return explain(scopes, func(nsid string) (*scope.PermissionSet, error) {
		set, _, err := s.permissionSet(ctx, nsid, false)
		return set, err
	})
}

// explain takes scopes apart. Those that are not understood, and so permit nothing, are left out. lookUp finds a permission set; where it finds nil, only the name is shown.
func explain(scopes []string, lookUp func(nsid string) (*scope.PermissionSet, error)) (out []Permission, err error) {
	for _, v := range scopes {
		p, ok := scope.Parse(v)
		if !ok {
			continue
		}
		shown := Permission{Scope: v, Required: p.Resource == scope.Basic, Parsed: p}
		if p.Resource == scope.Include {
			if shown.Set, err = lookUp(p.Set); err != nil {
				return nil, err
			}
			if shown.Set != nil {
				shown.Includes = scope.Expand(p, shown.Set)
			}
		}
		out = append(out, shown)
	}
	return out, nil
}
