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
	clientFailed   = 20 * time.Second // how long a failure is believed
	clientTimeout  = 8 * time.Second
	maxClients     = 2000
	maxClientFetch = 32      // at a time
	maxClientBody  = 256_000 // bytes, of metadata and of keys
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
}

type knownClient struct {
	client *client
	err    error
	at     time.Time
}

func newClients(c *http.Client, trusted []string, now func() time.Time) *clients {
	return &clients{http: c, trusted: trusted, now: now, slots: semaphore.NewWeighted(maxClientFetch), known: make(map[string]knownClient)}
}

// get returns the client of the id. The error is an *Error with InvalidClientMeta.
func (c *clients) get(ctx context.Context, id string) (*client, error) {
	if isLocalhostID(id) {
		cl, err := localhostClient(id)
		if err != nil {
			return nil, refuse(InvalidClientMeta, err.Error())
		}
		return cl, nil
	}
	if _, err := parseClientID(id); err != nil {
		return nil, refuse(InvalidClientMeta, err.Error())
	}
	k, ok := c.lookUp(id)
	if ok && (k.err == nil && c.now().Sub(k.at) < clientFresh || k.err != nil && c.now().Sub(k.at) < clientFailed) {
		return k.client, k.err
	}
	return c.fetch(ctx, id)
}

func (c *clients) lookUp(id string) (knownClient, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[id]
	return k, ok
}

// fetch asks the client's host, once for all who wait for it.
func (c *clients) fetch(ctx context.Context, id string) (*client, error) {
	answer := c.flight.DoChan(id, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clientTimeout)
		defer cancel()
		cl, err := c.load(ctx, id)
		return c.keep(id, cl, err)
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

// errUnreachable says that a host did not answer, which may be over soon; it says nothing about the client.
var errUnreachable = errors.New("does not answer")

// keep remembers what came of a fetch. When the host does not answer, what it said before goes on for a while.
func (c *clients) keep(id string, cl *client, err error) (*client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if err != nil {
		if old := c.known[id]; errors.Is(err, errUnreachable) && old.client != nil && now.Sub(old.at) < clientStale {
			return old.client, nil
		}
		err = refuse(InvalidClientMeta, "Client metadata: "+describe(err)).because(err)
		cl = nil
	}
	if len(c.known) >= maxClients {
		n := maxClients / 8
		for old := range c.known {
			if n--; n < 0 {
				break
			}
			delete(c.known, old)
		}
	}
	c.known[id] = knownClient{cl, err, now}
	return cl, err
}

// describe tells a client's developer what is wrong, but not what this server finds in its own network.
func describe(err error) string {
	if errors.Is(err, errUnreachable) {
		return "the host of the document did not answer as it should"
	}
	return err.Error()
}

func (c *clients) load(ctx context.Context, id string) (*client, error) {
	if err := c.slots.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer c.slots.Release(1)
	body, err := c.fetchJSON(ctx, id)
	if err != nil {
		return nil, err
	}
	cl, err := documentClient(id, body)
	if err != nil {
		return nil, err
	}
	if cl.confidential() && cl.keys == nil {
		if body, err = c.fetchJSON(ctx, cl.meta.JWKSURI); err != nil {
			return nil, err
		}
		if err := cl.setKeys(body); err != nil {
			return nil, err
		}
	}
	cl.trusted = slices.Contains(c.trusted, id)
	return cl, nil
}

// fetchJSON fetches a document: status 200 and JSON, or nothing.
func (c *clients) fetchJSON(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("the address is malformed")
	}
	req.Header.Set("Accept", "application/json")
	res, err := c.http.Do(req)
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
