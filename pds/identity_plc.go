package pds

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/identity/plc"
	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/store"
	"perch/xrpc"
)

// keysOf lists, as did:keys and the newest first, every key that the account's DID has had for its repository: of did:plc those of the log, without
// operations that were nullified; of did:web the one it has now. The key that the account has here is one of them in any case.
func (s *Server) keysOf(ctx context.Context, acct *store.Account) ([]string, error) {
	keys, err := s.keysOfDID(ctx, acct.DID)
	if err != nil || slices.Contains(keys, acct.SigningKeyDID) {
		return keys, err
	}
	return append(keys, acct.SigningKeyDID), nil
}

// keysOfDID is keysOf for a DID that may have no account here.
func (s *Server) keysOfDID(ctx context.Context, did syntax.DID) ([]string, error) {
	keys := []string{}
	if !isPLC(did) {
		doc, err := s.identity.Refresh(ctx, did)
		if err != nil {
			return nil, identityError(err, did.AtIdentifier())
		}
		if key, err := doc.SigningKey(); err == nil {
			keys = append(keys, key.DIDKey())
		}
		return keys, nil
	}
	log, err := s.plc.Audit(ctx, did)
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Backward(log) {
		key := e.Operation.VerificationMethods[plc.SigningKeyName]
		if !e.Nullified && key != "" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// rotationKeyDID is the did:key of the server's rotation key.
func (s *Server) rotationKeyDID() (string, error) {
	pub, err := s.rotationKey.PublicKey()
	if err != nil {
		return "", err
	}
	return pub.DIDKey(), nil
}

// serverRotationKeys are the rotation keys that the operator puts into operations: one to recover with, if there is one, and the server's.
func (s *Server) serverRotationKeys() ([]string, error) {
	own, err := s.rotationKeyDID()
	if err != nil {
		return nil, err
	}
	if s.cfg.RecoveryDIDKey == "" || s.cfg.RecoveryDIDKey == own {
		return []string{own}, nil
	}
	return []string{s.cfg.RecoveryDIDKey, own}, nil
}

// recommendedCredentials is the answer of getRecommendedDidCredentials.
type recommendedCredentials struct {
	RotationKeys        []string               `json:"rotationKeys,omitempty"`
	AlsoKnownAs         []string               `json:"alsoKnownAs"`
	VerificationMethods map[string]string      `json:"verificationMethods"`
	Services            map[string]plc.Service `json:"services"`
}

// getRecommendedDidCredentials says what the account's DID should name while it lives here. Clients hand it to signPlcOperation of the host that they leave,
// which puts it in the place of what was there. So other aliases, services and keys of the DID are part of it, lest a move loses them; and so are all
// rotation keys once the DID has this server's.
func (s *Server) getRecommendedDidCredentials(ctx context.Context, _ *struct{}) (*recommendedCredentials, error) {
	return s.credentialsOf(ctx, auth.From(ctx).Account)
}

func (s *Server) credentialsOf(ctx context.Context, acct *store.Account) (*recommendedCredentials, error) {
	var op plc.Operation
	if isPLC(acct.DID) {
		last, err := s.plc.Last(ctx, acct.DID)
		switch {
		case err == nil:
			op = last.Clone()
		case !errors.Is(err, plc.ErrUnavailable) && !errors.Is(err, plc.ErrRateLimited):
			return nil, identityError(plcIdentityError(err), acct.DID.AtIdentifier())
		}
		own, err := s.serverRotationKeys()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(op.RotationKeys, own[len(own)-1]) {
			op.RotationKeys = own
		}
	}
	op.SetHandle(acct.Handle)
	op.SetPDS(s.cfg.PublicURL())
	op.SetSigningKey(acct.SigningKeyDID)
	return &recommendedCredentials{
		RotationKeys: op.RotationKeys, AlsoKnownAs: op.AlsoKnownAs, VerificationMethods: op.VerificationMethods, Services: op.Services,
	}, nil
}

// plcIdentityError gives the directory's answers the names that identityError knows.
func plcIdentityError(err error) error {
	switch {
	case errors.Is(err, plc.ErrTombstoned):
		return identity.ErrTombstoned
	case errors.Is(err, plc.ErrNotFound):
		return identity.ErrNotFound
	}
	return err
}

// requestPLCOperationSignature mails the code that signPlcOperation asks for.
func (s *Server) requestPLCOperationSignature(ctx context.Context, _ *struct{}) (*struct{}, error) {
	acct := auth.From(ctx).Account
	if !isPLC(acct.DID) {
		return nil, xrpc.InvalidRequest("Only a did:plc has operations; edit the document of %s instead", acct.DID)
	}
	return &struct{}{}, s.mailCode(ctx, acct, account.ForPLCOperation)
}

type signPLCInput struct {
	Token               string                  `json:"token"`
	RotationKeys        *[]string               `json:"rotationKeys"`
	AlsoKnownAs         *[]string               `json:"alsoKnownAs"`
	VerificationMethods *map[string]string      `json:"verificationMethods"`
	Services            *map[string]plc.Service `json:"services"`
}

type signPLCOutput struct {
	Operation plc.Operation `json:"operation"`
}

// signPLCOperation signs an operation that changes what the caller names in the account's DID and keeps the rest. It is the way out: the code that was sent by
// mail is needed. Rotation keys of the owner's stay whatever is asked for, so that nobody who gets at a session and a mailbox can take them away.
func (s *Server) signPLCOperation(ctx context.Context, in *signPLCInput) (*signPLCOutput, error) {
	acct := auth.From(ctx).Account
	if !isPLC(acct.DID) {
		return nil, xrpc.InvalidRequest("Only a did:plc has operations; edit the document of %s instead", acct.DID)
	}
	if in.Token == "" {
		return nil, xrpc.InvalidRequest("Email confirmation token required to sign PLC operations")
	}
	last, own, err := s.lastOperation(ctx, acct.DID)
	if err != nil {
		return nil, err
	}
	next, err := plc.Update(last, func(op *plc.Operation) { s.applyPLC(op, in, own) })
	if err != nil {
		return nil, err
	}
	signed, err := plc.Sign(next, s.rotationKey)
	if err == nil {
		err = plc.Check(signed)
	}
	if err != nil {
		return nil, invalidPLC(err)
	}
	made, err := signed.CID()
	if err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if err := s.accounts.UseCode(ctx, tx, acct.ID, account.ForPLCOperation, in.Token); err != nil {
			return err
		}
		return tx.NotePLCOperation(ctx, acct.DID, made.String(), false)
	})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "PLC operation signed", "did", acct.DID, "rotationKeys", signed.RotationKeys, "services", signed.Services)
	return &signPLCOutput{Operation: signed}, nil
}

func (s *Server) applyPLC(op *plc.Operation, in *signPLCInput, own []string) {
	if in.RotationKeys != nil {
		op.RotationKeys = withOwnersKeys(op.RotationKeys, *in.RotationKeys, own)
	}
	if in.AlsoKnownAs != nil {
		op.AlsoKnownAs = *in.AlsoKnownAs
	}
	if in.VerificationMethods != nil {
		op.VerificationMethods = *in.VerificationMethods
	}
	if in.Services != nil {
		op.Services = *in.Services
	}
}

// withOwnersKeys returns the wanted rotation keys with those before them that the owner has put there: all that are not the operator's. Who has the private
// half can take such a key away without us.
func withOwnersKeys(had, wanted, operators []string) []string {
	keys := make([]string, 0, len(had)+len(wanted))
	for _, k := range had {
		if !slices.Contains(operators, k) && !slices.Contains(wanted, k) {
			keys = append(keys, k)
		}
	}
	return append(keys, wanted...)
}

// lastOperation returns the newest operation of a DID that this server's key may follow, and the operator's keys.
func (s *Server) lastOperation(ctx context.Context, did syntax.DID) (plc.Operation, []string, error) {
	last, err := s.plc.Last(ctx, did)
	if err != nil {
		return plc.Operation{}, nil, err
	}
	own, err := s.serverRotationKeys()
	switch {
	case err != nil:
		return plc.Operation{}, nil, err
	case last.Type == plc.TypeTombstone:
		return plc.Operation{}, nil, xrpc.InvalidRequest("Did is tombstoned")
	case !slices.Contains(last.RotationKeys, own[len(own)-1]):
		return plc.Operation{}, nil, xrpc.InvalidRequest("%s does not list this server's rotation key, so this server cannot change it", did)
	}
	return last, own, nil
}

type submitPLCInput struct {
	Operation json.RawMessage `json:"operation"`
}

// submitPLCOperation passes a signed operation on to the PLC directory if the account can live here with it.
func (s *Server) submitPLCOperation(ctx context.Context, in *submitPLCInput) (*struct{}, error) {
	acct := auth.From(ctx).Account
	if !isPLC(acct.DID) {
		return nil, xrpc.InvalidRequest("Only a did:plc has operations; edit the document of %s instead", acct.DID)
	}
	var op plc.Operation
	if err := json.Unmarshal(in.Operation, &op); err != nil {
		return nil, xrpc.InvalidRequest("operation is not a PLC operation: %v", err)
	}
	if err := s.checkOperation(acct, &op); err != nil {
		return nil, err
	}
	if err := s.submitPLC(ctx, acct.DID, op); err != nil {
		return nil, err
	}
	return &struct{}{}, s.identityChanged(ctx, acct)
}

// checkOperation refuses operations that would leave the account here without what it needs.
func (s *Server) checkOperation(acct *store.Account, op *plc.Operation) error {
	own, err := s.rotationKeyDID()
	if err != nil {
		return err
	}
	pds := op.Services[plc.PDSServiceName]
	switch {
	case op.Type != plc.TypeOperation:
		return xrpc.InvalidRequest("Not an operation of the type %s", plc.TypeOperation)
	case !slices.Contains(op.RotationKeys, own):
		return xrpc.InvalidRequest("Rotation keys do not include server's rotation key")
	case pds.Type != plc.PDSServiceType:
		return xrpc.InvalidRequest("Incorrect type on atproto_pds service")
	case pds.Endpoint != s.cfg.PublicURL():
		return xrpc.InvalidRequest("Incorrect endpoint on atproto_pds service")
	case op.VerificationMethods[plc.SigningKeyName] != acct.SigningKeyDID:
		return xrpc.InvalidRequest("Incorrect signing key")
	case len(op.AlsoKnownAs) == 0 || !strings.EqualFold(op.AlsoKnownAs[0], "at://"+acct.Handle.String()):
		return xrpc.InvalidRequest("Incorrect handle in alsoKnownAs")
	}
	return invalidPLC(plc.Check(*op))
}

// invalidPLC is a fault in an operation that the caller can see the reason of.
func invalidPLC(err error) error {
	if err == nil {
		return nil
	}
	return &xrpc.Error{Status: 400, Name: xrpc.NameInvalidRequest, Message: err.Error(), Err: err}
}

// identityChanged tells the network, and our own cache, to look at the account's DID again.
func (s *Server) identityChanged(ctx context.Context, acct *store.Account) error {
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.AccountByID(ctx, acct.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && !now.DeletedAt.IsZero() {
			return nil // deleted meanwhile, which is the last that is told of it
		}
		if err != nil {
			return err
		}
		return appendIdentityEvent(tx, now)
	})
	if _, refreshErr := s.identity.Refresh(ctx, acct.DID); refreshErr != nil {
		s.log.WarnContext(ctx, "look at a changed DID again", "did", acct.DID, "err", refreshErr)
		s.identity.Purge(acct.DID.AtIdentifier())
	}
	return err
}
