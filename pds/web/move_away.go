package web

import (
	"strconv"
	"strings"

	"perch/pds/migrate"
)

// awayPage is the first page of a move away from here.
type awayPage struct {
	Last *migrate.Status // the move before, or nil
}

// showAway explains and asks for the new server.
func (s *Site) showAway(r *request) error {
	st, err := awayMove(r)
	if err != nil {
		return err
	}
	if st != nil && !st.State.Ended() && st.State != migrate.StateAccount {
		return r.redirect(awayPath + "/progress")
	}
	return r.renderForm("away", r.form(), awayPage{st})
}

// toPage asks for what the new server wants.
type toPage struct {
	*migrate.Destination
	HostName string
	Days     []int // after which the account here may be deleted
}

var leaveDays = []int{0, 7, 30, 90, 365}

// showAwayTo asks the new server what it wants, and asks for that.
func (s *Site) showAwayTo(r *request) error { return r.showTo(r.form()) }

func (r *request) showTo(f *Form) error {
	acct := r.current().Account
	to, err := r.site.opts.Host.MoveTo(r.Context(), acct, serverAddress(f.Value("to")))
	if err != nil {
		wrong := &Form{values: f.values}
		if !r.moveRefusal(wrong, "to", err) {
			return err
		}
		return r.renderForm("away", wrong, awayPage{})
	}
	if _, given := f.values["email"]; !given {
		f.values.Set("email", acct.Email)
	}
	return r.renderForm("away-to", f, toPage{to, hostName(to.Host), leaveDays})
}

// serverAddress completes what people write as the address of a server.
func serverAddress(text string) string {
	text = strings.TrimSuffix(strings.TrimSpace(text), "/")
	if text != "" && !strings.Contains(text, "://") {
		return "https://" + text
	}
	return text
}

// moveAway makes the account at the new server. From then on the server goes on by itself.
func (s *Site) moveAway(r *request) error {
	f := r.form()
	days, _ := strconv.Atoi(f.Value("days"))
	in := migrate.BeginOut{
		Account: r.current().Account.DID, To: serverAddress(f.Value("to")), NewPassword: f.Value("password"), Email: strings.TrimSpace(f.Value("email")),
		Invite: strings.TrimSpace(f.Value("invite")), DeleteDays: days,
	}
	if f.Value("keep") != "yes" {
		in.Handle = handleThere(f.Value("handle"), f.Value("domain"))
		if in.Handle == "" {
			f.add("handle", r.t("error.handle"))
		}
	}
	if in.NewPassword == "" {
		f.add("password", r.t("error.away-password"))
	}
	if !f.ok() {
		return r.showTo(f)
	}
	st, err := s.opts.Host.MoveAway(r.Context(), in)
	if err != nil {
		if !r.moveRefusal(f, "", err) {
			return err
		}
		return r.showTo(f)
	}
	if st.Needs == migrate.NeedsInvite {
		f.add("invite", r.t("error.invite"))
	} else if st.Needs == migrate.NeedsEmail {
		f.add("email", r.t("error.email"))
	}
	if !f.ok() {
		return r.showTo(f)
	}
	return r.redirect(awayPath + "/progress")
}

// handleThere puts a name before a domain of the new server's. Who writes a whole handle means that.
func handleThere(name, domain string) string {
	name = strings.ToLower(strings.TrimPrefix(strings.TrimSpace(name), "@"))
	if name == "" || strings.Contains(name, ".") {
		return name
	}
	return name + "." + strings.TrimPrefix(strings.ToLower(domain), ".")
}
