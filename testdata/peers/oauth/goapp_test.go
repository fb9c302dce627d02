package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atclient"
	"github.com/bluesky-social/indigo/atproto/atcrypto"
	indigo "github.com/bluesky-social/indigo/atproto/auth/oauth"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/testdata/peers/peertest"
)

// goScopes are what the app asks for.
var goScopes = []string{"atproto", "repo:net.perch-club.post?action=create", "repo:net.perch-club.note", "include:" + setName}

// goApp is a website whose visitors sign in with indigo's client: as an app with a key of its own, as one without, and as one under development.
type goApp struct {
	kinds map[string]*indigo.ClientApp
}

func startGoApp(t *testing.T, port int) {
	t.Helper()
	origin := "https://" + goName
	confidential := indigo.NewPublicConfig(origin+"/confidential.json", origin+"/callback/confidential", goScopes)
	key, err := atcrypto.GeneratePrivateKeyP256()
	peertest.Must(t, err)
	peertest.Must(t, confidential.SetClientSecret(key, "first"))
	public := indigo.NewPublicConfig(origin+"/public.json", origin+"/callback/public", goScopes)
	local := indigo.NewLocalhostConfig("http://127.0.0.1:"+strconv.Itoa(port)+"/callback/localhost", goScopes)
	app := &goApp{kinds: map[string]*indigo.ClientApp{}}
	mux := http.NewServeMux()
	for kind, config := range map[string]*indigo.ClientConfig{"confidential": &confidential, "public": &public, "localhost": &local} {
		app.kinds[kind] = indigo.NewClientApp(config, indigo.NewMemStore())
		metadata := config.ClientMetadata()
		if config.IsConfidential() {
			keys := origin + "/jwks.json"
			metadata.JWKSURI = &keys
			mux.HandleFunc("GET /jwks.json", func(w http.ResponseWriter, _ *http.Request) { answer(w, config.PublicJWKS()) })
		}
		mux.HandleFunc("GET /"+kind+".json", func(w http.ResponseWriter, _ *http.Request) { answer(w, metadata) })
	}
	mux.HandleFunc("GET /login/{kind}", app.login)
	mux.HandleFunc("GET /callback/{kind}", app.callback)
	mux.HandleFunc("GET /use/{kind}/{action}", app.use)
	listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	peertest.Must(t, err)
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(body)
}

// result is what the driver of the browser reads.
type result struct {
	DID     string   `json:"did,omitempty"`
	Session string   `json:"session,omitempty"`
	Scopes  []string `json:"scopes,omitempty"`
	Error   string   `json:"error,omitempty"`
	Status  int      `json:"status,omitempty"`
}

func failed(w http.ResponseWriter, err error) {
	out := result{Error: err.Error()}
	var refused *atclient.APIError
	if errors.As(err, &refused) {
		out.Error, out.Status = refused.Name, refused.StatusCode
	}
	answer(w, out)
}

func (a *goApp) login(w http.ResponseWriter, r *http.Request) {
	to, err := a.kinds[r.PathValue("kind")].StartAuthFlow(r.Context(), r.FormValue("who"))
	if err != nil {
		failed(w, err)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (a *goApp) callback(w http.ResponseWriter, r *http.Request) {
	data, err := a.kinds[r.PathValue("kind")].ProcessCallback(r.Context(), r.URL.Query())
	if err != nil {
		failed(w, err)
		return
	}
	answer(w, result{DID: data.AccountDID.String(), Session: data.SessionID, Scopes: data.Scopes})
}

// use does something with a session: "post", "note" and "delete" write, the others are about the session.
func (a *goApp) use(w http.ResponseWriter, r *http.Request) {
	app := a.kinds[r.PathValue("kind")]
	did, session := syntax.DID(r.FormValue("did")), r.FormValue("session")
	err := a.act(r.Context(), app, did, session, r.PathValue("action"))
	if err != nil {
		failed(w, err)
		return
	}
	answer(w, result{Status: http.StatusOK})
}

func (a *goApp) act(ctx context.Context, app *indigo.ClientApp, did syntax.DID, session, action string) error {
	if action == "logout" {
		return app.Logout(ctx, did, session)
	}
	s, err := app.ResumeSession(ctx, did, session)
	if err != nil {
		return err
	}
	switch action {
	case "refresh":
		before := s.Data.RefreshToken
		if _, err := s.RefreshTokens(ctx); err != nil {
			return err
		}
		if s.Data.RefreshToken == before {
			return errors.New("the refresh token is the old one")
		}
		return nil
	case "forget-nonce":
		s.UpdateHostDPoPNonce(ctx, "")
		s.Data.DPoPAuthServerNonce = "lost"
		return app.Store.SaveSession(ctx, *s.Data)
	case "swap-key":
		other, err := atcrypto.GeneratePrivateKeyP256()
		if err != nil {
			return err
		}
		stolen := *s.Data
		stolen.SessionID, stolen.DPoPPrivateKeyMultibase = "stolen", other.Multibase()
		return app.Store.SaveSession(ctx, stolen)
	case "old-token": // goes back to the session as it was stored under the name "old"
		old := *s.Data
		old.SessionID = "old"
		return app.Store.SaveSession(ctx, old)
	}
	return write(ctx, s, did, action)
}

func write(ctx context.Context, s *indigo.ClientSession, did syntax.DID, action string) error {
	verb, collection, _ := strings.Cut(action, ":")
	body := map[string]any{"repo": did.String(), "collection": collection}
	switch verb {
	case "create":
		body["record"] = map[string]any{"$type": collection, "text": "from Go"}
		return s.APIClient().Post(ctx, "com.atproto.repo.createRecord", body, nil)
	case "delete":
		body["rkey"] = "nothing"
		return s.APIClient().Post(ctx, "com.atproto.repo.deleteRecord", body, nil)
	}
	return fmt.Errorf("no action %q", action)
}
