package pds

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/mail"
	"perch/pds/seal"
	"perch/pds/web"
)

// Limits of settings.
const (
	minSecret      = 16      // characters of a secret or password below which a public server is warned
	minBlobLimit   = 1 << 20 // bytes: apps send images of almost a megabyte
	minBufferBytes = 1 << 20
	maxPort        = 1<<16 - 1

	minWatchInterval = 10 * time.Minute // lest a directory that is everybody's is asked too often
	maxWatchInterval = 48 * time.Hour   // which leaves a day to undo something
)

// checker collects what is wrong. A setting that could not be read is not looked at again.
type checker struct {
	unread   []string // lines of parse
	problems []string
}

func (k *checker) add(variable, format string, args ...any) {
	for _, line := range k.unread {
		if strings.HasPrefix(line, variable+":") {
			return
		}
	}
	k.problems = append(k.problems, variable+": "+fmt.Sprintf(format, args...))
}

// check looks at all values, adds warnings, and returns what is wrong beside unread.
func (c *Config) check(unread []string) []string {
	k := &checker{unread: unread}
	c.checkServer(k)
	c.checkSecrets(k)
	c.checkAccounts(k)
	c.checkNumbers(k)
	c.checkServices(k)
	c.checkMail(k)
	c.checkData(k)
	if len(k.problems)+len(unread) == 0 && c.public() {
		c.warnLonely()
	}
	return k.problems
}

// public tells whether the server is meant for the network and not for a developer.
func (c *Config) public() bool {
	return c.Hostname != "localhost" && !strings.HasSuffix(c.Hostname, ".test") && !c.DevMode
}

func (c *Config) checkServer(k *checker) {
	if why := badHostname(c.Hostname); why != "" {
		k.add("PDS_HOSTNAME", "%q %s; write the bare public name, such as pds.example.com", c.Hostname, why)
	}
	if c.Port < 1 || c.Port > maxPort {
		k.add("PDS_PORT", "%d is no TCP port; write one from 1 to %d", c.Port, maxPort)
	}
	if c.BindAddress != "" && c.BindAddress != "localhost" {
		if _, err := netip.ParseAddr(c.BindAddress); err != nil {
			k.add("PDS_BIND_ADDRESS", "%q is no IP address; write one of this machine, such as 127.0.0.1, and the port in PDS_PORT", c.BindAddress)
		}
	}
	if c.DID != "" {
		if _, err := syntax.ParseDID(c.DID); err != nil {
			k.add("PDS_SERVICE_DID", "%q is no DID; remove it to use did:web:%s", c.DID, c.Hostname)
		}
	}
	c.checkAbout(k)
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(c.LogLevel)) {
		k.add("PDS_LOG_LEVEL", "%q is no level; write debug, info, warn or error", c.LogLevel)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		k.add("PDS_LOG_FORMAT", "%q is no format; write text or json", c.LogFormat)
	}
}

// checkAbout looks at the links and colours of the pages.
func (c *Config) checkAbout(k *checker) {
	for name, link := range map[string]string{
		"PDS_PRIVACY_POLICY_URL": c.PrivacyPolicyURL, "PDS_TERMS_OF_SERVICE_URL": c.TermsOfServiceURL, "PDS_HOME_URL": c.HomeURL, "PDS_SUPPORT_URL": c.SupportURL,
		"PDS_LOGO_URL": c.LogoURL, "PDS_BACKGROUND_LIGHT_URL": c.BackgroundLightURL, "PDS_BACKGROUND_DARK_URL": c.BackgroundDarkURL,
	} {
		if link != "" && badURL(link) {
			k.add(name, "%q is no web address; write one that begins with https://", link)
		}
	}
	for name, color := range map[string]string{
		"PDS_PRIMARY_COLOR": c.PrimaryColor, "PDS_ERROR_COLOR": c.ErrorColor, "PDS_WARNING_COLOR": c.WarningColor, "PDS_INFO_COLOR": c.InfoColor,
		"PDS_SUCCESS_COLOR": c.SuccessColor,
	} {
		if color == "" {
			continue
		}
		if err := web.CheckColor(color); err != nil {
			k.add(name, "%v", err)
		}
	}
}

// badHostname says what is wrong with a host name, "" when nothing is.
func badHostname(name string) string {
	switch {
	case name == "localhost":
		return ""
	case strings.Contains(name, "://") || strings.Contains(name, "/"):
		return "is an address, not a host name"
	case name != strings.ToLower(name):
		return "has capital letters"
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return "is an IP address, which no DID document can name"
	}
	if strings.Contains(name, ":") {
		return "has a port, which is PDS_PORT's business"
	}
	if _, err := syntax.ParseHandle(name); err != nil { // the same rules: labels, and a top-level domain
		return "is no full domain name"
	}
	return ""
}

func badURL(s string) bool {
	u, err := url.Parse(s)
	return err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https"
}

func (c *Config) checkSecrets(k *checker) {
	if c.MasterKeyHex != "" {
		if _, err := seal.Parse(c.MasterKeyHex); err != nil {
			k.add("PDS_MASTER_KEY_HEX", "the value is no key; write 64 hexadecimal digits, such as `openssl rand -hex 32` prints")
		}
		if c.MasterKeyFile != "" {
			k.add("PDS_MASTER_KEY_FILE", "there is a key in PDS_MASTER_KEY_HEX too; remove one of the two")
		}
	}
	if c.PLCRotationKeyHex != "" {
		if _, err := parseK256(c.PLCRotationKeyHex); err != nil {
			k.add(plcKeyVariable, "the value is no secp256k1 private key; write its 64 hexadecimal digits, or remove it to have one made")
		}
	}
	if c.DPoPSecretHex != "" {
		if b, err := hex.DecodeString(c.DPoPSecretHex); err != nil || len(b) != 32 {
			k.add(dpopVariable, "the value is no 32-byte secret; write 64 hexadecimal digits, or remove it to have one made")
		}
	}
	if c.public() {
		c.warnShort(jwtVariable, c.JWTSecret)
		c.warnShort(adminVariable, c.AdminPassword)
	}
}

func (c *Config) warnShort(name, value string) {
	if value != "" && len(value) < minSecret {
		c.warn("%s is short (%d characters) and can be guessed; remove it to have one made, or write one of at least %d", name, len(value), minSecret)
	}
}

func parseK256(s string) (atcrypto.PrivateKey, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil, errors.New("not hexadecimal")
	}
	return atcrypto.ParsePrivateBytesK256(b)
}

func (c *Config) checkAccounts(k *checker) {
	for _, d := range c.ServiceHandleDomains {
		if !strings.HasPrefix(d, ".") {
			k.add("PDS_SERVICE_HANDLE_DOMAINS", "%q does not begin with a dot; write .%s", d, d)
			continue
		}
		name := d[1:]
		if _, err := syntax.ParseHandle("a" + d); err != nil || d != strings.ToLower(d) || name == "" {
			k.add("PDS_SERVICE_HANDLE_DOMAINS", "%q is no domain; write lower-case ones such as .example.com", d)
		}
	}
	if c.InviteInterval < 0 {
		k.add("PDS_INVITE_INTERVAL", "%v is negative; write milliseconds, or 0 for no earned invites", c.InviteInterval)
	}
	if !slices.Contains([]string{didWebOff, didWebOperator, didWebEveryone}, c.DIDWebAccounts) {
		k.add("PDS_DID_WEB_ACCOUNTS", "%q says not who; write off, operator or everyone", c.DIDWebAccounts)
	}
	if c.PLCWatchInterval != 0 && (c.PLCWatchInterval < minWatchInterval || c.PLCWatchInterval > maxWatchInterval) {
		k.add("PDS_PLC_WATCH_INTERVAL", "%v is no good interval; write one from %v to %v, or 0 to turn it off", c.PLCWatchInterval, minWatchInterval, maxWatchInterval)
	}
	if c.RecoveryDIDKey != "" {
		if _, err := atcrypto.ParsePublicDIDKey(c.RecoveryDIDKey); err != nil {
			k.add("PDS_RECOVERY_DID_KEY", "%q is no did:key of a K-256 or P-256 key; write one, or remove it", c.RecoveryDIDKey)
		}
	}
}

func (c *Config) checkNumbers(k *checker) {
	for _, n := range []struct {
		name       string
		value, min int64
		what       string
	}{
		{"PDS_BLOB_UPLOAD_LIMIT", c.BlobUploadLimit, minBlobLimit, "bytes, or apps cannot upload pictures"},
		{"PDS_TREE_CACHE_BYTES", c.TreeCacheBytes, minBufferBytes, "bytes"},
		{"PDS_FETCH_MAX_RESPONSE_SIZE", c.FetchMaxResponseSize, 64 << 10, "bytes, or DID documents do not fit"},
		{"PDS_FIREHOSE_MAX_SUBSCRIBERS", int64(c.FirehoseMaxSubscribers), 1, "(relays are subscribers)"},
		{"PDS_FIREHOSE_MAX_PER_IP", int64(c.FirehoseMaxPerIP), 1, "(relays are subscribers)"},
		{"PDS_FIREHOSE_BUFFER_BYTES", int64(c.FirehoseBufferBytes), minBufferBytes, "bytes"},
		{"PDS_PROXY_MAX_RESPONSE_SIZE", c.ProxyMaxResponseSize, minBlobLimit, "bytes, or apps miss answers"},
		{"PDS_DID_CACHE_STALE_TTL", c.DIDCacheStaleTTL.Milliseconds(), 1, "milliseconds"},
		{"PDS_ID_RESOLVER_TIMEOUT", c.ResolverTimeout.Milliseconds(), 1, "milliseconds"},
		{"PDS_PROXY_HEADERS_TIMEOUT", c.ProxyHeadersTimeout.Milliseconds(), 1, "milliseconds"},
		{"PDS_PROXY_BODY_TIMEOUT", c.ProxyBodyTimeout.Milliseconds(), 1, "milliseconds"},
		{"PDS_SHUTDOWN_TIMEOUT", c.ShutdownTimeout.Milliseconds(), 1, "milliseconds"},
		{"PDS_REPO_BACKFILL_LIMIT_MS", c.BackfillWindow.Milliseconds(), 60_000, "milliseconds, or relays that were away miss events"},
		{"PDS_INVITE_EPOCH", c.InviteEpoch, 0, "milliseconds since 1970"},
	} {
		if n.value < n.min {
			k.add(n.name, "%d is too small; write at least %d %s", n.value, n.min, n.what)
		}
	}
	if c.DIDCacheMaxTTL < c.DIDCacheStaleTTL {
		k.add("PDS_DID_CACHE_MAX_TTL", "%v is less than PDS_DID_CACHE_STALE_TTL (%v); write more", c.DIDCacheMaxTTL, c.DIDCacheStaleTTL)
	}
}

func (c *Config) checkServices(k *checker) {
	if badURL(c.PLCURL) {
		k.add("PDS_DID_PLC_URL", "%q is no web address; write one such as https://plc.directory", c.PLCURL)
	}
	for _, s := range []struct{ prefix, url, did string }{
		{"PDS_BSKY_APP_VIEW_", c.AppViewURL, c.AppViewDID},
		{"PDS_MOD_SERVICE_", c.ModServiceURL, c.ModServiceDID},
		{"PDS_REPORT_SERVICE_", c.ReportServiceURL, c.ReportServiceDID},
	} {
		switch {
		case s.url == "" && s.did != "":
			k.add(s.prefix+"URL", "it is missing, but %sDID is set; set both or none", s.prefix)
		case s.url != "" && s.did == "":
			k.add(s.prefix+"DID", "it is missing, but %sURL is set; set both or none", s.prefix)
		}
		if s.url != "" && badURL(s.url) {
			k.add(s.prefix+"URL", "%q is no web address; write one that begins with https://", s.url)
		}
		if s.did != "" {
			if _, err := syntax.ParseDID(s.did); err != nil {
				k.add(s.prefix+"DID", "%q is no DID; write the service's, such as did:web:api.example.com", s.did)
			}
		}
	}
	if !isProfilePattern(c.ProfileURL) {
		k.add("PDS_PROFILE_URL", "%q is no web address with {did} or {handle} in it; write one such as https://bsky.app/profile/{did}", c.ProfileURL)
	}
	if pattern := c.AppViewCDNPattern; pattern != "" && (strings.Count(pattern, "%s") != cdnParts || badURL(c.imageURL("avatar", "did", "cid"))) {
		k.add("PDS_BSKY_APP_VIEW_CDN_URL_PATTERN", "%q is no pattern; write one such as https://cdn.bsky.app/img/%%s/plain/%%s/%%s@jpeg", pattern)
	}
	for _, u := range c.Crawlers {
		if badURL(u) {
			k.add("PDS_CRAWLERS", "%q is no web address; write relays as https://bsky.network, separated by commas", u)
		}
	}
}

func (c *Config) checkMail(k *checker) {
	for _, m := range []struct{ urlName, url, fromName, from string }{
		{"PDS_EMAIL_SMTP_URL", c.EmailSMTPURL, "PDS_EMAIL_FROM_ADDRESS", c.EmailFromAddress},
		{"PDS_MODERATION_EMAIL_SMTP_URL", c.ModerationEmailSMTPURL, "PDS_MODERATION_EMAIL_ADDRESS", c.ModerationEmailAddress},
	} {
		if m.url != "" {
			if err := mail.ParseURL(m.url); err != nil {
				k.add(m.urlName, "the value cannot be used: %v; write smtp://user:password@host:587 or smtps://user:password@host:465", err)
			}
			if m.from == "" {
				k.add(m.fromName, "it is missing, but %s is set; write the sender's address, such as pds@%s", m.urlName, c.Hostname)
			}
		}
		if m.from != "" {
			if _, _, err := mail.ParseSender(m.from); err != nil {
				k.add(m.fromName, "%q is no e-mail address; write one such as pds@%s", m.from, c.Hostname)
			}
		}
	}
	if c.EmailSMTPURL == "" && c.EmailFromAddress != "" {
		k.add("PDS_EMAIL_SMTP_URL", "it is missing, but PDS_EMAIL_FROM_ADDRESS is set; set both or none")
	}
	if c.ModerationEmailAddress != "" && c.ModerationEmailSMTPURL == "" && c.EmailSMTPURL == "" {
		k.add("PDS_MODERATION_EMAIL_SMTP_URL", "it is missing, but PDS_MODERATION_EMAIL_ADDRESS is set; set both, or PDS_EMAIL_SMTP_URL, or none")
	}
}

// referenceDatabase is the file by which the data folder of a reference PDS is known.
const referenceDatabase = "account.sqlite"

func (c *Config) checkData(k *checker) {
	if info, err := os.Stat(c.DataDirectory); err == nil && !info.IsDir() {
		k.add("PDS_DATA_DIRECTORY", "%s is a file; write the name of a folder", c.DataDirectory)
		return
	}
	_, ours := os.Stat(c.DatabasePath())
	_, theirs := os.Stat(filepath.Join(c.DataDirectory, referenceDatabase))
	if errors.Is(ours, fs.ErrNotExist) && theirs == nil {
		k.add("PDS_DATA_DIRECTORY", "%s holds the data of a reference PDS, and Perch would begin empty beside it; take them over with `perch adopt`, or write the name of another folder", c.DataDirectory)
	}
}

// warnLonely tells of what a server on the network usually has.
func (c *Config) warnLonely() {
	if len(c.Crawlers) == 0 {
		c.warn("PDS_CRAWLERS is empty: no relay is told of this server, so nobody elsewhere sees its posts; the usual one is https://bsky.network")
	}
	if c.AppViewURL == "" {
		c.warn("PDS_BSKY_APP_VIEW_URL is empty: Bluesky apps find no timelines here; the usual one is https://api.bsky.app with PDS_BSKY_APP_VIEW_DID=did:web:api.bsky.app")
	}
	if c.EmailSMTPURL == "" {
		c.warn("PDS_EMAIL_SMTP_URL is empty: no mail is sent, so people who lose a password or move away need you and `perch account code`")
	}
	if c.AllowPrivate() {
		c.warn("PDS_DISABLE_SSRF_PROTECTION is on: strangers can make this server fetch from your private network; remove it")
	}
}
