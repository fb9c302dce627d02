package pds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/mail"
	"perch/pds/store"
)

// DevOptions are the settings of a development network.
type DevOptions struct {
	Dir     string // folder for everything it keeps
	Fresh   bool   // delete what an earlier run left there
	Port    int    // of the PDS
	PLCPort int    // of the PLC directory
	Out     io.Writer
	Logger  *slog.Logger
	// Configure, unless nil, may change the settings of the PDS before it starts.
	Configure func(*Config)
}

// devAccounts can sign in to every development network. The passwords are public: it listens on this machine only.
var devAccounts = []createAccountInput{
	{Handle: "alice.test", Email: "alice@example.com", Password: "alice-pass"},
	{Handle: "bob.test", Email: "bob@example.com", Password: "bob-pass"},
}

// devAdminPassword is the administrator's in a development network.
const devAdminPassword = "admin-pass"

// devMarker is the file by which --fresh knows that a folder is a development network's, before it deletes anything.
const devMarker = "perch-dev"

// RunDev runs a whole network until ctx ends: a PLC directory, the PDS, and accounts that can sign in. It needs no other machine and no
// configuration. The state stays in opt.Dir.
func RunDev(ctx context.Context, opt DevOptions) error {
	if err := prepareDevDir(opt); err != nil {
		return err
	}
	directory, err := plc.OpenDirectory(filepath.Join(opt.Dir, "plc.jsonl"), plc.DirectoryOptions{})
	if err != nil {
		return err
	}
	defer directory.Close()
	plcListener, err := listenLocal(opt.PLCPort)
	if err != nil {
		return err
	}
	plcServer := &http.Server{Handler: directory, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = plcServer.Serve(plcListener) }()
	defer plcServer.Close()

	listener, err := listenLocal(opt.Port)
	if err != nil {
		return err
	}
	s, err := New(ctx, devConfig(opt), opt.Logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if s.mailer == nil {
		s.mailer = &terminal{out: opt.Out}
		s.moderation = s.mailer
	}
	err = s.runDev(ctx, opt, listener)
	return errors.Join(err, s.Close())
}

func devConfig(opt DevOptions) *Config {
	cfg := DefaultConfig()
	cfg.DataDirectory = filepath.Join(opt.Dir, "pds")
	cfg.Port = opt.Port
	cfg.BindAddress = "127.0.0.1"
	cfg.DevMode = true
	cfg.InviteRequired = false
	cfg.DIDWebAccounts = didWebEveryone
	cfg.AdminPassword = devAdminPassword
	cfg.PLCURL = "http://localhost:" + strconv.Itoa(opt.PLCPort)
	cfg.DID = "did:web:localhost%3A" + strconv.Itoa(opt.Port)
	if opt.Configure != nil {
		opt.Configure(cfg)
	}
	return cfg
}

func (s *Server) runDev(ctx context.Context, opt DevOptions, ln net.Listener) error {
	served, stop := context.WithCancel(ctx)
	defer stop()
	serving := make(chan error, 1)
	go func() { serving <- s.Serve(served, ln) }()
	err := s.ensureAccounts(ctx)
	if err == nil {
		s.printDev(opt)
		return <-serving
	}
	stop()
	if ctx.Err() != nil {
		err = nil // it was told to stop before it had made them
	}
	return errors.Join(err, <-serving)
}

func (s *Server) ensureAccounts(ctx context.Context) error {
	for i := range devAccounts {
		if err := s.ensureAccount(ctx, &devAccounts[i]); err != nil {
			return fmt.Errorf("make account %s: %w", devAccounts[i].Handle, err)
		}
	}
	return nil
}

// ensureAccount makes an account unless there is one of that handle.
func (s *Server) ensureAccount(ctx context.Context, in *createAccountInput) error {
	_, err := s.store.AccountByHandle(ctx, syntax.Handle(in.Handle))
	if errors.Is(err, store.ErrNotFound) {
		_, err = s.createAccount(ctx, in)
	}
	return err
}

// terminal is the outbox of a development network without SMTP: it shows the mails.
type terminal struct {
	mu  sync.Mutex
	out io.Writer // guarded by mu
}

// Send prints a mail.
func (t *terminal) Send(_ context.Context, m mail.Message) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := fmt.Fprintf(t.out, "\n--- mail to %s: %s\n\n%s---\n", m.To, m.Subject, m.Text)
	return err
}

func (s *Server) printDev(opt DevOptions) {
	fmt.Fprintf(opt.Out, "\nA local AT Protocol network is running. Stop it with Ctrl-C.\n\n")
	fmt.Fprintf(opt.Out, "  PDS            %s\n", s.cfg.PublicURL())
	fmt.Fprintf(opt.Out, "  pages          http://localhost:%d/account\n", opt.Port)
	fmt.Fprintf(opt.Out, "  firehose       ws://localhost:%d/xrpc/com.atproto.sync.subscribeRepos\n", opt.Port)
	fmt.Fprintf(opt.Out, "  PLC directory  %s\n", s.cfg.PLCURL)
	fmt.Fprintf(opt.Out, "  data           %s   (begin anew with --fresh)\n\n", opt.Dir)
	fmt.Fprintf(opt.Out, "  in a browser   %s   (mails are shown here)\n", s.cfg.PublicURL())
	for _, a := range devAccounts {
		fmt.Fprintf(opt.Out, "  sign in as     %-12s password %s\n", a.Handle, a.Password)
	}
	fmt.Fprintf(opt.Out, "  admin methods  %-12s password %s\n\n", "admin", devAdminPassword)
	fmt.Fprintf(opt.Out, devHint, s.cfg.PublicURL())
}

// devHint signs alice in and posts, with nothing but a shell and curl.
const devHint = `Try it in another terminal:
  PDS=%s
  JSON='content-type: application/json'
  JWT=$(curl -s $PDS/xrpc/com.atproto.server.createSession -H "$JSON" \
    -d '{"identifier":"alice.test","password":"alice-pass"}' | sed 's/.*"accessJwt":"\([^"]*\)".*/\1/')
  curl -w '\n' $PDS/xrpc/com.atproto.repo.createRecord -H "$JSON" -H "authorization: Bearer $JWT" \
    -d '{"repo":"alice.test","collection":"app.bsky.feed.post",
         "record":{"text":"hello","createdAt":"'$(date -u +%%FT%%TZ)'"}}'
  curl -w '\n' "$PDS/xrpc/com.atproto.repo.listRecords?repo=alice.test&collection=app.bsky.feed.post"

`

// prepareDevDir makes the folder, after deleting an earlier network in it if that is wished. It deletes nothing that it did not make.
func prepareDevDir(opt DevOptions) error {
	marker := filepath.Join(opt.Dir, devMarker)
	if opt.Fresh {
		if err := clearDevDir(opt.Dir, marker); err != nil {
			return err
		}
	}
	err := os.MkdirAll(opt.Dir, 0o700)
	if err == nil {
		err = os.WriteFile(marker, []byte("This folder belongs to a development network of Perch. It can be deleted.\n"), 0o600)
	}
	if err != nil {
		return fmt.Errorf("%w; choose a folder that you can write to with --data", err)
	}
	return nil
}

func clearDevDir(dir, marker string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(marker); len(entries) > 0 && err != nil {
		return fmt.Errorf("%s is not empty and not the folder of a development network: --fresh will not delete it", dir)
	}
	if err := devDirInUse(dir); err != nil {
		return err
	}
	for _, name := range []string{"pds", "plc.jsonl"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// devDirInUse tells of a network that runs in dir: its files must not go away under it.
func devDirInUse(dir string) error {
	path := filepath.Join(dir, "pds", databaseFile)
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	st, err := store.Open(context.Background(), store.Options{Path: path})
	if errors.Is(err, store.ErrLocked) {
		return fmt.Errorf("a network is running in %s: stop it before --fresh deletes its files, or choose another folder with --data", dir)
	}
	if err != nil {
		return nil // damaged: one more reason to begin anew
	}
	return st.Close()
}

// listenLocal listens on this machine only.
func listenLocal(port int) (net.Listener, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("%w; another network may be running: stop it, or choose others with --port, --plc-port and --data", err)
	}
	return ln, nil
}
