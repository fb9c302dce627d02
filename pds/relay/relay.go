// Package relay asks relays to read this server's firehose: at the start, and
// after writes for relays that may have lost us meanwhile.
//
// A relay that hears of a host for the first time reads it from the present
// position on, and first calls its describeServer; so Run belongs after the
// server has begun to listen, and the first request goes out at once.
package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"perch/identity"
)

// Defaults and bounds.
const (
	DefaultInterval = 20 * time.Minute
	firstRetry      = 5 * time.Second
	maxErrorBody    = 16 << 10
	maxErrorText    = 300
)

// Options are the settings of a Notifier.
type Options struct {
	// Hostname of this server, as relays shall call it.
	Hostname string
	// Crawlers are the relays' origins, such as "https://bsky.network".
	Crawlers []string
	// Interval is the least time between two accepted requests to one relay; 0
	// means DefaultInterval.
	Interval time.Duration
	// Client sends the requests; nil means one that may go to any address, for
	// the operator chose the relays.
	Client *http.Client
	Logger *slog.Logger // nil: slog.Default()
}

// Notifier sends com.atproto.sync.requestCrawl to relays.
type Notifier struct {
	opts     Options
	crawlers []*crawler
}

// crawler is one relay. wake holds at most one wish to be crawled.
type crawler struct {
	host string
	url  string
	wake chan struct{}
	now  chan struct{} // 1 deep: the operator wants it asked at once

	mu    sync.Mutex
	state Status // guarded by mu
}

// Status is how it stands with a relay.
type Status struct {
	Host     string
	AskedAt  time.Time // the last request; zero: not yet
	Accepted bool      // that one
	Error    string    // of that one
	NextAt   time.Time // when it is asked again; zero: after the next write
}

// Status tells how it stands with each relay.
func (n *Notifier) Status() []Status {
	out := make([]Status, len(n.crawlers))
	for i, c := range n.crawlers {
		c.mu.Lock()
		out[i] = c.state
		c.mu.Unlock()
	}
	return out
}

// Ask has a relay asked at once, and tells whether there is such a relay.
func (n *Notifier) Ask(host string) bool {
	for _, c := range n.crawlers {
		if c.host == host {
			select {
			case c.now <- struct{}{}:
			default: // it is about to be
			}
			return true
		}
	}
	return false
}

// asked notes the outcome of a request.
func (c *crawler) asked(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.AskedAt, c.state.Accepted, c.state.Error = time.Now(), err == nil, ""
	if err != nil {
		c.state.Error = cut(err.Error())
	}
}

// New returns a Notifier, or an error that names a crawler whose URL is not one.
func New(o Options) (*Notifier, error) {
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	if o.Client == nil {
		o.Client = identity.NewClient(identity.ClientOptions{AllowPrivate: true})
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	n := &Notifier{opts: o}
	for _, c := range o.Crawlers {
		u, err := url.Parse(strings.TrimSpace(c))
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" {
			return nil, fmt.Errorf("crawler %q is not a URL such as https://bsky.network", c)
		}
		n.crawlers = append(n.crawlers, &crawler{
			host:  u.Host,
			url:   u.Scheme + "://" + u.Host + "/xrpc/com.atproto.sync.requestCrawl",
			wake:  make(chan struct{}, 1),
			now:   make(chan struct{}, 1),
			state: Status{Host: u.Host},
		})
	}
	return n, nil
}

// Notify says that there is something new to read. It never waits and costs a
// few nanoseconds, so that every commit may call it.
func (n *Notifier) Notify() {
	for _, c := range n.crawlers {
		select {
		case c.wake <- struct{}{}:
		default: // it knows already
		}
	}
}

// Run asks every relay at once, and again after each Notify, but not within
// Interval of the last request that was answered; a relay that cannot be reached
// is asked again with growing pauses. It returns when ctx ends.
func (n *Notifier) Run(ctx context.Context) {
	if len(n.crawlers) > 0 {
		if reason := unfit(n.opts.Hostname); reason != "" {
			n.opts.Logger.Warn("relays will not read this server: its hostname "+reason, "hostname", n.opts.Hostname)
		}
	}
	var wg sync.WaitGroup
	for _, c := range n.crawlers {
		wg.Go(func() { n.serve(ctx, c) })
	}
	wg.Wait()
}

// unfit says why relays refuse a hostname: they want a public DNS name and port
// 443.
func unfit(hostname string) string {
	switch {
	case net.ParseIP(strings.Trim(hostname, "[]")) != nil:
		return "is an IP address"
	case strings.Contains(hostname, ":"):
		return "has a port"
	case !strings.Contains(hostname, "."):
		return "is not a full DNS name"
	}
	return ""
}

// serve is the life of one relay.
func (n *Notifier) serve(ctx context.Context, c *crawler) {
	for {
		select { // a wish made before the request is fulfilled by it
		case <-c.wake:
		default:
		}
		if !n.ask(ctx, c) {
			return
		}
		if again, ok := c.pause(ctx, n.opts.Interval); !ok {
			return
		} else if again {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-c.now:
		}
	}
}

// ask sends the request until the relay has answered, be it with a refusal. It
// returns false when ctx ended first.
func (n *Notifier) ask(ctx context.Context, c *crawler) bool {
	log := n.opts.Logger.With("relay", c.host, "hostname", n.opts.Hostname)
	for pause := firstRetry; ; pause = min(2*pause, n.opts.Interval) {
		err := n.request(ctx, c)
		c.asked(err)
		var refusal *refusal
		switch {
		case err == nil:
			log.Info("relay accepted the request to crawl")
			return true
		case ctx.Err() != nil:
			return false
		case errors.As(err, &refusal) && !refusal.temporary():
			log.Error("relay refused to crawl this server", "status", refusal.status, "err", refusal)
			return true
		}
		wait := jitter(pause)
		if refusal != nil {
			wait = max(wait, min(refusal.retryAfter, n.opts.Interval))
		}
		log.Warn("relay could not be asked to crawl", "err", err, "retry_in", wait.Round(time.Millisecond))
		if _, ok := c.pause(ctx, wait); !ok {
			return false
		}
	}
}

// jitter keeps servers that lost a relay together from coming back together.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}

// pause waits until it is time to ask again, or until somebody wants it now. ok is false when ctx ended first.
func (c *crawler) pause(ctx context.Context, d time.Duration) (now, ok bool) {
	c.next(time.Now().Add(d))
	defer c.next(time.Time{})
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false, false
	case <-c.now:
		return true, true
	case <-t.C:
		return false, true
	}
}

func (c *crawler) next(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.NextAt = at
}

// refusal is an answer other than 2xx.
type refusal struct {
	status        int
	name, message string
	retryAfter    time.Duration
}

func (r *refusal) Error() string {
	return strings.TrimSpace(fmt.Sprintf("status %d %s %s", r.status, r.name, r.message))
}

func (r *refusal) temporary() bool {
	return r.status >= 500 || r.status == http.StatusTooManyRequests || r.status == http.StatusRequestTimeout
}

func (n *Notifier) request(ctx context.Context, c *crawler) error {
	body, err := json.Marshal(map[string]string{"hostname": n.opts.Hostname})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := n.opts.Client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	if res.StatusCode >= 200 && res.StatusCode <= 299 {
		return nil
	}
	r := &refusal{status: res.StatusCode, message: cut(string(text))}
	var answer struct{ Error, Message string }
	if json.Unmarshal(text, &answer) == nil && answer.Error != "" {
		r.name, r.message = answer.Error, cut(answer.Message)
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		r.retryAfter = time.Duration(min(s, 24*3600)) * time.Second
	}
	return r
}

func cut(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "")
	if len(s) > maxErrorText {
		return strings.ToValidUTF8(s[:maxErrorText], "") + "…"
	}
	return s
}
