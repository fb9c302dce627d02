package pds

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/identity/plc"
	"perch/lexicons"
	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/blob"
	"perch/pds/firehose"
	"perch/pds/mail"
	"perch/pds/meter"
	"perch/pds/migrate"
	"perch/pds/oauth"
	"perch/pds/oauth/dpop"
	"perch/pds/oauthclient"
	"perch/pds/proxy"
	"perch/pds/relay"
	"perch/pds/seal"
	"perch/pds/store"
	"perch/pds/web"
	"perch/xrpc"
)

// Version is what the program calls itself; the build sets it.
var Version = "dev"

// Server is one running PDS. Make it with New, then call Run.
type Server struct {
	cfg        *Config
	log        *slog.Logger
	serviceDID syntax.DID
	clockID    uint // of this process, in revs and record keys
	tids       *syntax.TIDClock

	box        *seal.Box // for what waits in the database
	letters    mail.Letters
	mailer     outbox // nil without SMTP
	moderation outbox // of moderators' mail; nil without SMTP
	lanes      []lane

	store       *store.Store
	blobs       *blob.Store
	accounts    *account.Service
	auth        *auth.Verifier
	oauth       *oauth.Service
	proofs      *dpop.Verifier // of apps
	identity    *identity.Resolver
	strangers   *http.Client // for small answers from hosts that strangers name
	plc         *plc.Client
	makingDIDs  sync.Map // of DIDs whose accounts are just being made; see makeAccount
	rotationKey atcrypto.PrivateKey
	lexicons    *lexicons.Catalog
	spellings   map[string]string // methods of the catalog by their name in lower case
	firehose    *firehose.Firehose
	proxy       *proxy.Proxy
	relay       *relay.Notifier
	exports     *exports
	imports     *imports
	rescuing    atomic.Bool // an account is made of an archive
	moderating  sync.Mutex  // held while an account is shut or opened from the pages
	migrations  *migrate.Manager
	oauthClient *oauthclient.Client // what this server is to others
	web         *web.Site
	watcher     *plcWatcher
	meter       meter.Meter
	faces       *faces
	mux         *xrpc.Mux
}

// New opens the data directory of cfg and builds the server on it. It makes what is missing: folders, database, master key, secrets. The
// error says what the operator can do. Run or Close must follow.
func New(ctx context.Context, cfg *Config, log *slog.Logger) (*Server, error) {
	s := &Server{
		cfg:        cfg,
		log:        log,
		serviceDID: cfg.ServiceDID(),
		clockID:    uint(rand.N(1 << 10)),
		lexicons:   lexicons.Default(),
		exports:    newExports(),
		watcher:    newPLCWatcher(),
		faces:      newFaces(),
	}
	s.lanes = s.newLanes()
	s.spellings = spellingsOf(s.lexicons)
	s.tids = syntax.NewTIDClock(s.clockID)
	box, err := s.openData(ctx)
	if err == nil {
		err = s.build(ctx, box)
	}
	if err != nil {
		return nil, errors.Join(writableHint(cfg, err), s.Close())
	}
	return s, nil
}

// openData opens the data folder: master key, database, blobs.
func (s *Server) openData(ctx context.Context) (*seal.Box, error) {
	if err := makeDataFolder(s.cfg); err != nil {
		return nil, err
	}
	box, err := OpenSeal(s.cfg)
	if err != nil {
		return nil, err
	}
	s.store, err = store.Open(ctx, store.Options{Path: s.cfg.DatabasePath(), TreeCacheBytes: s.cfg.TreeCacheBytes, Logger: s.log})
	if err != nil {
		return nil, err
	}
	if s.imports, err = newImports(s.cfg.DataDirectory, func() error { return s.blobs.CheckSpace() }); err != nil {
		return nil, err
	}
	s.blobs, err = blob.Open(s.cfg.BlobDirectory())
	return box, err
}

// writableHint adds to an error about permissions what the operator can do.
func writableHint(cfg *Config, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w; the user that runs Perch must own %s and all that is in it", err, cfg.DataDirectory)
}

// build makes the parts that stand on the database, from the bottom up.
func (s *Server) build(ctx context.Context, box *seal.Box) (err error) {
	secrets, err := LoadSecrets(ctx, s.cfg, box, s.store)
	if err != nil {
		return err
	}
	for _, warning := range append(s.cfg.Warnings, secrets.Warnings...) {
		s.log.WarnContext(ctx, warning)
	}
	s.rotationKey = secrets.PLCRotationKey
	if err := s.buildMail(box); err != nil {
		return err
	}
	s.buildIdentity()
	s.accounts = account.New(s.accountOptions(box))
	s.buildOAuth(box, secrets)
	if s.auth, err = auth.New(s.authOptions(secrets)); err != nil {
		return err
	}
	s.proxy = proxy.New(s.proxyOptions())
	if s.relay, err = relay.New(relay.Options{Hostname: s.crawlName(), Crawlers: s.cfg.Crawlers, Logger: s.log}); err != nil {
		return err
	}
	s.meter.Start(time.Now())
	s.store.OnEvents(s.countWrites)
	s.firehose = firehose.New(firehose.Options{
		Store:          s.store,
		Logger:         s.log,
		Window:         s.cfg.BackfillWindow,
		RingBytes:      s.cfg.FirehoseBufferBytes,
		MaxSubscribers: s.cfg.FirehoseMaxSubscribers,
		MaxPerIP:       s.cfg.FirehoseMaxPerIP,
		ClientIP:       clientIP,
	})
	if err := s.buildMigrations(); err != nil {
		return err
	}
	if err := s.buildWeb(); err != nil {
		return err
	}
	s.mux = xrpc.New(s.muxOptions())
	s.routes()
	return nil
}

func (s *Server) buildIdentity() {
	s.strangers = identity.NewClient(identity.ClientOptions{
		AllowPrivate: s.cfg.AllowPrivate(),
		Timeout:      s.cfg.ResolverTimeout,
		MaxBody:      s.cfg.FetchMaxResponseSize,
	})
	s.identity = identity.New(identity.Options{
		PLCURL:            s.cfg.PLCURL,
		Client:            s.strangers,
		BackupNameservers: s.cfg.HandleBackupNameservers,
		Timeout:           s.cfg.ResolverTimeout,
		CacheStale:        s.cfg.DIDCacheStaleTTL,
		CacheMax:          s.cfg.DIDCacheMaxTTL,
		AllowPrivate:      s.cfg.AllowPrivate(),
		Local: func(ctx context.Context, handle syntax.Handle) (syntax.DID, bool) {
			did, err := s.accountOfHandle(ctx, handle)
			return did, err == nil
		},
		LocalDocument: s.ownDocument,
		Changed:       s.watcher.lookSoon,
	})
	// The operator chose the directory, so it may be on a private address.
	s.plc = plc.NewClient(s.cfg.PLCURL, identity.NewClient(identity.ClientOptions{AllowPrivate: true}))
}

func (s *Server) accountOptions(box *seal.Box) account.Options {
	return account.Options{
		Store:          s.store,
		Seal:           box,
		Hostname:       s.cfg.Hostname,
		Origin:         s.cfg.PublicURL(),
		ServiceDomains: s.cfg.HandleDomains(),
		AllowTest:      s.cfg.DevMode,
		ResolveHandle:  s.identity.RefreshHandle, // whoever asks has just set it up
		InviteRequired: s.cfg.InviteRequired,
		InviteInterval: s.cfg.InviteInterval,
		InviteEpoch:    time.UnixMilli(s.cfg.InviteEpoch),
		Guess:          s.countGuess,
		RoleEnded:      s.roleEnded,
		Changed:        s.accountChanged,
	}
}

func (s *Server) authOptions(secrets *Secrets) auth.Options {
	return auth.Options{
		Accounts:      auth.NewAccounts(s.store, s.accounts),
		ServiceDID:    s.serviceDID,
		JWTSecret:     secrets.JWTSecret,
		AdminPassword: secrets.AdminPassword,
		ModServiceDID: syntax.DID(s.cfg.ModServiceDID),
		IssuerKey:     s.issuerKey,
		OAuth:         s.oauth,
		DPoP:          s.proofs,
		PublicURL:     s.cfg.PublicURL(),
		ClientIP:      clientIP,
		LetIn:         func(ctx context.Context, p auth.Principal) { xrpc.SetDID(ctx, p.DID.String()) },
	}
}

// issuerKey finds the key of somebody who signs service tokens.
func (s *Server) issuerKey(ctx context.Context, did syntax.DID, id string, fresh bool) (atcrypto.PublicKey, error) {
	resolve := s.identity.ResolveDID
	if fresh {
		resolve = s.freshDocument
	}
	doc, err := resolve(ctx, did)
	if err != nil {
		return nil, err
	}
	return doc.Key(id)
}

// documentAge is the age up to which a document counts as fresh, so that forged signatures do not cost a look-up each.
const documentAge = 30 * time.Second

func (s *Server) freshDocument(ctx context.Context, did syntax.DID) (*identity.Document, error) {
	return s.identity.RefreshOlder(ctx, did, documentAge)
}

func clientIP(r *http.Request) string { return xrpc.ClientIP(r.Context()).String() }

func (s *Server) proxyOptions() proxy.Options {
	report, reportDID := s.cfg.ReportService()
	return proxy.Options{
		Resolver:      s.identity,
		Sign:          s.signForProxy,
		AppView:       target(s.cfg.AppViewURL, s.cfg.AppViewDID, serviceAppView),
		Moderation:    target(s.cfg.ModServiceURL, s.cfg.ModServiceDID, "atproto_labeler"),
		Report:        target(report, reportDID, "atproto_labeler"),
		AllowPrivate:  s.cfg.AllowPrivate(),
		HTTP2:         s.cfg.ProxyAllowHTTP2,
		HeaderTimeout: s.cfg.ProxyHeadersTimeout,
		BodyTimeout:   s.cfg.ProxyBodyTimeout,
		MaxResponse:   s.cfg.ProxyMaxResponseSize,
	}
}

func target(url, did, service string) *proxy.Target {
	if url == "" {
		return nil
	}
	return &proxy.Target{DID: syntax.DID(did), Service: service, URL: url}
}

// crawlName is how relays shall call this server: with its port only on localhost, where a relay for tests may look.
func (s *Server) crawlName() string {
	if s.cfg.Hostname == "localhost" {
		return fmt.Sprintf("localhost:%d", s.cfg.Port)
	}
	return s.cfg.Hostname
}

// Handler returns the whole server as an http.Handler.
func (s *Server) Handler() http.Handler { return s.proofs.Tell(s.mux.Handler()) }

// Run listens and serves until ctx ends, then lets the requests under way finish, and closes the server.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()
	ln, err := net.Listen("tcp", s.cfg.Addr())
	if err != nil {
		return fmt.Errorf("%w; set PDS_PORT and PDS_BIND_ADDRESS to a port that is free and an address of this machine", err)
	}
	return s.Serve(ctx, ln)
}

// Serve is Run on a listener of the caller's, without Close.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, failed := context.WithCancel(ctx) // a listener that fails ends all the rest, too
	defer failed()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { s.work(background) })
	wg.Go(func() { s.relay.Run(background) })
	wg.Go(func() {
		<-ctx.Done()
		s.log.Info("stopping: requests under way may finish", "within", s.cfg.ShutdownTimeout)
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownTimeout)
		defer cancel()
		if err := s.firehose.Shutdown(drain); err != nil {
			s.log.Warn("end firehose connections", "err", err)
		}
	})
	s.log.Info("serving", "url", s.cfg.PublicURL(), "listen", ln.Addr().String(), "did", s.serviceDID, "version", s.version())
	err := xrpc.Serve(ctx, xrpc.NewServer(s.Handler(), s.log), ln, s.cfg.ShutdownTimeout)
	if errors.Is(err, xrpc.ErrCutOff) {
		s.log.Warn("stopping", "err", err) // somebody reads too slowly; nothing is lost
		err = nil
	}
	failed()
	stop()
	wg.Wait() // nobody works on the database when it is closed
	return err
}

// Close ends the firehose and closes the database and the blob folder.
func (s *Server) Close() error {
	var errs []error
	if s.firehose != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		errs = append(errs, s.firehose.Shutdown(ctx))
	}
	if s.blobs != nil {
		errs = append(errs, s.blobs.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

func (s *Server) version() string {
	if s.cfg.Version != "" {
		return s.cfg.Version
	}
	return Version
}
