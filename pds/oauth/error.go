package oauth

import "time"

// Code is an error code of OAuth.
type Code string

// The codes of RFC 6749, RFC 7009, RFC 9449 and OpenID Connect that are used here.
const (
	InvalidRequest       Code = "invalid_request"
	InvalidClient        Code = "invalid_client"
	InvalidClientMeta    Code = "invalid_client_metadata"
	InvalidGrant         Code = "invalid_grant"
	InvalidScope         Code = "invalid_scope"
	InvalidDPoPProof     Code = "invalid_dpop_proof"
	UseDPoPNonce         Code = "use_dpop_nonce"
	UnauthorizedClient   Code = "unauthorized_client"
	UnsupportedGrantType Code = "unsupported_grant_type"
	UnsupportedResponse  Code = "unsupported_response_type"
	AccessDenied         Code = "access_denied"
	LoginRequired        Code = "login_required"
	ConsentRequired      Code = "consent_required"
	SelectAccount        Code = "account_selection_required"
	ServerError          Code = "server_error"
	Unavailable          Code = "temporarily_unavailable"
)

// Error is a refusal. Description is written for the developer of the app, in English.
type Error struct {
	Status      int // of the HTTP answer, when an app asked
	Code        Code
	Description string
	Err         error // for the log; may be nil
	// Redirect, unless nil, is how the app learns of it; otherwise a page must tell the person.
	Redirect *Response
	// Ended tells that the request has expired, or was answered before. Nothing is wrong with the app.
	Ended bool
	// Away tells that the app's own host did not answer. Nothing is wrong with this server.
	Away bool
	// RetryAfter is when the same request may do better; 0 for not known.
	RetryAfter time.Duration
}

// Error implements error.
func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Description
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is tells errors.Is that two refusals of the same code are the same.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

func refuse(code Code, description string) *Error {
	status := 400
	switch code {
	case InvalidClient:
		status = 401
	case ServerError:
		status = 500
	case Unavailable:
		status = 503
	}
	return &Error{Status: status, Code: code, Description: description}
}

func (e *Error) because(err error) *Error {
	e.Err = err
	return e
}
