package xrpc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"hash/maphash"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// RateLimit allows Points in every Window to each key. Windows are fixed: they begin with the
// first request and all points come back at their end.
type RateLimit struct {
	// Name is the bucket. Rules with the same name share what is left; "" is the method's own.
	Name   string
	Points int
	Window time.Duration
	// Key tells callers apart; "" from it exempts the request. The default is the client's
	// address (an IPv6 /64 counts as one). input is the decoded input, nil unless the rule was
	// given by WithInputRateLimit.
	Key func(ctx context.Context, r *http.Request, input any) string
	// Cost is how many points a request takes, by default 1; 0 is free.
	Cost func(ctx context.Context, r *http.Request, input any) int
}

// RateLimits configure all limits of a Mux.
type RateLimits struct {
	Disabled bool
	// Global limits all methods together for each address; nil for none.
	Global *RateLimit
	// BypassKey in the header x-ratelimit-bypass lets a request through; "" for no such key.
	BypassKey string
	// BypassIPs are the addresses that are never limited.
	BypassIPs []netip.Prefix
	// MaxKeys bounds the memory: how many windows are counted at a time; default 200,000.
	MaxKeys int
}

const (
	defaultMaxKeys = 200_000
	limiterShards  = 16
	bypassHeader   = "X-Ratelimit-Bypass"
)

// window counts one key of one bucket. Keys are kept as hashes under a seed that nobody knows,
// so that entries are small and hold no pointers.
type window struct {
	used  int32
	reset int64 // unix seconds
}

type limiterShard struct {
	mu      sync.Mutex
	windows map[uint64]window
}

type limiter struct {
	conf   RateLimits
	bypass [sha256.Size]byte
	now    func() time.Time
	seed   maphash.Seed
	max    int // windows per shard
	shards [limiterShards]limiterShard
}

func newLimiter(conf RateLimits, now func() time.Time) *limiter {
	l := &limiter{conf: conf, now: now, seed: maphash.MakeSeed(), bypass: sha256.Sum256([]byte(conf.BypassKey))}
	if l.now == nil {
		l.now = time.Now
	}
	if conf.MaxKeys == 0 {
		conf.MaxKeys = defaultMaxKeys
	}
	l.max = max(conf.MaxKeys/limiterShards, 1)
	for i := range l.shards {
		l.shards[i].windows = make(map[uint64]window)
	}
	if g := conf.Global; g != nil {
		rule := *g
		if rule.Name == "" {
			rule.Name = "global"
		}
		l.conf.Global = &rule
	}
	return l
}

// name gives rules without a bucket one of the method's own.
func (l *limiter) name(nsid string, rules []RateLimit) {
	for i := range rules {
		if rules[i].Name == "" {
			rules[i].Name = nsid + " " + strconv.Itoa(rules[i].Points) + "/" + rules[i].Window.String()
		}
	}
}

func (l *limiter) global(c *call) error {
	if l.conf.Disabled || l.conf.Global == nil || l.exempt(c) {
		return nil
	}
	return l.takeOne(c, l.conf.Global, nil)
}

// take counts a request against all rules and answers with an error at the first that is used up.
func (l *limiter) take(c *call, rules []RateLimit, input any) error {
	if len(rules) == 0 || l.conf.Disabled || l.exempt(c) {
		return nil
	}
	for i := range rules {
		if err := l.takeOne(c, &rules[i], input); err != nil {
			return err
		}
	}
	return nil
}

// exempt says whether the request may pass all limits.
func (l *limiter) exempt(c *call) bool {
	if l.conf.BypassKey != "" {
		if given := c.r.Header.Get(bypassHeader); given != "" {
			sum := sha256.Sum256([]byte(given))
			if subtle.ConstantTimeCompare(sum[:], l.bypass[:]) == 1 {
				return true
			}
		}
	}
	return len(l.conf.BypassIPs) > 0 &&
		slices.ContainsFunc(l.conf.BypassIPs, func(p netip.Prefix) bool { return p.Contains(c.ip) })
}

func (l *limiter) takeOne(c *call, rule *RateLimit, input any) error {
	hash, ok := l.key(c, rule, input)
	if !ok {
		return nil
	}
	cost := 1
	if rule.Cost != nil {
		if cost = rule.Cost(c.ctx, c.r, input); cost <= 0 {
			return nil
		}
	}
	now := l.now()
	used, reset, allowed := l.count(hash, rule, cost, now.Unix())
	setLimitHeaders(c.w.Header(), rule, max(rule.Points-used, 0), reset, allowed)
	if allowed {
		return nil
	}
	return &Error{
		Status: http.StatusTooManyRequests, Name: NameRateLimit, Message: "Rate Limit Exceeded",
		Header: http.Header{"Retry-After": {strconv.FormatInt(max(reset-now.Unix(), 1), 10)}},
	}
}

// spend counts points against a rule without a word to the client, or gives them back when they are below 0. It tells whether there were enough.
func (l *limiter) spend(c *call, rule *RateLimit, points int) bool {
	if l.conf.Disabled || c == nil || l.exempt(c) {
		return true
	}
	hash, ok := l.key(c, rule, nil)
	if !ok {
		return true
	}
	_, _, allowed := l.count(hash, rule, points, l.now().Unix())
	return allowed
}

func (l *limiter) key(c *call, rule *RateLimit, input any) (uint64, bool) {
	var h maphash.Hash
	h.SetSeed(l.seed)
	_, _ = h.WriteString(rule.Name)
	_ = h.WriteByte(0)
	if rule.Key == nil {
		ip := network(c.ip).As16()
		_, _ = h.Write(ip[:])
		return h.Sum64(), true
	}
	key := rule.Key(c.ctx, c.r, input)
	_, _ = h.WriteString(key)
	return h.Sum64(), key != ""
}

// count takes cost points from a window if it still has them. It returns how many are used then,
// and when the window ends.
func (l *limiter) count(hash uint64, rule *RateLimit, cost int, now int64) (used int, reset int64, allowed bool) {
	s := &l.shards[hash%limiterShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.windows[hash]
	if !ok && len(s.windows) >= l.max {
		s.evict(now)
	}
	if !ok || now >= w.reset {
		w = window{reset: now + max(int64(rule.Window/time.Second), 1)}
	}
	if allowed = int(w.used)+cost <= rule.Points; allowed {
		w.used = max(w.used+int32(cost), 0)
	}
	s.windows[hash] = w
	return int(w.used), w.reset, allowed
}

// evict makes room: it drops the windows that have ended, and if all still run, some of them, at
// random, as Go walks maps.
func (s *limiterShard) evict(now int64) {
	const probe = 256 // bounds the work of one request
	seen, oldest, first := 0, int64(0), uint64(0)
	for k, w := range s.windows {
		if seen++; seen > probe {
			break
		}
		if now >= w.reset {
			delete(s.windows, k)
		} else if oldest == 0 || w.reset < oldest {
			oldest, first = w.reset, k
		}
	}
	if oldest != 0 {
		delete(s.windows, first)
	}
}

// setLimitHeaders tells the client how it stands. Of several rules the tightest is shown.
func setLimitHeaders(h http.Header, rule *RateLimit, left int, reset int64, allowed bool) {
	if old := h["Ratelimit-Remaining"]; allowed && len(old) == 1 {
		if n, err := strconv.Atoi(old[0]); err == nil && n <= left {
			return
		}
	}
	values := [4]string{
		strconv.Itoa(rule.Points), strconv.Itoa(left), strconv.FormatInt(reset, 10),
		strconv.Itoa(rule.Points) + ";w=" + strconv.Itoa(int(rule.Window/time.Second)),
	}
	h["Ratelimit-Limit"] = values[0:1:1]
	h["Ratelimit-Remaining"] = values[1:2:2]
	h["Ratelimit-Reset"] = values[2:3:3]
	h["Ratelimit-Policy"] = values[3:4:4]
}
