package oauth

import (
	"time"
)

// Session is an app that somebody has let in, for the list of connected apps.
type Session struct {
	ID          string
	Client      Client // as far as it is known just now; the ID always is
	Permissions []Permission
	CreatedAt   time.Time
	UsedAt      time.Time // when it last got tokens
	ExpiresAt   time.Time
	Device      string // on which it was let in, as given to Grant
}
