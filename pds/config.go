package pds

import (
	_ "embed"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// configSource is this file: the comments of Config's fields are the manual that `perch config` prints.
//
//go:embed config.go
var configSource []byte

// Config holds every setting of a server. The comment of each field is its manual; the tag names its environment variable and
// its default. Names and meanings are those of the reference PDS wherever it has the setting.
//
// Make one with LoadConfig, or with DefaultConfig and then set fields.
type Config struct {
	// The public host name of this server, without scheme and port. It is part of the server's own DID and of the DID document
	// of every account, so it can hardly be changed later. "localhost" is for development.
	Hostname string `env:"PDS_HOSTNAME" envDefault:"localhost" group:"Server"`
	// The TCP port to listen on. TLS is the business of a proxy in front.
	Port int `env:"PDS_PORT" envDefault:"2583"`
	// The IP address to listen on, such as 127.0.0.1. Empty means all interfaces.
	BindAddress string `env:"PDS_BIND_ADDRESS"`
	// The server's DID, the audience of tokens made for it. Empty means did:web with the host name.
	DID string `env:"PDS_SERVICE_DID"`
	// What _health and the home page call the version. Empty means Perch's own.
	Version string `env:"PDS_VERSION"`
	// For development only: permits handles under .test, plain http and private addresses for everything the server fetches.
	DevMode bool `env:"PDS_DEV_MODE" envDefault:"false"`
	// Addresses and networks (10.0.0.0/8) of proxies whose X-Forwarded-For header is believed, separated by commas.
	TrustedProxies []netip.Prefix `env:"PDS_TRUSTED_PROXIES"`
	// Whether proxies on loopback, link-local and private addresses are believed without being listed.
	TrustPrivateProxies bool `env:"PDS_TRUST_PRIVATE_PROXIES" envDefault:"true"`
	// How long requests under way may take to end when the server is told to stop, in milliseconds or as 15s.
	ShutdownTimeout time.Duration `env:"PDS_SHUTDOWN_TIMEOUT" envDefault:"15s"`

	// The server's name on its pages and in its mails. Empty means the host name and "PDS".
	ServiceName string `env:"PDS_SERVICE_NAME" group:"About"`
	// An address to write to, shown by describeServer, on the pages and in mails.
	ContactEmailAddress string `env:"PDS_CONTACT_EMAIL_ADDRESS"`
	// A link to the privacy policy, shown by describeServer and on the pages.
	PrivacyPolicyURL string `env:"PDS_PRIVACY_POLICY_URL"`
	// A link to the terms of service, shown by describeServer and on the pages.
	TermsOfServiceURL string `env:"PDS_TERMS_OF_SERVICE_URL"`
	// A link to the website of those who run the server, shown on its pages.
	HomeURL string `env:"PDS_HOME_URL"`
	// Whether the home page lists the accounts of this server, the newest first. People who ask apps not to show them to visitors who are not
	// signed in are left out.
	PublicAccounts bool `env:"PDS_PUBLIC_ACCOUNTS" envDefault:"false"`
	// Where that list leads to: the web address of a profile, with {did} or {handle} in it.
	ProfileURL string `env:"PDS_PROFILE_URL" envDefault:"https://bsky.app/profile/{did}"`
	// A link to where people find help, shown on the pages.
	SupportURL string `env:"PDS_SUPPORT_URL"`
	// The web address of a picture that stands beside the name on the pages. Empty means Perch's.
	LogoURL string `env:"PDS_LOGO_URL"`
	// The web address of a picture behind the pages when they are light.
	BackgroundLightURL string `env:"PDS_BACKGROUND_LIGHT_URL"`
	// The same when they are dark.
	BackgroundDarkURL string `env:"PDS_BACKGROUND_DARK_URL"`
	// The colour of buttons and links on the pages, such as #1f6b57. Where text in a colour could not be read, it is made darker or lighter.
	PrimaryColor string `env:"PDS_PRIMARY_COLOR"`
	// The colour of errors on the pages.
	ErrorColor string `env:"PDS_ERROR_COLOR"`
	// The colour of warnings on the pages.
	WarningColor string `env:"PDS_WARNING_COLOR"`
	// The colour of hints on the pages.
	InfoColor string `env:"PDS_INFO_COLOR"`
	// The colour of good news on the pages.
	SuccessColor string `env:"PDS_SUCCESS_COLOR"`

	// The folder for everything the server keeps: perch.db, master.key and, unless told otherwise, the blobs.
	DataDirectory string `env:"PDS_DATA_DIRECTORY" envDefault:"." group:"Data"`
	// The folder for blobs. Empty means "blobs" in the data folder.
	BlobstoreDiskLocation string `env:"PDS_BLOBSTORE_DISK_LOCATION"`
	// The largest blob that may be uploaded, in bytes.
	BlobUploadLimit int64 `env:"PDS_BLOB_UPLOAD_LIMIT" envDefault:"104857600"`
	// Whether people may import a repository into their account, which is how accounts move here.
	AcceptingRepoImports bool `env:"PDS_ACCEPTING_REPO_IMPORTS" envDefault:"true"`
	// The largest repository that may be imported, in bytes, without its blobs.
	MaxRepoImportSize int64 `env:"PDS_MAX_REPO_IMPORT_SIZE" envDefault:"1073741824"`
	// Memory for the repository trees of accounts that are writing, in bytes.
	TreeCacheBytes int64 `env:"PDS_TREE_CACHE_BYTES" envDefault:"16777216"`

	// The key under which the other keys in the database are sealed: 64 hexadecimal digits. Empty means the key file.
	MasterKeyHex string `env:"PDS_MASTER_KEY_HEX" secret:"true" group:"Secrets"`
	// The master key file. Empty means master.key in the data folder; it is made, with mode 0600, when it is missing. Keep a copy
	// of it apart from the copies of the database: neither is of use without the other.
	MasterKeyFile string `env:"PDS_MASTER_KEY_FILE"`
	// Signs the session tokens. Empty means one made from the master key; a new one ends all sessions.
	JWTSecret string `env:"PDS_JWT_SECRET" secret:"made"`
	// The password for administration, with the user name "admin". Empty means one made from the master key; see `perch secret`.
	AdminPassword string `env:"PDS_ADMIN_PASSWORD" secret:"made"`
	// The secp256k1 key that signs the PLC operations of new accounts, as 64 hexadecimal digits. Empty means one that is made at
	// the first start and kept sealed in the database.
	PLCRotationKeyHex string `env:"PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX" secret:"made"`
	// The secret behind DPoP nonces, as 64 hexadecimal digits. Empty means one made from the master key.
	DPoPSecretHex string `env:"PDS_DPOP_SECRET" secret:"made"`

	// The domains under which people may have handles, each with a dot before it (.example.com), separated by commas. Empty means
	// the host name, or .test on localhost.
	ServiceHandleDomains []string `env:"PDS_SERVICE_HANDLE_DOMAINS" group:"Accounts"`
	// Whether an invite code is needed to sign up.
	InviteRequired bool `env:"PDS_INVITE_REQUIRED" envDefault:"true"`
	// How long it takes an account to earn an invite code, in milliseconds. Zero means that none are earned.
	InviteInterval time.Duration `env:"PDS_INVITE_INTERVAL" envDefault:"0"`
	// The time from which invite codes are earned, in milliseconds since 1970.
	InviteEpoch int64 `env:"PDS_INVITE_EPOCH" envDefault:"0"`
	// Whether sessions carry the account's DID document.
	EnableDIDDocWithSession bool `env:"PDS_ENABLE_DID_DOC_WITH_SESSION" envDefault:"false"`
	// A did:key of the operator that becomes a rotation key of every new account. Keep its private part offline.
	RecoveryDIDKey string `env:"PDS_RECOVERY_DID_KEY"`

	// The SMTP server that takes the server's mail: smtp://user:password@host:587 or smtps://user:password@host:465, with special characters
	// of user and password percent-encoded (%40 for @, %23 for #, %2F for /, %25 for %). Empty means that no mail is sent: `perch mail` shows
	// what would have been, and `perch account code` prints the codes that people need.
	EmailSMTPURL string `env:"PDS_EMAIL_SMTP_URL" secret:"true" group:"Mail"`
	// The sender of mail, such as pds@example.com or Example PDS <pds@example.com>.
	EmailFromAddress string `env:"PDS_EMAIL_FROM_ADDRESS"`
	// The SMTP server for mail from moderators. Empty means PDS_EMAIL_SMTP_URL.
	ModerationEmailSMTPURL string `env:"PDS_MODERATION_EMAIL_SMTP_URL" secret:"true"`
	// The sender of mail from moderators. Empty means PDS_EMAIL_FROM_ADDRESS.
	ModerationEmailAddress string `env:"PDS_MODERATION_EMAIL_ADDRESS"`

	// The directory in which the DIDs of new accounts are registered and did:plc DIDs are looked up.
	PLCURL string `env:"PDS_DID_PLC_URL" envDefault:"https://plc.directory" group:"Identity"`
	// How often the PLC directory is asked about the DID of each account, to warn of changes that this server did not make: milliseconds,
	// or as 12h. They can be undone for 72 hours. Zero turns it off.
	PLCWatchInterval time.Duration `env:"PDS_PLC_WATCH_INTERVAL" envDefault:"12h"`
	// Who may make accounts whose DID is a did:web of their handle under this server's domain: off (nobody), operator (with
	// perch account create --did-web), or everyone. Such an account needs this server's domain for ever, even after a move.
	DIDWebAccounts string `env:"PDS_DID_WEB_ACCOUNTS" envDefault:"off"`
	// The age, in milliseconds, from which a known DID document or handle is looked up anew in the background.
	DIDCacheStaleTTL time.Duration `env:"PDS_DID_CACHE_STALE_TTL" envDefault:"1h"`
	// The age, in milliseconds, from which it is not used any more.
	DIDCacheMaxTTL time.Duration `env:"PDS_DID_CACHE_MAX_TTL" envDefault:"24h"`
	// How long one lookup of a DID or a handle may take, in milliseconds.
	ResolverTimeout time.Duration `env:"PDS_ID_RESOLVER_TIMEOUT" envDefault:"3s"`
	// DNS servers to ask for handles when the system's know nothing, separated by commas.
	HandleBackupNameservers []string `env:"PDS_HANDLE_BACKUP_NAMESERVERS"`
	// Lets the server fetch from private addresses and over plain http. When it is not given, PDS_DEV_MODE decides.
	DisableSSRFProtection *bool `env:"PDS_DISABLE_SSRF_PROTECTION"`
	// The largest answer taken from hosts that others name (DID documents, handles), in bytes.
	FetchMaxResponseSize int64 `env:"PDS_FETCH_MAX_RESPONSE_SIZE" envDefault:"524288"`

	// How long events are kept for relays that were away, in milliseconds or as 72h.
	BackfillWindow time.Duration `env:"PDS_REPO_BACKFILL_LIMIT_MS" envDefault:"72h" group:"Firehose and relays"`
	// How many subscribers the firehose serves at a time.
	FirehoseMaxSubscribers int `env:"PDS_FIREHOSE_MAX_SUBSCRIBERS" envDefault:"1000"`
	// How many of them may come from one address.
	FirehoseMaxPerIP int `env:"PDS_FIREHOSE_MAX_PER_IP" envDefault:"100"`
	// Memory for the newest events, shared by all subscribers, in bytes.
	FirehoseBufferBytes int `env:"PDS_FIREHOSE_BUFFER_BYTES" envDefault:"8388608"`
	// The relays that are asked to follow this server, separated by commas, such as https://bsky.network.
	Crawlers []string `env:"PDS_CRAWLERS"`

	// Where requests go that this server does not answer itself: the AppView, such as https://api.bsky.app.
	AppViewURL string `env:"PDS_BSKY_APP_VIEW_URL" group:"Services"`
	// The DID of the AppView, such as did:web:api.bsky.app.
	AppViewDID string `env:"PDS_BSKY_APP_VIEW_DID"`
	// Where the AppView shows pictures: a web address with three times %s, for the kind of picture, the account's DID and the blob's CID.
	// Empty shows pictures of posts that the AppView has not seen yet from this server.
	AppViewCDNPattern string `env:"PDS_BSKY_APP_VIEW_CDN_URL_PATTERN"`
	// The moderation service, for tools.ozone methods.
	ModServiceURL string `env:"PDS_MOD_SERVICE_URL"`
	// The DID of the moderation service.
	ModServiceDID string `env:"PDS_MOD_SERVICE_DID"`
	// Where reports go. Empty means the moderation service.
	ReportServiceURL string `env:"PDS_REPORT_SERVICE_URL"`
	// The DID of the service for reports.
	ReportServiceDID string `env:"PDS_REPORT_SERVICE_DID"`
	// Whether requests to services may use HTTP/2.
	ProxyAllowHTTP2 bool `env:"PDS_PROXY_ALLOW_HTTP2" envDefault:"false"`
	// How long a service may take to begin its answer, in milliseconds.
	ProxyHeadersTimeout time.Duration `env:"PDS_PROXY_HEADERS_TIMEOUT" envDefault:"10s"`
	// How long a service's answer may stand still, in milliseconds.
	ProxyBodyTimeout time.Duration `env:"PDS_PROXY_BODY_TIMEOUT" envDefault:"30s"`
	// The largest answer that is passed on, in bytes.
	ProxyMaxResponseSize int64 `env:"PDS_PROXY_MAX_RESPONSE_SIZE" envDefault:"10485760"`

	// The client_ids of apps that may sign in without a question and show their name and picture, separated by commas.
	OAuthTrustedClients []string `env:"PDS_OAUTH_TRUSTED_CLIENTS" group:"OAuth"`
	// For development: the DID that all lexicons of permission sets are looked for at, in place of the one that DNS names.
	LexiconAuthorityDID string `env:"PDS_LEXICON_AUTHORITY_DID"`

	// Whether requests are limited per address and account. The reference leaves this off unless told; relays punish the whole
	// host for one account that floods, so Perch does not.
	RateLimitsEnabled bool `env:"PDS_RATE_LIMITS_ENABLED" envDefault:"true" group:"Rate limits"`
	// Requests whose x-ratelimit-bypass header holds this secret are not limited.
	RateLimitBypassKey string `env:"PDS_RATE_LIMIT_BYPASS_KEY" secret:"true"`
	// Addresses and networks that are not limited, separated by commas.
	RateLimitBypassIPs []netip.Prefix `env:"PDS_RATE_LIMIT_BYPASS_IPS"`

	// The least important messages that are logged: debug, info, warn or error.
	LogLevel string `env:"PDS_LOG_LEVEL" envDefault:"info" group:"Log"`
	// The form of the log: text or json.
	LogFormat string `env:"PDS_LOG_FORMAT" envDefault:"text"`

	// Warnings are lines for the operator: settings without effect, unknown names, and what would make the server lonely.
	Warnings []string `env:"-"`
	// EnvFile is the file that settings were read from, "" when there was none.
	EnvFile string `env:"-"`

	origins map[string]string // by variable: where the value came from; a default when absent
}

// Files in the data folder.
const (
	databaseFile  = "perch.db"
	masterKeyFile = "master.key"
	blobFolder    = "blobs"
)

// PublicURL is the origin under which clients and other servers find this one.
func (c *Config) PublicURL() string {
	if c.Hostname == "localhost" {
		return "http://localhost:" + strconv.Itoa(c.Port)
	}
	return "https://" + c.Hostname
}

// Addr is the address to listen on, for net.Listen.
func (c *Config) Addr() string { return net.JoinHostPort(c.BindAddress, strconv.Itoa(c.Port)) }

// ServiceDID is the DID of the server itself.
func (c *Config) ServiceDID() syntax.DID {
	if c.DID != "" {
		return syntax.DID(c.DID)
	}
	return syntax.DID("did:web:" + c.Hostname)
}

// DisplayName is what the server is called on its pages.
func (c *Config) DisplayName() string {
	if c.ServiceName != "" {
		return c.ServiceName
	}
	return c.Hostname + " PDS"
}

// HandleDomains are the domains of the handles this server gives out, each with a dot before it.
func (c *Config) HandleDomains() []string {
	switch {
	case len(c.ServiceHandleDomains) > 0:
		return c.ServiceHandleDomains
	case c.Hostname == "localhost":
		return []string{".test"}
	}
	return []string{"." + c.Hostname}
}

// IsServiceHandle tells whether handle is under one of the domains of this server.
func (c *Config) IsServiceHandle(handle syntax.Handle) bool {
	h := handle.Normalize().String()
	for _, domain := range c.HandleDomains() {
		if strings.HasSuffix(h, domain) && len(h) > len(domain) {
			return true
		}
	}
	return false
}

// AllowPrivate tells whether the server may fetch from private addresses and over plain http.
func (c *Config) AllowPrivate() bool {
	if c.DisableSSRFProtection != nil {
		return *c.DisableSSRFProtection
	}
	return c.DevMode
}

// ReportService is where reports go, with the DID of the service; both are empty when there is none.
func (c *Config) ReportService() (url, did string) {
	if c.ReportServiceURL != "" {
		return c.ReportServiceURL, c.ReportServiceDID
	}
	return c.ModServiceURL, c.ModServiceDID
}

// DatabasePath is the file of the database.
func (c *Config) DatabasePath() string { return filepath.Join(c.DataDirectory, databaseFile) }

// BlobDirectory is the folder of the blobs.
func (c *Config) BlobDirectory() string {
	if c.BlobstoreDiskLocation != "" {
		return c.BlobstoreDiskLocation
	}
	return filepath.Join(c.DataDirectory, blobFolder)
}

// MasterKeyPath is the master key file, which counts when MasterKeyHex is empty.
func (c *Config) MasterKeyPath() string {
	if c.MasterKeyFile != "" {
		return c.MasterKeyFile
	}
	return filepath.Join(c.DataDirectory, masterKeyFile)
}
