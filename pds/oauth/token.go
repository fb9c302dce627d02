package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"perch/pds/oauth/scope"
	"perch/pds/store"
)

// The kinds of grants.
const (
	grantCode    = "authorization_code"
	grantRefresh = "refresh_token"
)

// sessionData is what a session keeps beside the columns.
type sessionData struct {
	Client Client    `json:"client"` // as it was let in
	Key    clientKey `json:"key,omitzero"`
}

type tokenOutput struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	RefreshToken string `json:"refresh_token,omitempty"`
	ExpiresIn    int64  `json:"expires_in"`
	Scope        string `json:"scope"`
	Subject      string `json:"sub"`
}

// token trades a code or a refresh token for tokens.
func (s *Service) token(c *call) (any, error) {
	kind := c.form.Get("grant_type")
	switch kind {
	case grantCode, grantRefresh:
	case "":
		return nil, refuse(InvalidRequest, "grant_type is missing")
	default:
		return nil, refuse(UnsupportedGrantType, "grant_type must be authorization_code or refresh_token")
	}
	who, err := s.identify(c)
	if err != nil {
		return nil, err
	}
	if who.jkt == "" {
		return nil, refuse(InvalidDPoPProof, "The request needs a DPoP proof")
	}
	if kind == grantCode {
		return s.redeem(c.r.Context(), who, c.form.Get)
	}
	if !who.client.refreshes() {
		return nil, refuse(UnauthorizedClient, "The client's metadata do not declare the grant type refresh_token")
	}
	return s.refresh(c.r.Context(), who, c.form.Get("refresh_token"), c.form.Get("scope"))
}

func invalidGrant(description string) *Error { return refuse(InvalidGrant, description) }

// redeem trades a code for the first tokens of a session. A code is good for one try: what is wrong with that uses it up, because it shows that somebody
// else has it. A code that was used before ends the session that it became.
func (s *Service) redeem(ctx context.Context, who caller, get func(string) string) (any, error) {
	code := get("code")
	if code == "" {
		return nil, refuse(InvalidRequest, "code is missing")
	}
	var ses store.OAuthSession
	var acct *store.Account
	err := s.act(ctx, who.assertion, func(tx *store.Tx) (*Error, error) {
		row, err := tx.OAuthCode(ctx, hashOf(code))
		if errors.Is(err, store.ErrNotFound) {
			return invalidGrant("The code is not valid"), nil
		}
		if err != nil {
			return nil, err
		}
		if row.Session != "" {
			return invalidGrant("The code was used before"), tx.EndOAuthSession(ctx, row.Session)
		}
		if row.Data == "" {
			return invalidGrant("The code is not valid any more"), nil
		}
		var p params
		if err := json.Unmarshal([]byte(row.Data), &p); err != nil {
			return nil, err
		}
		refusal := s.checkCode(who, row, &p, get)
		if refusal == nil {
			acct, refusal, err = sessionAccount(ctx, tx, row.Account)
		}
		if err != nil {
			return nil, err
		}
		row.Data = ""
		if refusal == nil {
			if ses, err = s.begin(ctx, tx, who, row, &p); err != nil {
				return nil, err
			}
			row.Session = ses.ID
		}
		return refusal, tx.UpdateOAuthRequest(ctx, row)
	})
	if err != nil {
		return nil, err
	}
	return s.tokens(who.client, &ses, acct), nil
}

// checkCode holds what the client shows against the request that the code came of.
func (s *Service) checkCode(who caller, row store.OAuthRequest, p *params, get func(string) string) *Error {
	verifier := get("code_verifier")
	sum := sha256.Sum256([]byte(verifier))
	switch redirect := get("redirect_uri"); {
	case row.ClientID != who.client.id:
		return invalidGrant("The code was made for another client")
	case !s.now().Before(row.ExpiresAt):
		return invalidGrant("The code has expired")
	case !verifierPattern.MatchString(verifier) || !same(base64.RawURLEncoding.EncodeToString(sum[:]), p.Challenge):
		return invalidGrant("code_verifier does not belong to the code_challenge")
	case redirect != "" && redirect != p.RedirectURI:
		return invalidGrant("redirect_uri is not that of the request")
	case !same(who.jkt, p.JKT):
		return invalidGrant("The DPoP key is not that of the request")
	case who.key != p.Key:
		return invalidGrant("The client has proved itself with another key than in the request")
	}
	return nil
}

// sessionAccount finds the account of a session, if it is one that may have sessions.
func sessionAccount(ctx context.Context, tx *store.Tx, id store.AccountID) (*store.Account, *Error, error) {
	acct, err := tx.AccountByID(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, invalidGrant("The account is gone"), nil
	}
	if err != nil {
		return nil, nil, err
	}
	switch acct.Status() {
	case "", store.StatusDeactivated: // its owner may come back
		return acct, nil, nil
	}
	return nil, invalidGrant("The account is not active"), nil
}

func (s *Service) begin(ctx context.Context, tx *store.Tx, who caller, row store.OAuthRequest, p *params) (store.OAuthSession, error) {
	client := who.client.public()
	if p.Client != nil {
		client = *p.Client
	}
	data, err := json.Marshal(sessionData{Client: client, Key: p.Key})
	if err != nil {
		return store.OAuthSession{}, err
	}
	ses := store.OAuthSession{
		ID: newSessionID(), Account: row.Account, ClientID: row.ClientID, Device: row.Device, Data: string(data),
		Granted: scope.Join(p.Granted), Scope: scope.Join(p.Expanded), JKT: p.JKT, Salt: randomBytes(secretBytes), CreatedAt: s.now(),
	}
	s.renew(who.client, &ses)
	return ses, tx.CreateOAuthSession(ctx, ses)
}

// renew begins the next generation of a session's tokens.
func (s *Service) renew(c *client, ses *store.OAuthSession) {
	now := s.now()
	session, refresh := publicSession, publicRefresh
	if c.confidential() || c.trusted {
		session, refresh = provenSession, provenRefresh
	}
	ses.Generation++
	ses.UsedAt = now
	ses.ExpiresAt = earlier(now.Add(refresh), ses.CreatedAt.Add(session))
	ses.AccessExpiresAt = earlier(now.Add(AccessLifetime), ses.ExpiresAt)
	if !c.refreshes() {
		ses.ExpiresAt = ses.AccessExpiresAt
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (s *Service) tokens(c *client, ses *store.OAuthSession, acct *store.Account) tokenOutput {
	out := tokenOutput{
		AccessToken: s.makeToken(accessPrefix, ses), TokenType: "DPoP", Scope: ses.Scope, Subject: acct.DID.String(),
		ExpiresIn: max(0, int64(ses.AccessExpiresAt.Sub(s.now()).Seconds())),
	}
	if c.refreshes() {
		out.RefreshToken = s.makeToken(refreshPrefix, ses)
	}
	return out
}

// refresh trades a refresh token for the next tokens. A token that was used before ends the session, whoever brings it; except that within RefreshGrace the
// holder of the same DPoP key gets the same answer again, while nobody has gone on from that. A token with another key is refused, and nothing else: it
// is of no use to who has it, and ending the session would let him sign somebody out. The scopes that it asks for may be some of those that were granted; the answer says which there are.
func (s *Service) refresh(ctx context.Context, who caller, refreshToken, scopes string) (any, error) {
	t, ok := parseToken(refreshPrefix, refreshToken)
	if !ok {
		return nil, invalidGrant("The refresh token is not valid")
	}
	ses, err := s.opts.Store.OAuthSession(ctx, t.session)
	if errors.Is(err, store.ErrNotFound) || err == nil && !s.genuine(refreshPrefix, t, ses) {
		return nil, invalidGrant("The refresh token is not valid")
	}
	if err != nil {
		return nil, err
	}
	if ses.ClientID != who.client.id {
		return nil, invalidGrant("The refresh token was made for another client")
	}
	if err := checkRefreshScope(scopes, ses); err != nil {
		return nil, err
	}
	expanded, err := s.expand(ctx, splitScopes(ses.Granted), false) // before the transaction: it may take time
	if errors.Is(err, errExpanded) && ses.Scope != "" {             // a set has grown beyond measure: what it gave goes on
		expanded, err = expansion{scopes: splitScopes(ses.Scope)}, nil
	}
	if err != nil {
		return nil, err
	}
	var next store.OAuthSession
	var acct *store.Account
	err = s.act(ctx, who.assertion, func(tx *store.Tx) (*Error, error) {
		now, err := tx.OAuthSession(ctx, t.session)
		if errors.Is(err, store.ErrNotFound) {
			return invalidGrant("The session has ended"), nil
		}
		if err != nil {
			return nil, err
		}
		next = *now
		verdict, refusal := s.judge(who, t, now)
		switch {
		case verdict == endSession:
			return refusal, tx.EndOAuthSession(ctx, now.ID)
		case refusal != nil:
			return refusal, nil
		}
		if acct, refusal, err = sessionAccount(ctx, tx, now.Account); refusal != nil || err != nil {
			return refusal, err
		}
		if verdict == repeat {
			return nil, nil
		}
		next.Scope = scope.Join(expanded.scopes)
		s.renew(who.client, &next)
		return nil, tx.RotateOAuthSession(ctx, next)
	})
	if err != nil {
		return nil, err
	}
	return s.tokens(who.client, &next, acct), nil
}

// checkRefreshScope refuses a refresh that asks for more than was granted.
func checkRefreshScope(text string, ses *store.OAuthSession) error {
	asked, err := scope.Split(text)
	if err != nil {
		return refuse(InvalidScope, err.Error())
	}
	had := append(splitScopes(ses.Granted), splitScopes(ses.Scope)...)
	if len(scope.Subset(asked, had)) != len(asked) {
		return refuse(InvalidScope, "The refresh asks for more than was granted")
	}
	return nil
}

type verdict int

const (
	goOn       verdict = iota // make the next tokens, unless there is a refusal
	repeat                    // give out the present tokens again
	endSession                // with a refusal
)

// judge decides about a genuine refresh token. One that the session has not reached yet can only come from a database that was restored, and is treated as
// used.
func (s *Service) judge(who caller, t token, ses *store.OAuthSession) (verdict, *Error) {
	var d sessionData
	if err := json.Unmarshal([]byte(ses.Data), &d); err != nil {
		return goOn, asError(err)
	}
	now := s.now()
	sameKey := same(who.jkt, ses.JKT)
	switch {
	case !now.Before(ses.ExpiresAt):
		return endSession, invalidGrant("The session has expired")
	case !who.client.has(d.Key):
		return endSession, invalidGrant("The key that the client has begun the session with is not in its metadata any more")
	case who.key != d.Key:
		return goOn, invalidGrant("The client has proved itself with another key than at the beginning of the session")
	case t.generation == ses.Generation && !sameKey:
		return goOn, invalidGrant("The DPoP key is not that of the session")
	case t.generation == ses.Generation:
		return goOn, nil
	case t.generation == ses.Generation-1 && sameKey && now.Sub(ses.UsedAt) < RefreshGrace:
		return repeat, nil
	}
	return endSession, invalidGrant("The refresh token was used before")
}

// revoke ends the session of a token (RFC 7009). A token that is not valid is no error.
func (s *Service) revoke(c *call) (any, error) {
	text := c.form.Get("token")
	if text == "" {
		return nil, refuse(InvalidRequest, "token is missing")
	}
	who, err := s.identify(c)
	if err != nil {
		return nil, err
	}
	ctx := c.r.Context()
	for _, prefix := range []string{refreshPrefix, accessPrefix} {
		t, ok := parseToken(prefix, text)
		if !ok {
			continue
		}
		ses, err := s.opts.Store.OAuthSession(ctx, t.session)
		if errors.Is(err, store.ErrNotFound) || err == nil && (!s.genuine(prefix, t, ses) || ses.ClientID != who.client.id) {
			break
		}
		if err != nil {
			return nil, err
		}
		return struct{}{}, s.act(ctx, who.assertion, func(tx *store.Tx) (*Error, error) { return nil, tx.EndOAuthSession(ctx, ses.ID) })
	}
	return struct{}{}, nil
}
