package pds

import (
	"testing"

	"perch/pds/mail/mailtest"
)

func TestAdminSeesWhatWasSent(t *testing.T) {
	inbox := mailtest.Start(t, mailtest.Options{})
	n := startNetwork(t, func(c *Config) { c.EmailSMTPURL, c.EmailFromAddress = "smtp://"+inbox.Addr, "pds@example.com" })
	v, _ := n.administrator(t, "alice")
	bob := n.signUp(t, "bob")
	bob.post(requestConfirm, nil).ok()
	v.open("/admin/mail").shows(200, "/admin/mail", "Email Confirmation", "waiting", "No mail has been sent yet").saysNot("Nothing found")
	n.srv.runJobs(t.Context())
	code := nextCode(inbox)
	v.open("/admin/mail?to=+Bob@example.com").shows(200, "/admin/mail", "No mail is waiting", "Email Confirmation", "bob@example.com</span> <a", "bob.test").saysNot(code, "Nothing found")
	v.open("/admin/mail?to=nobody@example.com").shows(200, "/admin/mail", "Nothing found").saysNot("Email Confirmation")
	v.open("/admin/accounts/"+bob.did).shows(200, "/admin/accounts/"+bob.did, "/admin/mail?to=bob%40example.com")
}
