package pds

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/account"
	"perch/pds/auth"
	"perch/xrpc"
)

type describeServerOutput struct {
	DID                       syntax.DID       `json:"did"`
	AvailableUserDomains      []string         `json:"availableUserDomains"`
	InviteCodeRequired        bool             `json:"inviteCodeRequired"`
	PhoneVerificationRequired bool             `json:"phoneVerificationRequired"`
	BlobUploadLimit           int64            `json:"blobUploadLimit"`
	Links                     describeLinks    `json:"links"`
	Contact                   *describeContact `json:"contact,omitempty"`
}

type describeLinks struct {
	PrivacyPolicy  string `json:"privacyPolicy,omitempty"`
	TermsOfService string `json:"termsOfService,omitempty"`
}

type describeContact struct {
	Email string `json:"email"`
}

func (s *Server) describeServer(context.Context, *struct{}) (*describeServerOutput, error) {
	out := &describeServerOutput{
		DID:                  s.serviceDID,
		AvailableUserDomains: s.cfg.HandleDomains(),
		InviteCodeRequired:   s.cfg.InviteRequired,
		BlobUploadLimit:      s.cfg.BlobUploadLimit,
		Links:                describeLinks{PrivacyPolicy: s.cfg.PrivacyPolicyURL, TermsOfService: s.cfg.TermsOfServiceURL},
	}
	if s.cfg.ContactEmailAddress != "" {
		out.Contact = &describeContact{Email: s.cfg.ContactEmailAddress}
	}
	return out, nil
}

type createAccountInput struct {
	Email       string          `json:"email"`
	Handle      string          `json:"handle"`
	DID         syntax.DID      `json:"did"`
	InviteCode  string          `json:"inviteCode"`
	Password    string          `json:"password"`
	RecoveryKey string          `json:"recoveryKey"`
	PLCOp       json.RawMessage `json:"plcOp"`
}

type createAccountOutput struct {
	AccessJWT  string          `json:"accessJwt"`
	RefreshJWT string          `json:"refreshJwt"`
	Handle     syntax.Handle   `json:"handle"`
	DID        syntax.DID      `json:"did"`
	DIDDoc     json.RawMessage `json:"didDoc,omitempty"`
}

// createAccount makes a new did:plc account, or the account of somebody who moves here and brings a DID.
func (s *Server) createAccount(ctx context.Context, in *createAccountInput) (out *createAccountOutput, err error) {
	err = s.tellingTaken(ctx, func() error {
		out, err = s.createAccountOf(ctx, in)
		return err
	})
	return out, err
}

func (s *Server) createAccountOf(ctx context.Context, in *createAccountInput) (*createAccountOutput, error) {
	if len(in.PLCOp) > 0 {
		return nil, xrpc.InvalidRequest(`Unsupported input: "plcOp". Send it to submitPlcOperation once the account is made`)
	}
	if in.DID != "" {
		return s.createAccountWithDID(ctx, in)
	}
	if in.RecoveryKey != "" {
		if _, err := atcrypto.ParsePublicDIDKey(in.RecoveryKey); err != nil {
			return nil, xrpc.InvalidRequest("recoveryKey is not a did:key of a P-256 or K-256 key")
		}
	}
	session, err := s.newAccount(ctx, account.NewAccount{
		Handle: in.Handle, Email: in.Email, Password: in.Password, InviteCode: in.InviteCode,
	}, in.RecoveryKey)
	if err != nil {
		return nil, err
	}
	return s.createdAccount(ctx, session)
}

// createAccountWithDID makes the account of somebody who names a DID: one that exists, with proof, or the did:web of the handle, which is to be made.
func (s *Server) createAccountWithDID(ctx context.Context, in *createAccountInput) (*createAccountOutput, error) {
	if s.cfg.DIDWebAccounts != didWebEveryone || auth.From(ctx).Kind == auth.Service || !s.ownWebHost(webHostOf(in.DID)) {
		return s.createMovingAccount(ctx, in)
	}
	session, err := s.createWebAccount(ctx, in, false)
	if err != nil {
		return nil, err
	}
	return s.createdAccount(ctx, session)
}

// newAccount makes an account with a new did:plc. Everything that can be refused is checked first, then the DID is registered, and then account, repository,
// events and session are stored in one transaction. If that comes to nothing, the DID is given up again, should there be one.
func (s *Server) newAccount(ctx context.Context, in account.NewAccount, recoveryKey string) (account.Session, error) {
	res, err := s.accounts.Reserve(ctx, in)
	if err != nil {
		return account.Session{}, err
	}
	defer res.Release()
	op, err := s.genesis(res, recoveryKey)
	if err != nil {
		return account.Session{}, err
	}
	session, err := s.makeAccount(ctx, res, op)
	if err != nil {
		return account.Session{}, err
	}
	s.relay.Notify()
	return session, nil
}

// genesis is the operation that makes the DID: the owner's recovery key first, the operator's next, the server's last.
func (s *Server) genesis(res *account.Reservation, recoveryKey string) (plc.Operation, error) {
	signing, err := res.SigningKey.PublicKey()
	if err != nil {
		return plc.Operation{}, err
	}
	rotation, err := s.rotationKey.PublicKey()
	if err != nil {
		return plc.Operation{}, err
	}
	var keys []string
	for _, k := range []string{recoveryKey, s.cfg.RecoveryDIDKey, rotation.DIDKey()} {
		if k != "" && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return plc.Sign(plc.Genesis(keys, signing.DIDKey(), res.Handle, s.cfg.PublicURL()), s.rotationKey)
}

// storeAccount stores the account with its empty repository and the events that announce it.
func (s *Server) storeAccount(ctx context.Context, res *account.Reservation, did syntax.DID) (account.Session, error) {
	return s.storeAccountWith(ctx, res, did, nil)
}

func (s *Server) createdAccount(ctx context.Context, session account.Session) (*createAccountOutput, error) {
	tokens, err := s.auth.Tokens(session)
	if err != nil {
		return nil, err
	}
	out := &createAccountOutput{
		AccessJWT:  tokens.Access,
		RefreshJWT: tokens.Refresh,
		Handle:     session.Account.Handle,
		DID:        session.Account.DID,
	}
	out.DIDDoc = s.didDoc(ctx, session.Account.DID)
	return out, nil
}

// didDoc gives the DID document for session answers, where clients look for their server. Without it they use the one they asked.
func (s *Server) didDoc(ctx context.Context, did syntax.DID) json.RawMessage {
	if !s.cfg.EnableDIDDocWithSession {
		return nil
	}
	doc, err := s.identity.ResolveDID(ctx, did)
	if err != nil {
		s.log.WarnContext(ctx, "resolve DID for session", "did", did, "err", err)
		return nil
	}
	return doc.Raw
}
