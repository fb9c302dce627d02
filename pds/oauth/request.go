package oauth

import (
	"strings"
	"time"

	"perch/pds/oauth/scope"
)

// Prompt is what an app wants the person to be asked.
type Prompt string

// The prompts. The zero Prompt leaves it to the server.
const (
	PromptNone    Prompt = "none"           // nothing: it works without a question, or not at all
	PromptLogin   Prompt = "login"          // the password, even of somebody who is signed in
	PromptConsent Prompt = "consent"        // whether the app may, even if that was said before
	PromptSelect  Prompt = "select_account" // which account
	PromptCreate  Prompt = "create"         // show sign-up first
)

// Request is a pushed authorization request that a browser has opened. It is never changed.
type Request struct {
	// URI is the request_uri, and ClientID the client_id, by which Open finds it again.
	URI      string
	ClientID string
	// Client is who asks.
	Client Client
	// Permissions are what it asks for, to be shown one by one. Those that this server does not understand are left out.
	Permissions []Permission
	Prompt      Prompt
	// LoginHint is the handle or DID of the only account that may be chosen; "" for any.
	LoginHint string
	// Display is page, popup or touch; "" for page.
	Display string
	// UILocales are the languages that the app wishes for, best first.
	UILocales []string
	// RedirectURI is where the browser goes in the end.
	RedirectURI string
	// PushedAt is when the app made it. With PromptLogin the person must have given the password since.
	PushedAt time.Time
	// ExpiresAt is when the request ends unless something is decided.
	ExpiresAt time.Time

	id     []byte // hash of what stands at the end of URI
	device string
	params params
}

// trusted tells whether the operator trusts the app, and the answer goes to it: any program can be at the other end of other ways back (RFC 8252, 8.6).
func (r *Request) trusted() bool {
	return r.Client.Trusted && strings.HasPrefix(r.RedirectURI, "https:")
}

// MayBeSilent tells whether the app is one that may ever be let in without a question.
func (r *Request) MayBeSilent() bool { return r.trusted() || r.Client.Confidential }

// Client is an app. Of one that is not Trusted only the ID says for sure who it is: its host answers for it. Name and pictures are its own word, and
// a page must not show them as if they were checked.
type Client struct {
	ID           string
	Trusted      bool // by the operator
	Confidential bool // it has a key of its own
	Localhost    bool // it runs on the person's machine, and anything there may pretend to be it
	Native       bool // it is an installed program

	// What it says about itself; "" for nothing.
	Name, URI, LogoURI, PolicyURI, TermsURI string
}

// Permission is one thing that an app asks for, or may do.
type Permission struct {
	// Scope is the permission as the app wrote it. Give it to Grant to grant it.
	Scope string
	// Required is true for what cannot be unticked: "atproto".
	Required bool
	// Parsed says what it permits.
	Parsed scope.Permission
	// Set describes the permission set that an include scope stands for, and Includes what it gives just now; otherwise both are empty.
	Set      *scope.PermissionSet
	Includes []scope.Permission
}

// Mode is how the browser takes a Response to the app.
type Mode string

// The modes.
const (
	Query    Mode = "query"
	Fragment Mode = "fragment"
	FormPost Mode = "form_post" // a page with a form that posts itself
)

// Response is what the browser takes back to the app.
type Response struct {
	Mode Mode
	// RedirectURI is as the app has registered it.
	RedirectURI string
	// Params are iss, state, and either code, or error and error_description. In the order in which they go out.
	Params []Param
}

// Param is one parameter of a Response.
type Param struct{ Name, Value string }
