package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/store"
	"perch/xrpc"
)

// What the DID of an account that was made of an archive still needs, in RescuedDID.Needs.
const (
	RescueNeedsNothing   = ""           // it names this server
	RescueNeedsOperation = "operation"  // did:plc: an operation, signed with one of its rotation keys
	RescueNeedsDocument  = "document"   // did:web: the owner must publish Wanted
	RescueNeedsActivate  = "activation" // it names this server; the account was deactivated when the archive was made, and is left so
)

// RescuedDID is how the DID of an account that was made of an archive stands.
type RescuedDID struct {
	Needs      string   `json:"needs"`
	Host       string   `json:"host,omitempty"`       // which server the DID names
	SigningKey string   `json:"signingKey,omitempty"` // did:key that the DID needs to name
	Keys       []string `json:"rotationKeys,omitempty"`
}

// RescueDIDRequest moves the DID of an account that was made of an archive. Without an operation the answer is the one to sign with the rotation key whose
// did:key is Signer.
type RescueDIDRequest struct {
	DID       syntax.DID      `json:"did"`
	Signers   []string        `json:"signers,omitempty"`
	Operation json.RawMessage `json:"operation,omitempty"` // signed
}

// RescueDIDAnswer is how the DID stands then, or the operation to sign.
type RescueDIDAnswer struct {
	RescuedDID
	Operation json.RawMessage `json:"operation,omitempty"` // unsigned
	Signer    string          `json:"signer,omitempty"`
}

// SignOperation signs an operation with a rotation key of the DID's owner, which this way need not leave the owner's machine. signer is the did:key that it must be.
func SignOperation(operation json.RawMessage, signer, private string) (json.RawMessage, error) {
	key, _, err := plc.RotationKey(private, []string{signer})
	if err != nil {
		return nil, err
	}
	var op plc.Operation
	if err := json.Unmarshal(operation, &op); err != nil {
		return nil, err
	}
	if op.Type != plc.TypeOperation || !slices.Contains(op.RotationKeys, signer) {
		return nil, errors.New("the server asks for an operation that would take the DID from who has the key")
	}
	signed, err := plc.Sign(op, key)
	if err != nil {
		return nil, err
	}
	return json.Marshal(signed)
}

// RotationKeyDIDs returns the did:keys of which a private key may be. No error repeats it.
func RotationKeyDIDs(private string) ([]string, error) { return plc.RotationKeyDIDs(private) }

func (s *Server) operatorRescueDID(ctx context.Context, in *RescueDIDRequest) (*RescueDIDAnswer, error) {
	acct, row, err := s.rescued(ctx, in.DID)
	if err != nil {
		return nil, err
	}
	if len(in.Operation) == 0 {
		op, signer, err := s.rescueOperation(ctx, acct, in.Signers)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(op)
		return &RescueDIDAnswer{Operation: text, Signer: signer}, err
	}
	var op plc.Operation
	if err := json.Unmarshal(in.Operation, &op); err != nil {
		return nil, xrpc.InvalidRequest("operation is not a PLC operation: %v", err)
	}
	did, err := s.rescueDID(ctx, acct, row, &op)
	return &RescueDIDAnswer{RescuedDID: did}, err
}

// rescued finds an account of which all that was in an archive is stored.
func (s *Server) rescued(ctx context.Context, did syntax.DID) (*store.Account, store.AccountImport, error) {
	acct, err := s.store.AccountByDID(ctx, did)
	if err != nil {
		return nil, store.AccountImport{}, accountNotFound(err)
	}
	row, err := s.store.AccountImport(ctx, acct.ID)
	if err == nil && !row.Stored {
		err = store.ErrNotFound
	}
	if errors.Is(err, store.ErrNotFound) {
		err = &xrpc.Error{Status: 400, Name: "OtherState", Message: "No archive of " + did.String() + " is stored as a whole", Err: err}
	}
	return acct, row, err
}

// rescueSigner returns the newest operation of a DID, and which of the keys is one of its rotation keys.
func (s *Server) rescueSigner(ctx context.Context, did syntax.DID, keys []string) (plc.Operation, string, error) {
	if !isPLC(did) {
		return plc.Operation{}, "", xrpc.NewError(400, "InvalidRotationKey", "Only a did:plc has rotation keys, not %s", did)
	}
	last, err := s.plc.Last(ctx, did)
	if err != nil {
		return last, "", err
	}
	for _, k := range keys {
		if slices.Contains(last.RotationKeys, k) {
			return last, k, nil
		}
	}
	return last, "", xrpc.NewError(400, "InvalidRotationKey", "The key is none of the rotation keys of %s", did)
}

// rescueOperation is the unsigned operation that brings a DID here. Rotation keys that rank below the owner's, as the old host's do, are replaced by this server's.
func (s *Server) rescueOperation(ctx context.Context, acct *store.Account, keys []string) (plc.Operation, string, error) {
	last, signer, err := s.rescueSigner(ctx, acct.DID, keys)
	if err != nil {
		return plc.Operation{}, "", err
	}
	own, err := s.serverRotationKeys()
	if err != nil {
		return plc.Operation{}, "", err
	}
	op, err := plc.Update(last, func(op *plc.Operation) {
		op.RotationKeys = op.RotationKeys[:slices.Index(op.RotationKeys, signer)+1]
		for _, k := range own {
			if !slices.Contains(op.RotationKeys, k) {
				op.RotationKeys = append(op.RotationKeys, k)
			}
		}
		s.nameHere(op, acct)
	})
	return op, signer, err
}

// nameHere has an operation name this server and what the account is here.
func (s *Server) nameHere(op *plc.Operation, acct *store.Account) {
	op.SetHandle(acct.Handle)
	op.SetPDS(s.cfg.PublicURL())
	op.SetSigningKey(acct.SigningKeyDID)
}

// rescueDID sees to it, as far as it can, that the DID of an account that was made of an archive names this server, and then makes the account active. It may be
// called again at any time. Without an operation of the owner's it changes nothing but the signing key of a DID that is this server's already.
func (s *Server) rescueDID(ctx context.Context, acct *store.Account, row store.AccountImport, op *plc.Operation) (RescuedDID, error) {
	switch {
	case acct.Announced() && acct.DeactivatedAt.IsZero():
		return RescuedDID{}, nil
	case acct.Announced(): // it came, and its owner has deactivated it since
		return RescuedDID{Needs: RescueNeedsActivate}, nil
	}
	here := migrationHere{s}
	named, err := here.Named(ctx, acct.ID)
	if err != nil {
		return RescuedDID{}, identityError(err, acct.DID.AtIdentifier())
	}
	if !named {
		if needs, err := s.bringDID(ctx, acct, op); err != nil || needs.Needs != RescueNeedsNothing {
			return needs, err
		}
	}
	if row.Status == store.StatusDeactivated {
		return RescuedDID{Needs: RescueNeedsActivate}, nil
	}
	return RescuedDID{}, here.Activate(ctx, acct.ID)
}

func (s *Server) bringDID(ctx context.Context, acct *store.Account, op *plc.Operation) (RescuedDID, error) {
	if !isPLC(acct.DID) {
		doc, err := s.identity.Refresh(ctx, acct.DID)
		if err != nil {
			return RescuedDID{}, identityError(err, acct.DID.AtIdentifier())
		}
		host, _ := doc.PDSEndpoint()
		return RescuedDID{Needs: RescueNeedsDocument, Host: host, SigningKey: acct.SigningKeyDID}, nil
	}
	last, err := s.plc.Last(ctx, acct.DID)
	if err != nil {
		return RescuedDID{}, err
	}
	if op != nil {
		return RescuedDID{}, s.submitRescue(ctx, acct, last, *op)
	}
	host := last.Services[plc.PDSServiceName].Endpoint
	if host == s.cfg.PublicURL() {
		err := s.updateDID(ctx, acct.DID, func(op *plc.Operation) { s.nameHere(op, acct) })
		if !errors.Is(err, errNoRotation) {
			return RescuedDID{}, err
		}
	}
	return RescuedDID{Needs: RescueNeedsOperation, Host: host, SigningKey: acct.SigningKeyDID, Keys: last.RotationKeys}, nil
}

// submitRescue sends an operation that the owner has signed to the directory, if the account can live here with it.
func (s *Server) submitRescue(ctx context.Context, acct *store.Account, last, op plc.Operation) error {
	if err := s.checkOperation(acct, &op); err != nil {
		return err
	}
	if _, err := plc.Verify(op, last.RotationKeys); err != nil {
		return &xrpc.Error{Status: 400, Name: "InvalidRotationKey", Message: fmt.Sprintf("The operation is not signed by a rotation key of %s", acct.DID), Err: err}
	}
	s.log.InfoContext(ctx, "a DID is brought here by a rotation key of its owner's", "did", acct.DID, "from", last.Services[plc.PDSServiceName].Endpoint)
	return migrationHere{s}.Submit(ctx, acct.DID, op)
}
