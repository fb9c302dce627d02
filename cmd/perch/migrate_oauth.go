package main

import (
	"context"
	"errors"
	"time"

	"perch/pds"
)

// consent has the owner sign in at the old server in a browser, and waits for it.
func (m *inMover) consent(ctx context.Context) error {
	out, err := m.send(ctx, pds.MigrateOAuth, pds.MigrateRequest{RotationKey: m.key})
	if err != nil {
		return err
	}
	m.line("Open this address in a browser and sign in at the old server, within a quarter of an hour:")
	m.line(out.URL)
	m.line("Waiting. Ctrl-C ends that; called again, this shows another address.")
	waits := out.Migration.Needs
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(migratePoll):
		}
		out, err := m.send(ctx, pds.MigrateShow, pds.MigrateRequest{})
		switch {
		case err != nil:
			return err
		case !out.Found:
			return errors.New("the move was given up")
		case out.Migration.Needs != waits:
			m.line("Signed in.")
			return nil
		case out.Migration.Error != "":
			return errors.New(printable(out.Migration.Error) + "; call this again for another attempt")
		}
	}
}

// choosePassword begins the move of who has signed in.
func (m *inMover) choosePassword(ctx context.Context) error {
	fresh, err := m.secret("New password for the account here:")
	if err != nil {
		return err
	}
	_, err = m.send(ctx, pds.MigrateBegin, pds.MigrateRequest{NewPassword: fresh, RotationKey: m.key})
	if refused := (*serverError)(nil); errors.As(err, &refused) && refused.Name == "EmailNeeded" {
		return usagef("--email: %s", refused.Message)
	}
	return err
}

// farewell asks for the old server's password only to deactivate the account there, which some servers let nobody do who has signed in in a browser.
func (m *inMover) farewell(ctx context.Context, st *pds.Migration) error {
	m.line("The account lives here now. The old server deactivates the one there only for its password: " + st.Error)
	password, err := m.secret("Password of " + m.base.Account + " at the old server (\"stay\" leaves the account there as it is):")
	if err != nil {
		return err
	}
	if password == "stay" {
		_, err = m.send(ctx, pds.MigrateStay, pds.MigrateRequest{})
		return err
	}
	return m.signInWith(ctx, pds.MigrateSignIn, pds.MigrateRequest{Password: password})
}
