package auth

// Error is a refusal with what goes over the wire: the names and statuses are those of the reference, on which clients match.
type Error struct {
	Status    int
	Name      string
	Message   string
	Challenge string // for the WWW-Authenticate header; "" for none
	Err       error  // for the log; may be nil
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Name + ": " + e.Message + ": " + e.Err.Error()
	}
	return e.Name + ": " + e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is tells errors.Is that two refusals of the same name are the same.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Name == e.Name && t.Status == e.Status
}

// Refusals. What is returned may have another message; errors.Is compares name and status.
var (
	ErrAuthMissing        = &Error{Status: 401, Name: "AuthMissing", Message: "Authentication Required", Challenge: "Bearer"}
	ErrAuthRequired       = &Error{Status: 401, Name: "AuthenticationRequired", Message: "Authentication Required"}
	ErrInvalidToken       = &Error{Status: 400, Name: "InvalidToken", Message: "Token could not be verified"}
	ErrExpiredToken       = &Error{Status: 400, Name: "ExpiredToken", Message: "Token has expired"}
	ErrAccountNotFound    = &Error{Status: 403, Name: "AccountNotFound", Message: "Account not found"}
	ErrAccountTakedown    = &Error{Status: 401, Name: "AccountTakedown", Message: "Account has been taken down"}
	ErrAccountDeactivated = &Error{Status: 401, Name: "AccountDeactivated", Message: "Account is deactivated"}
	ErrMissingTokenID     = &Error{Status: 401, Name: "MissingTokenId", Message: "Unexpected missing refresh token id"}
	ErrRateLimit          = &Error{Status: 429, Name: "RateLimitExceeded", Message: "Rate Limit Exceeded"}

	ErrMissingJWT   = &Error{Status: 401, Name: "MissingJwt", Message: "missing jwt"}
	ErrBadJWT       = &Error{Status: 401, Name: "BadJwt", Message: "poorly formatted jwt"}
	ErrBadJWTType   = &Error{Status: 401, Name: "BadJwtType", Message: "invalid jwt type"}
	ErrJWTExpired   = &Error{Status: 401, Name: "JwtExpired", Message: "jwt expired"}
	ErrBadAudience  = &Error{Status: 401, Name: "BadJwtAudience", Message: "jwt audience does not match service did"}
	ErrBadMethod    = &Error{Status: 401, Name: "BadJwtLexiconMethod", Message: "bad jwt lexicon method"}
	ErrBadIssuer    = &Error{Status: 401, Name: "BadJwtIss", Message: "jwt issuer could not be resolved"}
	ErrBadSignature = &Error{Status: 401, Name: "BadJwtSignature", Message: "jwt signature does not match jwt issuer"}
	ErrUntrustedIss = &Error{Status: 401, Name: "UntrustedIss", Message: "Untrusted issuer"}

	// ErrWrongRepo: the caller asked to change somebody else's repository.
	ErrWrongRepo = &Error{Status: 401, Name: "AuthenticationRequired", Message: "The repo must be the one of the account that is signed in"}
	// ErrBadExpiration: getServiceAuth was asked for a lifetime that it does not give.
	ErrBadExpiration = &Error{Status: 400, Name: "BadExpiration", Message: "expiration is out of range"}
)

// with returns a copy of the refusal with another message.
func (e *Error) with(message string) *Error {
	c := *e
	c.Message = message
	return &c
}

// because returns a copy of the refusal with its cause, for the log.
func (e *Error) because(err error) *Error {
	c := *e
	c.Err = err
	return &c
}
