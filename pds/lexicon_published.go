package pds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/pds/oauth"
	"perch/repo"
)

const (
	lexiconCollection = "com.atproto.lexicon.schema"
	maxLexiconProof   = 1 << 20 // bytes
)

// publishedLexicon fetches a lexicon from its author: DNS names the account that has the authority over the name, and the record there comes with a
// proof that the account has signed it. The error for one that does not exist is oauth.ErrNoLexicon.
func (s *Server) publishedLexicon(ctx context.Context, name string) ([]byte, error) {
	nsid, err := syntax.ParseNSID(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", oauth.ErrNoLexicon, err)
	}
	did := syntax.DID(s.cfg.LexiconAuthorityDID)
	if did == "" {
		if did, err = s.identity.LexiconAuthority(ctx, nsid); errors.Is(err, identity.ErrNotFound) {
			return nil, fmt.Errorf("%w: %w", oauth.ErrNoLexicon, err)
		}
	}
	if err != nil {
		return nil, err
	}
	doc, err := s.identity.ResolveDID(ctx, did)
	if err != nil {
		return nil, err
	}
	body, err := s.provenRecord(ctx, doc, lexiconCollection, name)
	if err != nil {
		return nil, fmt.Errorf("lexicon %s of %s: %w", name, did, err)
	}
	return repo.AppendJSON(nil, body)
}

// provenRecord fetches a record of another account from its server, with the proof, and returns its CBOR.
func (s *Server) provenRecord(ctx context.Context, doc *identity.Document, collection, rkey string) ([]byte, error) {
	key, err := doc.Key("atproto")
	if err != nil {
		return nil, err
	}
	host, ok := doc.PDSEndpoint()
	if !ok {
		return nil, fmt.Errorf("%w: its account has no server", oauth.ErrNoLexicon)
	}
	query := url.Values{"did": {doc.DID.String()}, "collection": {collection}, "rkey": {rkey}}
	proof, err := s.fetchProof(ctx, host+"/xrpc/com.atproto.sync.getRecord?"+query.Encode())
	if err != nil {
		return nil, err
	}
	return verifyProof(proof, doc.DID, key, collection+"/"+rkey)
}

func verifyProof(proof []byte, did syntax.DID, key atcrypto.PublicKey, path string) ([]byte, error) {
	_, body, err := repo.VerifyRecordProof(proof, did, key, path)
	if err == nil && body == nil {
		err = fmt.Errorf("%w: no such record", oauth.ErrNoLexicon)
	}
	return body, err
}

func (s *Server) fetchProof(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	res, err := s.strangers.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its server answers with status %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxLexiconProof+1))
	if err == nil && len(body) > maxLexiconProof {
		err = errors.New("its proof is too large")
	}
	return body, err
}
