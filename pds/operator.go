package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/store"
	"perch/xrpc"
)

// Paths of what the command line asks the running server, with the admin password. They are not part of the protocol.
const (
	CodePath = "/perch/code"
	MailPath = "/perch/mail"
)

const (
	maxOperatorInput = 64 << 10 // bytes
	maxMailsListed   = 500
)

// CodeRequest asks for a code as it would go to an account's e-mail address.
type CodeRequest struct {
	Account string `json:"account"` // handle, DID or e-mail address
	Purpose string `json:"purpose"` // see ParsePurpose
}

// CodeAnswer is the code. The one that the account had for the purpose is good no more.
type CodeAnswer struct {
	DID       syntax.DID    `json:"did"`
	Handle    syntax.Handle `json:"handle"`
	Code      string        `json:"code"`
	ExpiresAt time.Time     `json:"expiresAt"`
}

// UnsentMail is a mail that was not sent, yet or at all.
type UnsentMail struct {
	DID       syntax.DID    `json:"did,omitempty"`
	Handle    syntax.Handle `json:"handle,omitempty"`
	To        string        `json:"to"`
	Subject   string        `json:"subject"`
	CreatedAt time.Time     `json:"createdAt"`
	Attempts  int           `json:"attempts"`
	GivenUp   bool          `json:"givenUp"`
	Error     string        `json:"error,omitempty"` // of the last attempt

	id      int64
	triedAt time.Time
	sentAt  time.Time
}

// PurposeNames are what codes can be for, as people write them: "reset-password".
func PurposeNames() []string {
	var names []string
	for _, p := range account.Purposes() {
		names = append(names, strings.ReplaceAll(string(p), "_", "-"))
	}
	return names
}

// ParsePurpose reads what a code is for, with dashes or underscores. The error lists what there is.
func ParsePurpose(s string) (account.Purpose, error) {
	name := strings.ReplaceAll(strings.ToLower(s), "_", "-")
	if !slices.Contains(PurposeNames(), name) {
		return "", fmt.Errorf("no code is for %q; write %s", s, strings.Join(PurposeNames(), ", "))
	}
	return account.Purpose(strings.ReplaceAll(name, "-", "_")), nil
}

func (s *Server) operatorPages() {
	s.mux.PageFunc(http.MethodPost, CodePath, operatorPage(s, s.operatorCode), xrpc.WithGlobalLimit())
	s.mux.PageFunc(http.MethodPost, FactorPath, operatorPage(s, s.operatorFactor), xrpc.WithGlobalLimit())
	s.mux.PageFunc(http.MethodPost, MigratePath, operatorPage(s, s.operatorMigrate), xrpc.WithGlobalLimit())
	s.mux.PageFunc(http.MethodPost, RescueUploadPath, s.operatorRescueUpload, xrpc.WithGlobalLimit())
	s.mux.PageFunc(http.MethodPost, RescuePath, s.operatorRescue, xrpc.WithGlobalLimit())
	s.mux.PageFunc(http.MethodPost, RescueDIDPath, operatorPage(s, s.operatorRescueDID), xrpc.WithGlobalLimit())
	s.mux.PageFunc(http.MethodPost, RotationKeyPath, operatorPage(s, s.operatorRotationKey), xrpc.WithGlobalLimit())
	s.mux.PageFunc(http.MethodPost, AlertsPath, operatorPage(s, s.operatorAlerts), xrpc.WithGlobalLimit())
	s.mux.PageFunc(http.MethodPost, UndoPath, operatorPage(s, s.operatorUndo), xrpc.WithGlobalLimit())
	s.mux.PageFunc(http.MethodPost, DIDWebPath, operatorPage(s, s.operatorDIDWeb), xrpc.WithGlobalLimit())
	s.mux.PageFunc(http.MethodGet, ExportPath, s.operatorExport, xrpc.WithGlobalLimit())
	s.mux.PageFunc(http.MethodPost, RolePath, operatorPage(s, s.operatorRole), xrpc.WithGlobalLimit())
	s.mux.PageFunc(http.MethodPost, AuditPath, operatorPage(s, s.operatorAudit), xrpc.WithGlobalLimit())
	s.mux.PageFunc(http.MethodGet, MailPath, operatorPage(s, s.operatorMail), xrpc.WithGlobalLimit())
}

// operatorPage takes JSON from, and answers JSON to, somebody who shows the admin password.
func operatorPage[I, O any](s *Server, h func(context.Context, *I) (O, error)) http.HandlerFunc {
	admin := s.auth.Admin()
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, err := admin(r.Context(), r)
		if err != nil {
			s.mux.WriteError(r, err)
			return
		}
		in := new(I)
		if r.Method == http.MethodPost {
			if err := operatorInput(w, r, in); err != nil {
				s.mux.WriteError(r, err)
				return
			}
		}
		var out O
		do := func(ctx context.Context) (err error) {
			out, err = h(ctx, in)
			return err
		}
		if d, ok := any(in).(doer); ok {
			err = s.audit(ctx, d.deed(), do)
		} else {
			err = do(ctx)
		}
		if err != nil {
			s.mux.WriteError(r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(out)
	}
}

// operatorInput reads what an operator page is sent. The type keeps out forms of other sites in a browser that knows the password.
func operatorInput(w http.ResponseWriter, r *http.Request, in any) error {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind != "application/json" {
		return xrpc.InvalidRequest("Content-Type must be application/json")
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOperatorInput)).Decode(in); err != nil {
		return xrpc.InvalidRequest("The body is not the JSON that is expected")
	}
	return nil
}

func (s *Server) operatorCode(ctx context.Context, in *CodeRequest) (*CodeAnswer, error) {
	purpose, err := ParsePurpose(in.Purpose)
	if err != nil {
		return nil, xrpc.InvalidRequest("%v", err)
	}
	out, err := newCode(ctx, s.accounts, in.Account, purpose)
	if errors.Is(err, store.ErrNotFound) {
		return nil, noAccount(in.Account, err)
	}
	if err == nil {
		s.log.InfoContext(ctx, "code made for the operator", "did", out.DID, "purpose", purpose)
	}
	return out, err
}

func newCode(ctx context.Context, accounts *account.Service, name string, purpose account.Purpose) (*CodeAnswer, error) {
	acct, err := accounts.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	code, err := accounts.NewCode(ctx, acct.ID, purpose, nil)
	if err != nil {
		return nil, err
	}
	return &CodeAnswer{DID: acct.DID, Handle: acct.Handle, Code: code.Text, ExpiresAt: code.ExpiresAt}, nil
}

// MakeCode makes a code on a server that does not run. Errors: store.ErrLocked when it does, store.ErrNotFound when there is no such account.
func MakeCode(ctx context.Context, cfg *Config, name string, purpose account.Purpose) (*CodeAnswer, error) {
	box, err := openSealMade(cfg)
	if err != nil {
		return nil, err
	}
	st, err := openStopped(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	accounts := account.New(account.Options{Store: st, Seal: box})
	ctx = auditStopped(ctx, accounts, (&CodeRequest{Account: name, Purpose: string(purpose)}).deed())
	out, err := newCode(ctx, accounts, name, purpose)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("there is no account %s: %w", name, err)
	}
	return out, err
}

// openStopped opens the database of a server that does not run. It makes nothing.
func openStopped(ctx context.Context, cfg *Config) (*store.Store, error) {
	if _, err := os.Stat(cfg.DatabasePath()); err != nil {
		return nil, fmt.Errorf("there is no database, or PDS_DATA_DIRECTORY names another folder: %w", err)
	}
	st, err := store.Open(ctx, store.Options{Path: cfg.DatabasePath()})
	return st, writableHint(cfg, err)
}

func (s *Server) operatorMail(ctx context.Context, _ *struct{}) ([]UnsentMail, error) {
	return unsentMails(ctx, s.store)
}

// UnsentMails lists the mails that a server which does not run has not sent, the newest first. The error is store.ErrLocked when it runs.
func UnsentMails(ctx context.Context, cfg *Config) ([]UnsentMail, error) {
	st, err := openStopped(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	return unsentMails(ctx, st)
}

func unsentMails(ctx context.Context, st *store.Store) ([]UnsentMail, error) {
	mails, err := st.Mails(ctx, maxMailsListed)
	return listedMails(ctx, st, mails), err
}

// listedMails adds to mails whose they are.
func listedMails(ctx context.Context, st *store.Store, mails []store.Mail) []UnsentMail {
	out := make([]UnsentMail, len(mails))
	for i, m := range mails {
		out[i] = UnsentMail{
			To: m.To, Subject: m.Subject, CreatedAt: m.CreatedAt, Attempts: m.Attempts, GivenUp: m.GivenUp(), Error: m.Error,
			id: m.ID, triedAt: m.TriedAt, sentAt: m.SentAt,
		}
		if acct, err := st.AccountByID(ctx, m.Account); err == nil {
			out[i].DID, out[i].Handle = acct.DID, acct.Handle
		}
	}
	return out
}
