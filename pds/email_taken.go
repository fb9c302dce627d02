package pds

import (
	"context"
	"errors"
	"net/http"
	"time"

	"perch/pds/store"
	"perch/xrpc"
)

// takenAddresses is how often in an hour one address is told that an e-mail address is an account's.
const takenAddresses = 20

// errTooManyTaken is the end of that.
var errTooManyTaken = &xrpc.Error{Status: http.StatusTooManyRequests, Name: xrpc.NameRateLimit, Message: "Rate Limit Exceeded"}

// tellingTaken runs what tells that an e-mail address is an account's by refusing it. Apps that sign people up need to say so, as with the reference, so strangers can ask; they get no list
// together. The count is taken before it is known, or many requests at once would get more, and is given back unless it was needed.
func (s *Server) tellingTaken(ctx context.Context, fn func() error) error {
	rule := xrpc.RateLimit{Name: "taken e-mail addresses", Points: takenAddresses, Window: time.Hour}
	if !s.mux.Spend(ctx, rule, 1) {
		return errTooManyTaken
	}
	err := fn()
	if !errors.Is(err, store.ErrEmailTaken) {
		s.mux.Spend(ctx, rule, -1)
	}
	return err
}
