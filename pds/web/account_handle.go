package web

import (
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
)

// handlePage is what the page for another handle shows.
type handlePage struct {
	Domains       []string
	Label, Domain string // of the present handle, or what was entered
	Own           string // the domain of one's own that was entered
	Report        *handleReport
}

// handleReport says what is missing before a domain can be a handle.
type handleReport struct {
	Name, Value string // of the TXT record
	URL         string // where the file would be
	DNS, HTTPS  handleSource
	Ready       bool
}

// handleSource is what DNS or the web say: good, other (another account), or a state in which there is no DID.
type handleSource struct {
	State string
	Found string // what is there instead
}

func (r *request) handlePage() handlePage {
	p := handlePage{Domains: r.site.opts.HandleDomains}
	handle := string(r.current().Account.Handle)
	for _, d := range p.Domains {
		if label, ok := strings.CutSuffix(handle, d); ok && !strings.Contains(label, ".") {
			p.Label, p.Domain = label, d
		}
	}
	if p.Domain == "" {
		p.Own = handle
	}
	return p
}

// showHandle shows the ways to another handle.
func (s *Site) showHandle(r *request) error { return r.renderForm("handle", &Form{}, r.handlePage()) }

// serviceHandle takes a handle under one of the server's own domains.
func (s *Site) serviceHandle(r *request) error {
	f := r.form()
	page := r.handlePage()
	page.Label = strings.ToLower(strings.TrimSpace(f.Value("label")))
	if page.Domain = f.Value("domain"); page.Domain == "" && len(page.Domains) > 0 {
		page.Domain = page.Domains[0]
	}
	handle := page.Label + page.Domain
	if strings.HasSuffix(page.Label, page.Domain) {
		handle = page.Label
	}
	err := r.changeHandle(handle)
	if err == nil {
		return r.handleChanged()
	}
	if known := r.refusal(f, err); !known {
		return err
	}
	f.move("handle", "label")
	return r.renderForm("handle", f, page)
}

// checkOwnHandle tells what is missing before a domain of one's own is a handle.
func (s *Site) checkOwnHandle(r *request) error {
	f, page, err := r.inspectOwn()
	if err != nil {
		return err
	}
	return r.renderForm("handle", f, page)
}

// ownHandle takes a domain of one's own, once it names the account.
func (s *Site) ownHandle(r *request) error {
	f, page, err := r.inspectOwn()
	if err != nil {
		return err
	}
	if f.ok() && !page.Report.Ready {
		f.add("own", r.t("handle.not-yet"))
	}
	if !f.ok() {
		return r.renderForm("handle", f, page)
	}
	if err := r.changeHandle(page.Own); err != nil {
		if !r.refusal(f, err) {
			return err
		}
		f.move("handle", "own")
		return r.renderForm("handle", f, page)
	}
	return r.handleChanged()
}

func (r *request) changeHandle(handle string) error {
	if err := r.takeShared(updateHandleNSID, 10, 5*time.Minute); err != nil {
		return err
	}
	if err := r.takeShared(updateHandleNSID, 50, 24*time.Hour); err != nil {
		return err
	}
	return r.site.opts.Host.ChangeHandle(r.Context(), r.current().Account, handle)
}

func (r *request) handleChanged() error {
	r.tell("success", "handle")
	return r.redirect("/account/handle")
}

// inspectOwn looks at the domain that was entered. What is wrong with it is added to the form.
func (r *request) inspectOwn() (*Form, handlePage, error) {
	f := r.form()
	page := r.handlePage()
	entered := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(f.Value("own")), "@"), "https://")
	page.Own = strings.TrimSuffix(strings.ToLower(entered), "/")
	handle, err := r.site.opts.Accounts.NormalizeHandle(page.Own)
	if err != nil {
		f.add("own", r.t("handle.no-domain"))
		return f, page, nil
	}
	if r.site.opts.Accounts.IsServiceHandle(handle) {
		f.add("own", r.t("handle.service-domain"))
		return f, page, nil
	}
	if err := r.take(Limit{Name: "web inspect handle", Points: 60, Window: time.Hour, Key: string(r.current().Account.DID)}); err != nil {
		return nil, page, err
	}
	found, err := r.site.opts.Host.InspectHandle(r.Context(), handle)
	if err != nil {
		return nil, page, err
	}
	page.Report = newHandleReport(handle, r.current().Account.DID, found)
	return f, page, nil
}

// newHandleReport compares what was found with what it should be. DNS comes first for all who resolve handles, so a wrong answer there is not made good by the web.
func newHandleReport(handle syntax.Handle, did syntax.DID, found identity.HandleReport) *handleReport {
	p := &handleReport{
		Name: "_atproto." + string(handle), Value: "did=" + string(did), URL: "https://" + string(handle) + "/.well-known/atproto-did",
		DNS: judgeSource(did, found.DNS), HTTPS: judgeSource(did, found.HTTPS),
	}
	p.Ready = p.DNS.State == "good" || p.HTTPS.State == "good" && p.DNS.State != "other" && p.DNS.State != "several"
	return p
}

func judgeSource(did syntax.DID, found identity.HandleSource) handleSource {
	switch {
	case found.State != identity.HandleNamed:
		return handleSource{string(found.State), found.Found}
	case found.DID == did:
		return handleSource{State: "good"}
	}
	return handleSource{"other", string(found.DID)}
}
