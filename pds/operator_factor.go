package pds

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
	"perch/xrpc"
)

// FactorPath is where the command line sets up second factors on the running server.
const FactorPath = "/perch/factor"

// Actions of a FactorRequest.
const (
	FactorShow    = "show"
	FactorBegin   = "begin"   // an authenticator app: answers with its secret
	FactorConfirm = "confirm" // it, with a code that it shows: answers with recovery codes
	FactorRecover = "recover" // answers with new recovery codes
	FactorRemove  = "remove"  // all second factors
	// FactorRemovePasskeys removes all passkeys.
	FactorRemovePasskeys = "remove-passkeys"
)

// FactorRequest is what the operator does about an account's second factors.
type FactorRequest struct {
	Account string `json:"account"` // handle, DID or e-mail address
	Action  string `json:"action"`
	Code    string `json:"code,omitempty"` // for FactorConfirm
}

// FactorAnswer is how the account stands, and what is shown once.
type FactorAnswer struct {
	DID           syntax.DID    `json:"did"`
	Handle        syntax.Handle `json:"handle"`
	Email         bool          `json:"email"` // codes by e-mail
	TOTP          bool          `json:"totp"`  // an authenticator app
	CodesLeft     int           `json:"codesLeft"`
	Passkeys      int           `json:"passkeys"`
	RoleEnded     bool          `json:"roleEnded,omitempty"` // it was an administrator, and has no factor left for that
	Secret        string        `json:"secret,omitempty"`
	URL           string        `json:"url,omitempty"`
	RecoveryCodes []string      `json:"recoveryCodes,omitempty"`
}

func (s *Server) operatorFactor(ctx context.Context, in *FactorRequest) (*FactorAnswer, error) {
	acct, err := s.found(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	out := &FactorAnswer{DID: acct.DID, Handle: acct.Handle}
	if err := s.changeFactor(ctx, acct, in, out); err != nil {
		return nil, err
	}
	f, err := s.accounts.Factors(ctx, acct.ID)
	if err != nil {
		return nil, err
	}
	passkeys, err := s.accounts.Passkeys(ctx, acct.ID)
	if err != nil {
		return nil, err
	}
	now, err := s.store.AccountByID(ctx, acct.ID)
	if err != nil {
		return nil, err
	}
	out.RoleEnded = acct.Role != now.Role
	out.Email, out.TOTP, out.CodesLeft, out.Passkeys = f.Email, f.TOTP, f.RecoveryCodes, len(passkeys)
	if in.Action != FactorShow {
		s.log.InfoContext(ctx, "second factor changed by the operator", "did", acct.DID, "action", in.Action)
	}
	return out, nil
}

func (s *Server) changeFactor(ctx context.Context, acct *store.Account, in *FactorRequest, out *FactorAnswer) (err error) {
	switch in.Action {
	case FactorShow:
	case FactorBegin:
		setup, err := s.accounts.BeginTOTP(ctx, acct)
		out.Secret, out.URL = setup.Secret, setup.URL
		return err
	case FactorConfirm:
		out.RecoveryCodes, err = s.accounts.ConfirmTOTP(ctx, acct, in.Code)
	case FactorRecover:
		out.RecoveryCodes, err = s.accounts.RenewRecoveryCodes(ctx, acct.ID)
	case FactorRemove:
		err = s.accounts.RemoveFactors(ctx, acct.ID)
	case FactorRemovePasskeys:
		err = s.accounts.RemovePasskeys(ctx, acct, s.passkeyNotice(ctx, passkeyRemoved))
	default:
		err = xrpc.InvalidRequest("action must be show, begin, confirm, recover, remove or remove-passkeys")
	}
	return err
}
