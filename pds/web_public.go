package pds

import (
	"context"
	"encoding/json"
	"math"
	"net/url"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
	"perch/pds/web"
	"perch/repo"
)

const (
	// publicPage is how many accounts a page of the list looks at. Those who do not want to be in it are left out.
	publicPage = 24
	// onlySignedIn is the label by which people ask not to be shown to visitors who are not signed in.
	onlySignedIn = "!no-unauthenticated"
)

// publicProfile is what the list shows of a profile record.
type publicProfile struct {
	DisplayName string `json:"displayName"`
	Avatar      struct {
		Ref struct {
			Link string `json:"$link"`
		} `json:"ref"`
	} `json:"avatar"`
	Labels struct {
		Values []struct {
			Val string `json:"val"`
		} `json:"values"`
	} `json:"labels"`
}

// PublicAccounts implements web.Host.
func (h pageHost) PublicAccounts(ctx context.Context, before int64) (list []web.PublicAccount, next int64, err error) {
	if before <= 0 {
		before = math.MaxInt64
	}
	rows, err := h.s.store.PublicAccounts(ctx, store.AccountID(before), publicPage, profilePath)
	if err != nil {
		return nil, 0, err
	}
	for _, a := range rows {
		if shown, ok := h.s.publicAccount(ctx, a); ok {
			list = append(list, shown)
		}
	}
	if len(rows) == publicPage {
		next = int64(rows[len(rows)-1].ID)
	}
	return list, next, nil
}

// readPublicProfile reads a profile record. What is no profile as Bluesky has them is passed over.
func readPublicProfile(body []byte) (p publicProfile) {
	if body != nil {
		if text, err := repo.AppendJSON(nil, body); err == nil {
			_ = json.Unmarshal(text, &p)
		}
	}
	return p
}

// hidden tells whether somebody does not want to be shown.
func (p *publicProfile) hidden() bool {
	for _, label := range p.Labels.Values {
		if label.Val == onlySignedIn {
			return true
		}
	}
	return false
}

// publicAccount is how an account is shown, and whether it is.
func (s *Server) publicAccount(ctx context.Context, a store.PublicAccount) (web.PublicAccount, bool) {
	p := readPublicProfile(a.Body)
	if p.hidden() {
		return web.PublicAccount{}, false
	}
	out := web.PublicAccount{Handle: a.Handle.String(), Name: strings.TrimSpace(p.DisplayName), Link: profileLink(s.cfg.ProfileURL, a.DID, a.Handle)}
	if meta, err := s.publicFace(ctx, a.ID, p); err == nil {
		out.Face = web.FacePath(a.DID, meta.CID.String())
	}
	return out, true
}

func profileLink(pattern string, did syntax.DID, handle syntax.Handle) string {
	return strings.NewReplacer("{did}", did.String(), "{handle}", handle.String()).Replace(pattern)
}

// isProfilePattern tells whether profiles can be linked to by the pattern.
func isProfilePattern(pattern string) bool {
	u, err := url.Parse(profileLink(pattern, "did:web:x.example", "x.example"))
	return err == nil && u.Host != "" && slices.Contains([]string{"https", "http"}, u.Scheme) && (strings.Contains(pattern, "{did}") || strings.Contains(pattern, "{handle}"))
}
