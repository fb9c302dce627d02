package pds

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"perch/pds/account"
	"perch/pds/store"
	"perch/pds/web"
	"perch/xrpc"
)

// buildWeb makes the pages for people.
func (s *Server) buildWeb() (err error) {
	s.web, err = web.New(web.Options{
		Accounts:       s.accounts,
		Host:           pageHost{s},
		OAuth:          s.oauth,
		Logger:         s.log,
		PublicURL:      s.cfg.PublicURL(),
		HandleDomains:  s.cfg.HandleDomains(),
		InviteRequired: s.cfg.InviteRequired,
		PublicAccounts: s.cfg.PublicAccounts,
		Version:        s.version(),
		Brand:          s.cfg.brand(),
		Take:           s.takePage,
		Visit: func(r *http.Request) account.Visit {
			return account.Visit{IP: clientIP(r), UserAgent: r.UserAgent()}
		},
		HostAsked: hostAsked,
		RequestID: func(r *http.Request) string { return xrpc.RequestID(r.Context()) },
	})
	return err
}

// webPages puts the pages for people into the routes.
func (s *Server) webPages() {
	for _, path := range web.Paths() {
		for _, verb := range []string{http.MethodGet, http.MethodPost} {
			s.mux.Page(verb, path, s.web, xrpc.WithGlobalLimit())
		}
	}
	s.mux.Missing(s.web)
}

// takePage counts a request for a page against a limit.
func (s *Server) takePage(r *http.Request, l web.Limit) (time.Duration, bool) {
	rule := xrpc.RateLimit{Name: l.Name, Points: l.Points, Window: l.Window}
	if l.Key != "" {
		rule.Key = func(_ context.Context, r *http.Request, _ any) string {
			if l.PerAddress {
				return l.Key + " " + xrpc.ClientNetwork(r.Context()).String()
			}
			return l.Key
		}
	}
	var used *xrpc.Error
	if errors.As(s.mux.Take(r, rule), &used) {
		seconds, _ := strconv.Atoi(used.Header.Get("Retry-After"))
		return time.Duration(seconds) * time.Second, false
	}
	return 0, true
}

// brand is how the operator wants the pages to look.
func (c *Config) brand() web.Brand {
	return web.Brand{
		Name: c.DisplayName(), Contact: c.ContactEmailAddress,
		HomeURL: c.HomeURL, SupportURL: c.SupportURL, TermsURL: c.TermsOfServiceURL, PrivacyURL: c.PrivacyPolicyURL,
		LogoURL: c.LogoURL, BackgroundLightURL: c.BackgroundLightURL, BackgroundDarkURL: c.BackgroundDarkURL,
		Primary: c.PrimaryColor, Error: c.ErrorColor, Warning: c.WarningColor, Information: c.InfoColor, Successful: c.SuccessColor,
	}
}

// pageHost is the server as its pages see it.
type pageHost struct{ s *Server }

// SignUp implements web.Host.
func (h pageHost) SignUp(ctx context.Context, in account.NewAccount) (*store.Account, error) {
	var session account.Session
	err := h.s.tellingTaken(ctx, func() (err error) {
		session, err = h.s.newAccount(ctx, in, "")
		return err
	})
	if err != nil {
		return nil, tooManyForPage(err)
	}
	// The tokens of an app's session would be nobody's: who signs up here is signed in in the browser.
	return session.Account, h.s.accounts.EndSession(ctx, session.Account.ID, session.ID)
}

func tooManyForPage(err error) error {
	if errors.Is(err, errTooManyTaken) {
		return fmt.Errorf("%w: %w", web.ErrLimit, err)
	}
	return err
}

// HandleFree implements web.Host.
func (h pageHost) HandleFree(ctx context.Context, handle string) (bool, error) {
	return h.s.handleFree(ctx, handle)
}

// SendPasswordReset implements web.Host.
func (h pageHost) SendPasswordReset(ctx context.Context, email string) error {
	_, err := h.s.requestPasswordReset(ctx, &emailInput{Email: email})
	return err
}

// SendSignInCode implements web.Host.
func (h pageHost) SendSignInCode(ctx context.Context) account.SendCode {
	return func(tx *store.Tx, acct *store.Account, code account.Code) error {
		tx.AfterCommit(func() { h.s.wake(store.JobMail) })
		return h.s.postCode(ctx, tx, acct, code)
	}
}

// PasskeyAdded implements web.Host.
func (h pageHost) PasskeyAdded(ctx context.Context) account.PasskeyHook {
	return h.s.passkeyNotice(ctx, passkeyAdded)
}

// PasskeyRemoved implements web.Host.
func (h pageHost) PasskeyRemoved(ctx context.Context) account.PasskeyHook {
	return h.s.passkeyNotice(ctx, passkeyRemoved)
}

// ServesHost implements web.Host.
func (h pageHost) ServesHost(ctx context.Context, host string) bool { return h.s.servesHost(ctx, host) }

// Activate implements web.Host.
func (h pageHost) Activate(ctx context.Context, acct *store.Account) error {
	return forPage(h.s.activateChecked(ctx, acct))
}
