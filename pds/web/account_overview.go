package web

import (
	"context"
	"time"

	"perch/pds/store"
)

// overviewPage is who somebody is here, and what needs attention.
type overviewPage struct {
	Status  string // of the account; "" while it is active
	Todos   []todo
	Profile Profile
	Storage Storage
}

// todo is something that the owner should look at. Its key is below "todo."; the kind is that of a notice.
type todo struct{ Key, Kind, Path string }

// lookTime is how long the overview waits for the directory of DIDs.
const lookTime = 1500 * time.Millisecond

// overview is the first page of an account.
func (s *Site) overview(r *request) error {
	acct := r.current().Account
	page := overviewPage{Status: acct.Status()}
	var err error
	if page.Profile, err = s.opts.Host.Profile(r.Context(), acct); err != nil {
		return err
	}
	if page.Storage, err = s.opts.Host.Storage(r.Context(), acct); err != nil {
		return err
	}
	if page.Todos, err = r.todos(acct); err != nil {
		return err
	}
	return r.render("overview", page)
}

// todos finds what needs attention, the most urgent first.
func (r *request) todos(acct *store.Account) (list []todo, err error) {
	alerts, err := r.site.opts.Host.Alerts(r.Context(), acct)
	if err != nil {
		return nil, err
	}
	factors, err := r.site.opts.Accounts.Factors(r.Context(), acct.ID)
	if err != nil {
		return nil, err
	}
	if len(alerts) > 0 {
		list = append(list, todo{"alerts", "error", "/account/keys"})
	}
	if !acct.DeactivatedAt.IsZero() {
		list = append(list, todo{"deactivated", "warning", "/account/close"})
	}
	if acct.EmailConfirmedAt.IsZero() {
		list = append(list, todo{"email", "warning", "/account/email"})
	}
	switch {
	case !factors.TOTP && !factors.Email:
		list = append(list, todo{"factor", "info", "/account/security"})
	case factors.TOTP && factors.RecoveryCodes < 3:
		list = append(list, todo{"recovery", "warning", "/account/security"})
	}
	if r.lacksKey(acct) {
		list = append(list, todo{"key", "info", "/account/keys"})
	}
	return list, nil
}

// lacksKey tells whether the owner surely has no key for the DID. It is not worth waiting for long.
func (r *request) lacksKey(acct *store.Account) bool {
	if !r.site.opts.Host.HasRotationKeys(acct) {
		return false
	}
	ctx, cancel := context.WithTimeout(r.Context(), lookTime)
	defer cancel()
	keys, err := r.site.opts.Host.RotationKeys(ctx, acct)
	return err == nil && !hasOwn(keys)
}
