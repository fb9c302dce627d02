package firehose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"perch/pds/event"
	"perch/pds/store"
)

// maxClientMessage bounds what a consumer may send in one message. It is ignored anyway.
const maxClientMessage = 16 << 10

// maxAgent bounds what is kept of a consumer's User-Agent, in bytes.
const maxAgent = 200

// retryAfter is what a refused consumer is told, in seconds.
const retryAfter = 60

// Error is a refusal before the upgrade, an ordinary HTTP answer. Whoever gets one from Subscribe still has to
// write it.
type Error struct {
	Status  int
	Name    string // XRPC error name
	Message string
	Header  http.Header // to be added to the answer
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Name, e.Message) }

// ServeHTTP is Subscribe for a plain mux: it writes refusals itself, as XRPC errors.
func (f *Firehose) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var refused *Error
	if err := f.Subscribe(w, r); errors.As(err, &refused) {
		for k, v := range refused.Header {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(refused.Status)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": refused.Name, "message": refused.Message})
	}
}

// Subscribe upgrades the request to a websocket and streams events from its cursor parameter on, until either
// side ends it. It returns an *Error, and has written nothing, when the request is refused; after the upgrade it
// returns nil. Origins and subprotocols do not matter: the stream is public (spec: event-stream).
func (f *Firehose) Subscribe(w http.ResponseWriter, r *http.Request) error {
	cursor, refused := f.check(r)
	if refused != nil {
		f.counts.rejected.Add(1)
		return refused
	}
	agent := r.UserAgent()
	agent = strings.Clone(agent[:min(len(agent), maxAgent)])
	s := &subscriber{hose: f, ip: f.opt.ClientIP(r), agent: agent, since: f.opt.Now(), gone: make(chan struct{})}
	if refused := f.reserve(s.ip); refused != nil {
		f.counts.rejected.Add(1)
		return refused
	}
	defer f.wg.Done()
	defer f.leave(s)
	s.cursor.Store(f.ring.lastSeq()) // before the consumer is told that it is connected: it misses nothing from then on
	up := &upgrader{ResponseWriter: w, silence: f.opt.PingInterval + f.opt.PongWait}
	conn, err := websocket.Accept(up, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // any Origin: nothing here depends on who asks
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		f.opt.Logger.Debug("websocket handshake", "ip", s.ip, "err", err)
		return nil // the library has answered
	}
	conn.SetReadLimit(maxClientMessage)
	s.conn, s.wire = conn, up.wire
	f.enter(s)
	s.serve(cursor)
	return nil
}

// check looks at everything that can be refused by the request alone.
func (f *Firehose) check(r *http.Request) (*int64, *Error) {
	if r.Method != http.MethodGet {
		return nil, &Error{http.StatusMethodNotAllowed, "InvalidRequest", "this endpoint takes GET with a websocket upgrade",
			http.Header{"Allow": {http.MethodGet}}}
	}
	if !isUpgrade(r.Header) {
		return nil, &Error{http.StatusUpgradeRequired, "UpgradeRequired", "this endpoint is a websocket: connect with wss:// (or ws://)",
			http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}}
	}
	cursor, err := parseCursor(r)
	if err != nil {
		return nil, &Error{http.StatusBadRequest, "InvalidRequest", err.Error(), nil}
	}
	return cursor, nil
}

func isUpgrade(h http.Header) bool {
	for _, v := range h.Values("Upgrade") {
		for p := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(p), "websocket") {
				return true
			}
		}
	}
	return false
}

// parseCursor returns the cursor parameter, nil when it is absent.
func parseCursor(r *http.Request) (*int64, error) {
	values, ok := r.URL.Query()["cursor"]
	if !ok {
		return nil, nil
	}
	if len(values) != 1 {
		return nil, errors.New("cursor must be given once")
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil || values[0][0] == '+' {
		return nil, errors.New("cursor must be an integer")
	}
	if n < 0 {
		return nil, errors.New("cursor must not be negative")
	}
	return &n, nil
}

// reserve takes a place for a consumer and a hold on f.wg.
func (f *Firehose) reserve(ip string) *Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	later := http.Header{"Retry-After": {strconv.Itoa(retryAfter)}}
	total := 0
	for _, n := range f.perIP {
		total += n
	}
	switch {
	case f.closed:
		return &Error{http.StatusServiceUnavailable, "ServiceUnavailable", "the server is shutting down", later}
	case f.perIP[site(ip)] >= f.opt.MaxPerIP:
		return &Error{http.StatusTooManyRequests, "RateLimitExceeded", "too many subscriptions from this address", later}
	case total >= f.opt.MaxSubscribers:
		return &Error{http.StatusServiceUnavailable, "NotEnoughResources", "too many subscriptions", later}
	}
	f.perIP[site(ip)]++
	f.wg.Add(1)
	return nil
}

// enter makes an upgraded subscriber known to Shutdown and Stats.
func (f *Firehose) enter(s *subscriber) {
	f.counts.accepted.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs[s] = struct{}{}
	if f.closed {
		s.wire.hurry(time.Now().Add(farewell))
	}
}

// leave gives the place back.
func (f *Firehose) leave(s *subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.subs, s)
	ip := site(s.ip)
	if f.perIP[ip]--; f.perIP[ip] <= 0 {
		delete(f.perIP, ip)
	}
}

// siteBits is the part of an IPv6 address that tells customers apart: each has all addresses below it.
const siteBits = 64

// site is what the limit of subscriptions counts by: an IPv4 address, or the /64 of an IPv6 address.
func site(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Unmap().Is4() {
		return ip
	}
	prefix, err := addr.WithZone("").Prefix(siteBits)
	if err != nil {
		return ip
	}
	return prefix.String()
}

// position applies the rules for the cursor c: where to start, and the #info frame to send first, if any.
// It returns errFuture for a cursor that this server has not reached.
func (f *Firehose) position(ctx context.Context, c int64) (start int64, info []byte, err error) {
	last := max(f.ring.lastSeq(), f.opt.Store.LastSeq())
	if c > last {
		// A page can show an event just before it is announced; anything else is from another life of this server.
		there := false
		err := f.opt.Store.Frames(ctx, c-1, 1, 1, func(int64, store.PackedFrame) error {
			there = true
			return nil
		})
		if err == nil && !there {
			err = errFuture
		}
		return c, nil, err
	}
	if c == last {
		return c, nil, nil
	}
	oldest, err := f.opt.Store.OldestSeq(ctx)
	if err != nil || c >= oldest {
		return c, nil, err
	}
	if c > 0 {
		info = event.InfoFrame("OutdatedCursor", "Requested cursor exceeded limit. Possibly missing events")
	}
	return oldest - 1, info, nil
}
