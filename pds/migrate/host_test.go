package migrate

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestCommandEnds(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer s.Close()
	h := &host{side: "old", origin: s.URL, client: s.Client(), pace: newPacer(time.Now), tries: commandTries, patience: commandPatience, session: (&Manager{}).session(&move{})}
	if err := h.json(t.Context(), call{method: "a.b.c"}, nil); err == nil || !errors.Is(err, ErrBusy) || asked != commandWaits {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestRefusalIsShort(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"A\u001b[2J","message":"` + strings.Repeat("ä", 30000) + `"}`))
	}))
	defer s.Close()
	h := &host{side: "old", origin: s.URL, client: s.Client(), pace: newPacer(time.Now), tries: 1, session: (&Manager{}).session(&move{})}
	err := h.json(t.Context(), call{method: "a.b.c"}, nil)
	if err == nil || len(err.Error()) > 600 || strings.Contains(err.Error(), "\x1b") || !utf8.ValidString(err.Error()) {
		t.Errorf("%.200q", err)
	}
}

func TestLocksAreForgotten(t *testing.T) {
	m := New(Options{})
	first := m.only("did:plc:a")
	done := make(chan struct{})
	go func() {
		m.only("did:plc:a")()
		close(done)
	}()
	first()
	<-done
	if len(m.locks) != 0 {
		t.Errorf("%d locks are left", len(m.locks))
	}
}
