package migrate

import (
	"errors"
	"net/http"
	"testing"
	"time"
)

func TestPacerKeepsToWhatTheHostAllows(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, tt := range []struct {
		what   string
		status int
		header map[string]string
		want   time.Duration
	}{
		{"nothing said", 200, nil, 0},
		{"some left", 200, map[string]string{"RateLimit-Remaining": "1", "RateLimit-Reset": "1700000300"}, 0},
		{"none left", 200, map[string]string{"RateLimit-Remaining": "0", "RateLimit-Reset": "1700000300"}, 300 * time.Second},
		{"none left, seconds from now", 200, map[string]string{"RateLimit-Remaining": "0", "RateLimit-Reset": "30"}, 30 * time.Second},
		{"none left, for nobody knows how long", 200, map[string]string{"RateLimit-Remaining": "0"}, 0},
		{"429 in seconds", 429, map[string]string{"Retry-After": "7", "RateLimit-Reset": "1700000300"}, 7 * time.Second},
		{"429 at a date", 429, map[string]string{"Retry-After": now.Add(9 * time.Second).UTC().Format(http.TimeFormat)}, 9 * time.Second},
		{"429 with a reset", 429, map[string]string{"RateLimit-Reset": "1700000060"}, time.Minute},
		{"429 alone", 429, nil, defaultHold},
		{"429 with nonsense", 429, map[string]string{"Retry-After": "soon"}, defaultHold},
		{"429 for ever", 429, map[string]string{"Retry-After": "99999999999"}, maxHold},
		{"503", 503, map[string]string{"Retry-After": "3"}, 3 * time.Second},
		{"503 alone", 503, nil, 0},
		{"a reset that has been", 429, map[string]string{"RateLimit-Reset": "1600000000"}, 0},
	} {
		p := newPacer(func() time.Time { return now })
		resp := &http.Response{StatusCode: tt.status, Header: http.Header{}}
		for k, v := range tt.header {
			resp.Header.Set(k, v)
		}
		p.observe("a", resp)
		if got := max(p.until["a"].Sub(now), 0); got != tt.want {
			t.Errorf("%s: waits %v, want %v", tt.what, got, tt.want)
		}
		if _, err := p.enter(t.Context(), "a", time.Second); errors.Is(err, ErrBusy) != (tt.want > time.Second) {
			t.Errorf("%s: %v", tt.what, err)
		}
		if leave, err := p.enter(t.Context(), "b", time.Second); err != nil {
			t.Errorf("%s: another method waits too: %v", tt.what, err)
		} else {
			leave()
		}
	}
}

func TestPreferencesAreComparedAsSets(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{`[]`, `[]`, true},
		{`[{"$type":"x#a","v":1},{"$type":"x#b"}]`, `[{"$type":"x#b"},{"v":1,"$type":"x#a"}]`, true},
		{`[{"$type":"x#a"},{"$type":"app.bsky.actor.defs#declaredAgePref","isOverAge18":true}]`, `[{"$type":"x#a"}]`, true},
		{`[{"$type":"x#a","v":1}]`, `[{"$type":"x#a","v":2}]`, false},
		{`[{"$type":"x#a"},{"$type":"x#a"}]`, `[{"$type":"x#a"}]`, false},
	} {
		a, errA := preferenceSet([]byte(tt.a))
		b, errB := preferenceSet([]byte(tt.b))
		same := len(a) == len(b)
		for i := 0; same && i < len(a); i++ {
			same = a[i] == b[i]
		}
		if errA != nil || errB != nil || same != tt.same {
			t.Errorf("%s and %s: %v, %v %v", tt.a, tt.b, same, errA, errB)
		}
	}
	if _, err := preferenceSet([]byte(`{"not":"a list"}`)); err == nil {
		t.Error("an object was taken for a list")
	}
}
