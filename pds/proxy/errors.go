package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"perch/identity"
)

// Error is an answer to the client: HTTP status, XRPC error name and message,
// headers to send with it (Retry-After), and the cause for the log.
type Error struct {
	Status  int
	Name    string
	Message string
	Header  http.Header
	Err     error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %s", e.Name, e.Message, e.Err)
	}
	return e.Name + ": " + e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrAborted is returned when the upstream broke off after the answer had begun.
// The client's connection is then broken as well, so that it does not take the
// part it has for the whole; nothing more can be written.
var ErrAborted = errors.New("answer broken off")

var (
	errTimeout  = errors.New("upstream took too long")
	errTooLarge = errors.New("request body too large")
	errReadBody = errors.New("read request body")
)

func badRequest(message string) *Error {
	return &Error{Status: http.StatusBadRequest, Name: "InvalidRequest", Message: message}
}

func upstreamFailure(message string, err error) *Error {
	return &Error{Status: http.StatusBadGateway, Name: "UpstreamFailure", Message: message, Err: err}
}

// failure maps an error of an exchange with the upstream. ctx is the exchange's.
func failure(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	var timeout net.Error
	var refused refusal
	switch {
	case errors.As(err, &refused):
		return refused.error
	case errors.Is(err, errTooLarge):
		return &Error{Status: http.StatusRequestEntityTooLarge, Name: "PayloadTooLarge", Message: "request entity too large", Err: err}
	case errors.Is(cause, errTimeout), errors.Is(err, context.DeadlineExceeded):
	case errors.Is(cause, context.Canceled): // the client went away
		return fmt.Errorf("proxy: %w", cause)
	case errors.Is(err, errReadBody):
		return &Error{Status: http.StatusBadRequest, Name: "InvalidRequest", Message: "request body could not be read", Err: err}
	case errors.Is(err, identity.ErrTooLarge):
		return upstreamFailure("Upstream service answered with too much", err)
	case errors.As(err, &timeout) && timeout.Timeout():
	default:
		return upstreamFailure("Upstream service unreachable", err)
	}
	return &Error{Status: http.StatusGatewayTimeout, Name: "UpstreamTimeout", Message: "Upstream service timed out", Err: err}
}

// statusNames are the error names that go with a status when the upstream gave
// none.
var statusNames = map[int]string{
	http.StatusBadRequest:            "InvalidRequest",
	http.StatusUnauthorized:          "AuthenticationRequired",
	http.StatusForbidden:             "Forbidden",
	http.StatusNotFound:              "XRPCNotSupported",
	http.StatusNotAcceptable:         "NotAcceptable",
	http.StatusRequestEntityTooLarge: "PayloadTooLarge",
	http.StatusUnsupportedMediaType:  "UnsupportedMediaType",
	http.StatusTooManyRequests:       "RateLimitExceeded",
	http.StatusNotImplemented:        "MethodNotImplemented",
	http.StatusBadGateway:            "UpstreamFailure",
	http.StatusServiceUnavailable:    "NotEnoughResources",
	http.StatusGatewayTimeout:        "UpstreamTimeout",
}

func statusName(status int) string {
	if name := statusNames[status]; name != "" {
		return name
	}
	if status >= 500 {
		return "UpstreamFailure"
	}
	return "InvalidRequest"
}
