package xrpc

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// sink is a ResponseWriter that costs nothing.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

func benchmark(b *testing.B, verb, target, body string, headers ...string) {
	h := testMux(Options{
		Logger:     slog.New(slog.NewJSONHandler(io.Discard, nil)),
		RateLimits: RateLimits{Global: &RateLimit{Points: 1 << 30, Window: time.Hour}},
	}).Handler()
	r := httptest.NewRequest(verb, target, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	r.ContentLength = int64(len(body))
	b.ReportAllocs()
	for b.Loop() {
		r.Body = io.NopCloser(strings.NewReader(body))
		w := &sink{h: make(http.Header, 8)}
		h.ServeHTTP(w, r)
	}
}

func BenchmarkQuery(b *testing.B) { benchmark(b, "GET", list, "", "Accept-Encoding", "gzip") }

func BenchmarkQueryWithAccess(b *testing.B) {
	benchmark(b, "GET", "/xrpc/com.atproto.server.getSession", "", "Authorization", "Bearer alice")
}

func BenchmarkProcedure(b *testing.B) {
	benchmark(b, "POST", session, `{"identifier":"alice.test","password":"correct horse battery staple"}`, "Content-Type", "application/json")
}

func BenchmarkCreateRecord(b *testing.B) {
	benchmark(b, "POST", create, `{"repo":"did:plc:44ybard66vv44zksje25o7dz","collection":"app.bsky.feed.post","record":{"$type":"app.bsky.feed.post","text":"`+
		strings.Repeat("hello ", 40)+`","createdAt":"2026-01-01T00:00:00.000Z"}}`, "Content-Type", "application/json", "Authorization", "Bearer alice")
}

func BenchmarkRefusal(b *testing.B) { benchmark(b, "GET", "/xrpc/com.atproto.repo.listRecords", "") }
