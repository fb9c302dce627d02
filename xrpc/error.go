package xrpc

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"perch/lexicons"
)

// Error is an answer other than success. Name is the error's name in the lexicon, Message is
// written for the client; Err is the cause and goes to the log only. Header is added to the answer.
type Error struct {
	Status  int
	Name    string
	Message string
	Err     error
	Header  http.Header
}

// Error returns the name, the message and the cause, for the log.
func (e *Error) Error() string {
	s := strconv.Itoa(e.Status) + " " + e.Name
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// The names of the errors that any method may answer with.
const (
	NameInvalidRequest   = "InvalidRequest"
	NameAuthMissing      = "AuthMissing"
	NameAuthRequired     = "AuthenticationRequired"
	NameNotFound         = "NotFound"
	NameNotSupported     = "XRPCNotSupported"
	NamePayloadTooLarge  = "PayloadTooLarge"
	NameUnsupportedMedia = "UnsupportedMediaType"
	NameRateLimit        = "RateLimitExceeded"
	NameInternal         = "InternalServerError"
	NameNotImplemented   = "MethodNotImplemented"
	NameUpstreamFailure  = "UpstreamFailure"
	NameNotEnough        = "NotEnoughResources"
	NameUpstreamTimeout  = "UpstreamTimeout"
)

// InvalidRequest returns a 400 with the formatted message.
func InvalidRequest(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Name: NameInvalidRequest, Message: fmt.Sprintf(format, args...)}
}

// NewError returns an error with the formatted message.
func NewError(status int, name, format string, args ...any) *Error {
	return &Error{Status: status, Name: name, Message: fmt.Sprintf(format, args...)}
}

// AuthRequired returns a 401 of the given name; the answer carries WWW-Authenticate.
func AuthRequired(name, message string) *Error {
	return &Error{Status: http.StatusUnauthorized, Name: name, Message: message}
}

// bearerChallenge is what a 401 asks for unless its Header says otherwise (RFC 9110, 11.6.1).
const bearerChallenge = `Bearer realm="xrpc"`

// wireError turns any error of a handler into what the client sees.
func (m *Mux) wireError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if m.opts.MapError != nil {
		if e := m.opts.MapError(err); e != nil {
			return e
		}
	}
	var violation *lexicons.Error
	if errors.As(err, &violation) {
		return &Error{Status: http.StatusBadRequest, Name: NameInvalidRequest, Message: violation.Error()}
	}
	var big *http.MaxBytesError
	if errors.Is(err, errTooLarge) || errors.As(err, &big) {
		return tooLarge(err)
	}
	if errors.Is(err, errBadEncoding) {
		return &Error{Status: http.StatusBadRequest, Name: NameInvalidRequest, Message: "The request body is not of its Content-Encoding", Err: err}
	}
	if errors.Is(err, errSlowBody) {
		return &Error{Status: http.StatusRequestTimeout, Name: NameInvalidRequest, Message: "The request body came too slowly", Err: err}
	}
	return &Error{Status: http.StatusInternalServerError, Name: NameInternal, Err: err}
}

func tooLarge(cause error) *Error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Name: NamePayloadTooLarge, Message: "request entity too large", Err: cause}
}
