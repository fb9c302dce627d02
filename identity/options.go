package identity

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"golang.org/x/sync/semaphore"

	"perch/identity/plc"
)

// Defaults of Options.
const (
	DefaultPLCURL     = "https://plc.directory"
	DefaultCacheStale = time.Hour
	DefaultCacheMax   = 24 * time.Hour
	DefaultCacheSize  = 50_000
	DefaultLookupTime = 3 * time.Second
)

const (
	notFoundTTL = time.Minute      // how long "does not exist" is believed
	failureTTL  = 10 * time.Second // how long a lookup that failed is not tried again
	maxLookups  = 256              // lookups at strangers' hosts at one time
	maxPLC      = 64               // and at the PLC directory, which slow strangers must not hold up
)

// Options are the settings of a Resolver; the zero value works.
type Options struct {
	// PLCURL is the PLC directory; "" means DefaultPLCURL.
	PLCURL string
	// Client fetches from hosts that strangers name; nil means
	// NewClient(ClientOptions{AllowPrivate: AllowPrivate}).
	Client *http.Client
	// PLCClient talks to the PLC directory, which the operator names and which
	// may be on a private address; nil means a client that may go there.
	PLCClient *http.Client
	// Nameservers to ask for handles, as "host" or "host:port"; none means the
	// system's. BackupNameservers are asked when DNS and HTTPS know nothing.
	Nameservers       []string
	BackupNameservers []string
	// Timeout of one lookup; 0 means DefaultLookupTime.
	Timeout time.Duration
	// CacheStale is the age at which an answer is renewed in the background,
	// CacheMax the one at which it is dropped; 0 means the defaults.
	CacheStale, CacheMax time.Duration
	// CacheSize is how many DIDs, and how many handles, are kept at most; 0
	// means DefaultCacheSize.
	CacheSize int
	// Local answers for handles of this server; it is asked first, and its
	// answers are not cached. May be nil.
	Local func(ctx context.Context, handle syntax.Handle) (syntax.DID, bool)
	// LocalDocument answers for DIDs whose documents this server serves itself; it
	// is asked first, and its answers are not cached. ok is false for all others.
	// May be nil.
	LocalDocument func(ctx context.Context, did syntax.DID) (raw []byte, ok bool, err error)
	// Changed is told of a DID whose document is another one than the cached one
	// was. It must be quick. May be nil.
	Changed func(did syntax.DID)
	// AllowPrivate is for development: handles under .test, did:web:localhost
	// with a port, private addresses, and http.
	AllowPrivate bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// New returns a Resolver.
func New(o Options) *Resolver {
	setDefault(&o.PLCURL, DefaultPLCURL)
	setDefault(&o.Timeout, DefaultLookupTime)
	setDefault(&o.CacheStale, DefaultCacheStale)
	setDefault(&o.CacheMax, DefaultCacheMax)
	setDefault(&o.CacheSize, DefaultCacheSize)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Client == nil {
		o.Client = NewClient(ClientOptions{AllowPrivate: o.AllowPrivate})
	}
	if o.PLCClient == nil {
		o.PLCClient = NewClient(ClientOptions{AllowPrivate: true})
	}
	life := lifetimes{stale: o.CacheStale, max: o.CacheMax, notFound: notFoundTTL, failure: failureTTL}
	r := &Resolver{
		opts:    o,
		client:  o.Client,
		plc:     plc.NewClient(o.PLCURL, o.PLCClient),
		dns:     []*net.Resolver{net.DefaultResolver},
		backup:  nameservers(o.BackupNameservers),
		docs:    newCache[syntax.DID](o.CacheSize, documentWeight, life, o.Now),
		handles: newCache[syntax.Handle](o.CacheSize, func(did syntax.DID) int { return len(did) }, life, o.Now),
		slots:   semaphore.NewWeighted(maxLookups),
		plcSlot: semaphore.NewWeighted(maxPLC),
		wellKnown: func(h syntax.Handle) string {
			return "https://" + h.String() + "/.well-known/atproto-did"
		},
	}
	if len(o.Nameservers) > 0 {
		r.dns = nameservers(o.Nameservers)
	}
	return r
}

// documentWeight is about what a document takes in memory: its text, and what
// was read out of it.
func documentWeight(d *Document) int {
	return 3*len(d.Raw) + 64*(len(d.Keys)+len(d.Services)+len(d.AlsoKnownAs))
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
