package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
)

const (
	clientFresh    = 10 * time.Minute // how long metadata are used without asking again
	clientStale    = 24 * time.Hour   // how long when the client's host does not answer
	clientFailed   = 20 * time.Second // how long a failure is believed, and a host that does not answer not asked again
	clientKeys     = 30 * time.Second // how long a key that is not in the metadata is not looked for again
	clientTimeout  = 8 * time.Second
	maxClients     = 2000
	maxClientBytes = 32 << 20 // of all documents in memory
	clientOverhead = 2 << 10  // of one, beside its document
	maxClientFetch = 128      // at a time
	maxHostFetch   = 8        // of one host: slow ones must not hold up all others
	maxClientBody  = 256_000  // bytes, of metadata and of keys
)

// clients fetches and keeps the metadata of clients.
type clients struct {
	http    *http.Client
	trusted []string
	now     func() time.Time
	flight  singleflight.Group
	slots   *semaphore.Weighted

	mu    sync.Mutex
	known map[string]knownClient // guarded by mu
	bytes int                    // guarded by mu; of what is in known
	busy  map[string]int         // guarded by mu; fetches under way, by host
}

type knownClient struct {
	client *client
	err    error
	at     time.Time
	asked  time.Time // for a key that is not among the client's; last
	away   time.Time // when the host did not answer, last, since client was fetched
	bytes  int
}

// settled tells whether there is nothing to ask the client's host now.
func (k knownClient) settled(now time.Time) bool {
	age := now.Sub(k.at)
	if k.err != nil {
		return age < clientFailed
	}
	return age < clientFresh || age < clientStale && now.Sub(k.away) < clientFailed
}

func newClients(c *http.Client, trusted []string, now func() time.Time) *clients {
	return &clients{
		http: c, trusted: trusted, now: now, slots: semaphore.NewWeighted(maxClientFetch), known: make(map[string]knownClient), busy: make(map[string]int),
	}
}

// get returns the client of the id. The error is an *Error: InvalidClientMeta, or Unavailable when the client's host does not answer.
func (c *clients) get(ctx context.Context, id string) (*client, error) {
	if isLocalhostID(id) {
		cl, err := localhostClient(id)
		if err != nil {
			return nil, refuse(InvalidClientMeta, err.Error())
		}
		return cl, nil
	}
	u, err := parseClientID(id)
	if err != nil {
		return nil, refuse(InvalidClientMeta, err.Error())
	}
	if k, ok := c.lookUp(id); ok && k.settled(c.now()) {
		return k.client, k.err
	}
	return c.fetch(ctx, id, u.Host)
}

// newer returns the client as its host describes it now, for keys that are not known: they may be new. Strangers can name such keys, so it asks now and then only.
func (c *clients) newer(ctx context.Context, cl *client) (*client, error) {
	if cl.url == nil || !c.mayAsk(cl.id) {
		return cl, nil
	}
	return c.fetch(ctx, cl.id, cl.url.Host)
}

// mayAsk tells whether the client's host was not asked for a while, and notes that it is now.
func (c *clients) mayAsk(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, now := c.known[id], c.now()
	if now.Sub(k.at) < clientKeys || now.Sub(k.asked) < clientKeys {
		return false
	}
	if k.client != nil {
		k.asked = now
		c.known[id] = k
	}
	return true
}

func (c *clients) lookUp(id string) (knownClient, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[id]
	return k, ok
}

// fetch asks the client's host, once for all who wait for it.
func (c *clients) fetch(ctx context.Context, id, host string) (*client, error) {
	answer := c.flight.DoChan(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clientTimeout)
		defer cancel()
		if err := c.enter(ctx, host); err != nil {
			if old, ok := c.lookUp(id); ok && old.client != nil {
				return c.keep(id, nil, 0, err)
			}
			return nil, refuse(Unavailable, "Too many documents of clients are being fetched. Try again in a moment.").because(err)
		}
		defer c.leave(host)
		cl, size, err := c.load(ctx, id)
		return c.keep(id, cl, size, err)
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case a := <-answer:
		if a.Err != nil {
			return nil, a.Err
		}
		return a.Val.(*client), nil
	}
}

// enter takes one of the places for fetches, of which a host has a few only.
func (c *clients) enter(ctx context.Context, host string) error {
	c.mu.Lock()
	full := c.busy[host] >= maxHostFetch
	if !full {
		c.busy[host]++
	}
	c.mu.Unlock()
	if full {
		return fmt.Errorf("%w: too many documents of its at once", errUnreachable)
	}
	if err := c.slots.Acquire(ctx, 1); err != nil {
		c.forgetBusy(host)
		return fmt.Errorf("%w: %w", errUnreachable, err)
	}
	return nil
}

func (c *clients) leave(host string) {
	c.slots.Release(1)
	c.forgetBusy(host)
}

func (c *clients) forgetBusy(host string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy[host]--; c.busy[host] <= 0 {
		delete(c.busy, host)
	}
}

// errUnreachable says that a host did not answer, which may be over soon; it says nothing about the client.
var errUnreachable = errors.New("does not answer")

// errAway is the answer where nothing is known of a client because its host, or that of its keys, does not answer.
func errAway(err error) *Error {
	e := refuse(Unavailable, "The client's metadata cannot be had just now: the host of the document, or of its keys, does not answer as it should. Try again in a moment.")
	e.Away, e.RetryAfter = true, clientFailed
	return e.because(err)
}

// keep remembers what came of a fetch. While metadata are fresh no failure takes them back: strangers can have them fetched at any moment, and one of those may be a
// bad one of the host's. When the host does not answer, what it said before goes on for longer.
func (c *clients) keep(id string, cl *client, size int, err error) (*client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, old := c.now(), c.known[id]
	if err != nil {
		away, age := errors.Is(err, errUnreachable), now.Sub(old.at)
		if old.client != nil && (age < clientFresh || away && age < clientStale) {
			if away {
				old.away = now
			}
			c.known[id] = old
			return old.client, nil
		}
		if away {
			err = errAway(err)
		} else {
			err = refuse(InvalidClientMeta, "Client metadata: "+err.Error()).because(err)
		}
		cl = nil
	}
	c.drop(id, old)
	size += clientOverhead
	for other, k := range c.known { // in the map's random order: those in use come back
		if len(c.known) < maxClients && c.bytes+size <= maxClientBytes {
			break
		}
		c.drop(other, k)
	}
	c.known[id] = knownClient{client: cl, err: err, at: now, bytes: size}
	c.bytes += size
	return cl, err
}

func (c *clients) drop(id string, k knownClient) {
	delete(c.known, id)
	c.bytes -= k.bytes
}

// load fetches a client, and tells how many bytes its documents have.
func (c *clients) load(ctx context.Context, id string) (cl *client, size int, err error) {
	body, err := c.fetchJSON(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	if cl, err = documentClient(id, body); err != nil {
		return nil, 0, err
	}
	size = len(body)
	if cl.confidential() && cl.keys == nil {
		if body, err = c.fetchJSON(ctx, cl.meta.JWKSURI); err != nil {
			return nil, 0, err
		}
		if err := cl.setKeys(body); err != nil {
			return nil, 0, err
		}
		size += len(body)
	}
	cl.meta.JWKS = nil // it is in keys
	cl.trusted = slices.Contains(c.trusted, id)
	return cl, size, nil
}

// fetchJSON fetches a document: status 200 and JSON, or nothing.
func (c *clients) fetchJSON(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("the address is malformed")
	}
	req.Header.Set("Accept", "application/json")
	res, err := c.http.Do(req)
	if err != nil && res != nil { // only of a redirect that is not followed are there both
		return nil, fmt.Errorf("the document must be answered with status 200, not %d", res.StatusCode)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests {
		return nil, fmt.Errorf("%w: status %d", errUnreachable, res.StatusCode)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the document must be answered with status 200, not %d", res.StatusCode)
	}
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && kind != "application/jwk-set+json" {
		return nil, fmt.Errorf("the document must have the type application/json")
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxClientBody+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	if len(body) > maxClientBody {
		return nil, fmt.Errorf("the document has more than %d bytes", maxClientBody)
	}
	return body, nil
}
