package xrpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"
)

// ErrCutOff says that requests still ran when the grace for them was over, and that their connections were closed.
var ErrCutOff = errors.New("requests were cut off")

// statusClientGone stands in the log for requests whose client left before the answer.
const statusClientGone = 499

// noSniff keeps browsers from guessing at what an answer is: what strangers wrote is no script, whoever asks for it as one.
var noSniff = []string{"nosniff"}

// serve wraps the router: request id, panics, the log line.
func (m *Mux) serve(w http.ResponseWriter, r *http.Request) {
	c := &call{Context: r.Context(), mux: m, id: requestID(r), ip: m.proxies.client(r), start: time.Now()}
	c.ctx = c
	c.r = r.WithContext(c)
	c.w.ResponseWriter, c.w.c, c.w.touched = w, c, c.start
	w.Header()["X-Request-Id"] = []string{c.id}
	w.Header()["X-Content-Type-Options"] = noSniff
	defer m.end(c)
	m.echo.ServeHTTP(&c.w, c.r)
}

// end is deferred: it turns a panic into a 500, finishes the body and writes the log line.
func (m *Mux) end(c *call) {
	if v := recover(); v != nil {
		if v == http.ErrAbortHandler {
			c.w.abort = true
		} else {
			m.log.LogAttrs(c, slog.LevelError, "panic", slog.String("id", c.id), slog.Any("value", v), slog.String("stack", string(debug.Stack())))
			m.fail(c, fmt.Errorf("panic: %v", v))
		}
	}
	c.w.finish()
	if m.opts.Answered != nil && !c.w.hijacked {
		m.opts.Answered(time.Since(c.start))
	}
	m.logRequest(c)
	if c.w.abort && !c.w.hijacked {
		panic(http.ErrAbortHandler) // the only way to make net/http cut the connection
	}
}

// logRequest writes the one line that says what happened to a request.
func (m *Mux) logRequest(c *call) {
	status, level := c.w.status, slog.LevelInfo
	switch {
	case c.err != nil && errors.Is(c.err, context.Canceled) && c.Context.Err() != nil:
		status = statusClientGone
	case c.err != nil && status >= http.StatusInternalServerError, c.w.abort:
		level = slog.LevelError
	}
	if !m.log.Enabled(c, level) {
		return
	}
	var room [12]slog.Attr
	attrs := append(room[:0], slog.String("id", c.id), slog.String("verb", c.r.Method))
	if c.nsid != "" {
		attrs = append(attrs, slog.String("method", c.nsid))
	} else {
		attrs = append(attrs, slog.String("path", clip(c.r.URL.Path)))
	}
	attrs = append(attrs, slog.Int("status", status), slog.Duration("took", time.Since(c.start)),
		slog.Int64("bytes", c.w.bytes), slog.Any("ip", c.ip))
	if c.did != "" {
		attrs = append(attrs, slog.String("did", c.did))
	}
	if c.err != nil {
		attrs = append(attrs, slog.String("error", c.errName), slog.String("cause", clip(c.err.Error())))
	}
	m.log.LogAttrs(c, level, "request", attrs...)
}

// maxLogText is the longest text from outside in a log line, in bytes.
const maxLogText = 500

func clip(s string) string {
	if len(s) > maxLogText {
		return s[:maxLogText]
	}
	return s
}

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 90 * time.Second
	maxHeaderBytes    = 64 << 10
)

// NewServer returns an HTTP server with the timeouts that keep slow and stalled clients from
// holding connections. Bodies and streams move their own deadlines on.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		WriteTimeout:      writeStall,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
	if log != nil {
		s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	}
	return s
}

// Serve serves on ln until ctx ends. Then it takes no new connections and gives the running
// requests until grace is over. Websockets are not among them: who opened them closes them.
// The error is ErrCutOff when the grace was over before the last request.
func Serve(ctx context.Context, s *http.Server, ln net.Listener, grace time.Duration) error {
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := s.Shutdown(end); err != nil {
		_ = s.Close()
		return fmt.Errorf("%w after %s", ErrCutOff, grace)
	}
	return nil
}
