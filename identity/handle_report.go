package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"unicode"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// HandleState is what one of the two ways to resolve a handle comes to.
type HandleState string

// The states. What is in HandleSource.Found goes with each.
const (
	HandleNamed       HandleState = "named"       // it names a DID
	HandleMissing     HandleState = "missing"     // there is nothing
	HandleOther       HandleState = "text"        // something is there that is no DID; Found is how it begins
	HandleSeveral     HandleState = "several"     // records with different DIDs; Found is all of them
	HandleElsewhere   HandleState = "elsewhere"   // a record is at a name where nobody looks; Found is that name
	HandleNoHost      HandleState = "host"        // the name has no address
	HandleStatus      HandleState = "status"      // the host answers with an error; Found is its status
	HandleCertificate HandleState = "certificate" // the host has no certificate for the name
	HandleSilent      HandleState = "silent"      // no answer came
)

// HandleSource is what one of the two ways says of a handle.
type HandleSource struct {
	State HandleState
	DID   syntax.DID // HandleNamed
	Found string     // in place of a DID, for people to recognise; a few words
}

// HandleReport is what both ways say, for people who set a handle up.
type HandleReport struct{ DNS, HTTPS HandleSource }

const (
	maxFound   = 120 // bytes shown of what is there in place of a DID
	maxRecords = 4   // shown of a name
)

// InspectHandle asks DNS and the host itself, apart from each other and past the cache. Errors: ErrSyntax, ErrReserved, and the context's.
func (r *Resolver) InspectHandle(ctx context.Context, handle syntax.Handle) (HandleReport, error) {
	handle, err := r.checkHandle(handle)
	if err != nil {
		return HandleReport{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	if err := r.slots.Acquire(ctx, 1); err != nil {
		return HandleReport{}, networkError("too many lookups", err)
	}
	defer r.slots.Release(1)
	https := make(chan HandleSource, 1)
	go func() { https <- r.inspectHTTPS(ctx, handle) }()
	report := HandleReport{DNS: r.inspectDNS(ctx, handle)}
	report.HTTPS = <-https
	return report, nil
}

// inspectDNS asks the backup nameservers too when the first ones do not know the handle, as a lookup does.
func (r *Resolver) inspectDNS(ctx context.Context, handle syntax.Handle) HandleSource {
	first, cancel := context.WithCancel(ctx)
	if len(r.backup) > 0 {
		first, cancel = context.WithTimeout(ctx, r.opts.Timeout*2/3)
	}
	defer cancel()
	out := inspectTXT(first, r.dns, handle)
	if len(r.backup) == 0 || out.State == HandleNamed || out.State == HandleSeveral {
		return out
	}
	if backup := inspectTXT(ctx, r.backup, handle); backup.State != HandleSilent && backup.State != HandleMissing || out.State == HandleSilent {
		return backup
	}
	return out
}

// inspectTXT looks at the records of a handle, and for one that was put elsewhere when there are none.
func inspectTXT(ctx context.Context, servers []*net.Resolver, handle syntax.Handle) HandleSource {
	name := "_atproto." + handle.String()
	texts, did, err := txtOf(ctx, servers, name)
	switch {
	case err == nil:
		return HandleSource{State: HandleNamed, DID: did}
	case errors.Is(err, ErrHandleAmbiguous):
		return HandleSource{State: HandleSeveral, Found: briefly(texts...)}
	case !errors.Is(err, errNoAnswer):
		return HandleSource{State: HandleSilent}
	case len(texts) > 0:
		return HandleSource{State: HandleOther, Found: briefly(texts...)}
	}
	if wrong := misplaced(ctx, servers, handle); wrong != "" {
		return HandleSource{State: HandleElsewhere, Found: wrong}
	}
	return HandleSource{State: HandleMissing}
}

// txtOf is didByDNS with the records themselves.
func txtOf(ctx context.Context, servers []*net.Resolver, name string) (texts []string, did syntax.DID, err error) {
	err = errNoAnswer
	for i, server := range servers {
		texts, err = lookupTXT(ctx, server, name+".", len(servers)-i)
		if err == nil {
			did, err = didFromTXT(name, texts)
			return texts, did, err
		}
		if isNoSuchHost(err) {
			return nil, "", errNoAnswer
		}
	}
	return nil, "", err
}

// misplaced looks where people put the record by mistake: without the prefix, with another one, or with the domain twice, because their provider adds it, too.
func misplaced(ctx context.Context, servers []*net.Resolver, handle syntax.Handle) string {
	h := handle.String()
	names := []string{h, "atproto." + h}
	for zone := h; strings.Contains(zone, ".") && len(names) < 5; _, zone, _ = strings.Cut(zone, ".") {
		names = append(names, "_atproto."+h+"."+zone)
	}
	found := make([]chan bool, len(names))
	for i, name := range names {
		found[i] = make(chan bool, 1)
		go func() {
			_, _, err := txtOf(ctx, servers, name)
			found[i] <- err == nil
		}()
	}
	for i, name := range names {
		if <-found[i] {
			return name
		}
	}
	return ""
}

// inspectHTTPS asks the host itself.
func (r *Resolver) inspectHTTPS(ctx context.Context, handle syntax.Handle) HandleSource {
	body, err := readAll(ctx, r.client, r.wellKnown(handle), "text/plain", maxWellKnown)
	if did, bad := syntax.ParseDID(strings.TrimSpace(string(body))); err == nil && bad == nil {
		return HandleSource{State: HandleNamed, DID: did}
	}
	var status *statusError
	var certificate *tls.CertificateVerificationError
	var alert tls.AlertError
	switch {
	case len(body) > 0: // a page for people, most often
		return HandleSource{State: HandleOther, Found: briefly(string(body))}
	case errors.As(err, &status):
		return HandleSource{State: HandleStatus, Found: strings.TrimSpace(fmt.Sprint(status.status, " ", http.StatusText(status.status)))}
	case isNoSuchHost(err):
		return HandleSource{State: HandleNoHost}
	case errors.As(err, &certificate), errors.As(err, &alert):
		return HandleSource{State: HandleCertificate}
	case err == nil:
		return HandleSource{State: HandleMissing}
	}
	return HandleSource{State: HandleSilent}
}

// briefly is how texts begin, each on a line, without what cannot be seen.
func briefly(texts ...string) string {
	var lines []string
	for _, text := range texts[:min(len(texts), maxRecords)] {
		text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsGraphic(c) }), " ")
		if len(text) > maxFound {
			text = strings.ToValidUTF8(text[:maxFound], "") + "…"
		}
		lines = append(lines, text)
	}
	return strings.Join(lines, "\n")
}
