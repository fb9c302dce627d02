package pds

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/auth"
	"perch/pds/store"
	"perch/xrpc"
)

const createAccountNSID = "com.atproto.server.createAccount"

// serviceID is what the fragment of an audience may be.
var serviceID = regexp.MustCompile(`^[A-Za-z0-9._:%-]{1,128}$`)

type serviceAuthParams struct {
	Aud string      `query:"aud"`
	Exp *int64      `query:"exp"`
	Lxm syntax.NSID `query:"lxm"`
}

type serviceAuthOutput struct {
	Token string `json:"token"`
}

func (s *Server) getServiceAuth(ctx context.Context, p *serviceAuthParams) (*serviceAuthOutput, error) {
	caller := auth.From(ctx)
	did, service, hasService := strings.Cut(p.Aud, "#")
	if _, err := syntax.ParseDID(did); err != nil || hasService && !serviceID.MatchString(service) {
		return nil, xrpc.InvalidRequest("aud must be a DID, or a DID with the id of a service: did:web:example.com#service")
	}
	if err := caller.MayCall(p.Lxm, p.Aud); err != nil {
		return nil, err
	}
	now := time.Now()
	exp, err := auth.ServiceExpiry(now, p.Exp, p.Lxm)
	if err != nil {
		return nil, err
	}
	key, err := s.accounts.SigningKey(caller.Account)
	if err != nil {
		return nil, err
	}
	token, err := auth.ServiceToken(key, auth.ServiceClaims{Issuer: caller.DID, Audience: p.Aud, Method: p.Lxm, IssuedAt: now, Expires: exp})
	if err != nil {
		return nil, err
	}
	return &serviceAuthOutput{Token: token}, nil
}

// signForProxy makes the token that goes with a proxied request.
func (s *Server) signForProxy(ctx context.Context, user syntax.DID, aud, lxm string) (string, error) {
	acct, err := s.store.AccountByDID(ctx, user)
	if err != nil {
		return "", err
	}
	key, err := s.accounts.SigningKey(acct)
	if err != nil {
		return "", err
	}
	return auth.ServiceToken(key, auth.ServiceClaims{Issuer: user, Audience: aud, Method: syntax.NSID(lxm)})
}

type accountStatusOutput struct {
	Activated          bool   `json:"activated"`
	ValidDID           bool   `json:"validDid"`
	RepoCommit         string `json:"repoCommit"`
	RepoRev            string `json:"repoRev"`
	RepoBlocks         int64  `json:"repoBlocks"`
	IndexedRecords     int64  `json:"indexedRecords"`
	PrivateStateValues int64  `json:"privateStateValues"`
	ExpectedBlobs      int64  `json:"expectedBlobs"`
	ImportedBlobs      int64  `json:"importedBlobs"`
}

func (s *Server) checkAccountStatus(ctx context.Context, _ *struct{}) (*accountStatusOutput, error) {
	acct := auth.From(ctx).Account
	head, stats, err := s.store.Head(ctx, acct.ID)
	if err != nil {
		return nil, err
	}
	blobs, err := s.store.BlobStats(ctx, acct.ID)
	if err != nil {
		return nil, err
	}
	blocks, err := s.countBlocks(ctx, acct.ID)
	if err != nil {
		return nil, err
	}
	prefs, err := s.store.Preferences(ctx, acct.ID)
	if err != nil {
		return nil, err
	}
	return &accountStatusOutput{
		Activated:          acct.DeactivatedAt.IsZero(),
		ValidDID:           s.checkDocument(ctx, acct) == nil,
		RepoCommit:         head.CID.String(),
		RepoRev:            head.Commit.Rev.String(),
		RepoBlocks:         blocks,
		IndexedRecords:     stats.Records,
		PrivateStateValues: int64(len(prefs)),
		ExpectedBlobs:      blobs.Expected,
		ImportedBlobs:      blobs.Imported,
	}, nil
}

// countBlocks counts the commit, the nodes of the tree and the records, as an export would send them.
func (s *Server) countBlocks(ctx context.Context, acct store.AccountID) (int64, error) {
	leave, err := s.exports.enter(ctx, true)
	if err != nil {
		return 0, err
	}
	defer leave()
	return s.store.CountBlocks(ctx, acct)
}
