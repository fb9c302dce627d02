package account

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

func TestCheckHandle(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.ServiceDomains = []string{".Example.com", ".deep.example.com", ".test"} })
	for handle, kind := range map[string]error{
		"":                                  ErrInvalidHandle,
		"alice":                             ErrInvalidHandle,
		".example.com":                      ErrInvalidHandle,
		"al.example.com":                    ErrInvalidHandle,
		"a-label-of-19-chars.example.com":   ErrInvalidHandle,
		"alice.bob.example.com":             ErrInvalidHandle,
		"al_ice.example.com":                ErrInvalidHandle,
		"-alice.example.com":                ErrInvalidHandle,
		"alice-.example.com":                ErrInvalidHandle,
		"алиса.example.com":                 ErrInvalidHandle,
		"alice.example.com.":                ErrInvalidHandle,
		"alice.example.com/..":              ErrInvalidHandle,
		"alice@example.com":                 ErrInvalidHandle,
		"@alice.example.com":                ErrInvalidHandle,
		" alice.example.com":                ErrInvalidHandle,
		"alice.example.com\n":               ErrInvalidHandle,
		"handle.invalid":                    ErrInvalidHandle,
		"alice.local":                       ErrInvalidHandle,
		"alice.localhost":                   ErrInvalidHandle,
		"alice.internal":                    ErrInvalidHandle,
		"alice.example":                     ErrInvalidHandle,
		"alice.onion":                       ErrInvalidHandle,
		"alice.arpa":                        ErrInvalidHandle,
		"alice.alt":                         ErrInvalidHandle,
		strings.Repeat("a.", 122) + "a.com": ErrInvalidHandle,
		"admin.example.com":                 ErrHandleNotAvailable,
		"ADMIN.example.com":                 ErrHandleNotAvailable,
		"support.deep.example.com":          ErrHandleNotAvailable,
		"www.test":                          ErrHandleNotAvailable,
		"example.com":                       ErrUnsupportedDomain,
		"alice.example.org":                 ErrUnsupportedDomain,
		"alice.notexample.com":              ErrUnsupportedDomain,
	} {
		t.Run(handle, func(t *testing.T) {
			_, err := w.CheckHandle(context.Background(), handle, "", false)
			want(t, kind, err)
		})
	}
	for handle, normal := range map[string]syntax.Handle{
		"Alice.Example.COM":              "alice.example.com",
		"abc.example.com":                "abc.example.com",
		"a-label-of-18-char.example.com": "a-label-of-18-char.example.com",
		"alice.deep.example.com":         "alice.deep.example.com",
		"007.example.com":                "007.example.com",
		"alice.test":                     "alice.test",
	} {
		if got, err := w.CheckHandle(context.Background(), handle, "", false); err != nil || got != normal {
			t.Errorf("%s: %q, %v", handle, got, err)
		}
	}
	if _, err := w.CheckHandle(context.Background(), "admin.example.com", "", true); err != nil {
		t.Errorf("the operator may give reserved names: %v", err)
	}
	for _, c := range []struct {
		allow bool
		want  error
	}{{false, ErrInvalidHandle}, {true, nil}} {
		s := New(Options{AllowTest: c.allow})
		if _, err := s.NormalizeHandle("alice.test"); (err == nil) != (c.want == nil) {
			t.Errorf(".test with AllowTest %v: %v", c.allow, err)
		}
	}
}

func TestReservedNames(t *testing.T) {
	if len(reservedNames) < 300 {
		t.Fatalf("only %d names", len(reservedNames))
	}
	for name := range reservedNames {
		if _, err := syntax.ParseHandle(name + ".example.com"); err != nil || len(name) < minLabel || len(name) > maxLabel || name != strings.ToLower(name) {
			t.Errorf("%q can never be asked for", name)
		}
	}
}

func TestNormalizeEmail(t *testing.T) {
	for _, bad := range []string{
		"", " ", "alice", "alice@", "@example.org", "alice@localhost", "alice@example", "alice@.org", "alice@example..org", "alice@-example.org",
		"alice@example.org.", "a b@example.org", `"a b"@example.org`, "alice@example.org,bob@example.org", "Alice <alice@example.org>",
		"alice@exam ple.org", "alice@example.org\r\nBcc: x@example.org", "alice(comment)@example.org", "alice@[127.0.0.1]", "a@b@example.org",
		strings.Repeat("a", 65) + "@example.org", "alice@" + strings.Repeat("a", 64) + ".org", "alice@" + strings.Repeat("a.", 130) + "org", "alice@exa_mple.org",
		"al\u200bice@example.org", "alice@exam\u00adple.org", "\u202eecila@example.org", "alice\u2066@example.org",
	} {
		if got, err := NormalizeEmail(bad); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
	for raw, normal := range map[string]string{
		"Alice@Example.ORG": "alice@example.org", " a+b.c@mail.example.org ": "a+b.c@mail.example.org", "o'neil@example.ie": "o'neil@example.ie",
		"x@xn--bcher-kva.example": "x@xn--bcher-kva.example", "jürgen@bücher.example": "jürgen@bücher.example",
	} {
		if got, err := NormalizeEmail(raw); err != nil || got != normal {
			t.Errorf("%q: %q, %v", raw, got, err)
		}
	}
}

func raw(items ...string) []json.RawMessage {
	out := make([]json.RawMessage, len(items))
	for i, s := range items {
		out[i] = json.RawMessage(s)
	}
	return out
}

func texts(items []json.RawMessage) string {
	var out []string
	for _, i := range items {
		out = append(out, string(i))
	}
	return strings.Join(out, " ")
}

const (
	adultPref = `{"$type":"app.bsky.actor.defs#adultContentPref","enabled":false}`
	birthPref = `{"$type":"app.bsky.actor.defs#personalDetailsPref","birthDate":"2010-11-24T00:00:00.000Z"}`
	agePref   = `{"$type":"app.bsky.actor.defs#declaredAgePref","isOverAge13":true,"isOverAge16":false,"isOverAge18":false}`
)

func TestPreferences(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	id := w.person().Account.ID
	if got, err := w.Preferences(ctx, id, true); err != nil || got == nil || len(got) != 0 {
		t.Fatalf("%v, %v", got, err)
	}
	for name, bad := range map[string]string{
		"no type": `{"enabled":true}`, "empty type": `{"$type":""}`, "type a number": `{"$type":1}`, "null": `null`, "list": `[]`, "text": `"x"`, "broken": `{`,
		"namespace": `{"$type":"com.example.pref"}`, "namespace begins alike": `{"$type":"app.bskyx.pref"}`, "namespace only": `{"$type":"app.bsky"}`,
	} {
		want(t, ErrInvalidPreferences, w.PutPreferences(ctx, id, raw(adultPref, bad), true))
		if got, _ := w.Preferences(ctx, id, true); len(got) != 0 {
			t.Fatalf("%s: half a list was stored", name)
		}
	}
	want(t, ErrInvalidPreferences, w.PutPreferences(ctx, id, raw(birthPref), false))
	want(t, ErrInvalidPreferences, w.PutPreferences(ctx, id, make([]json.RawMessage, maxPreferences+1), true))
	want(t, ErrInvalidPreferences, w.PutPreferences(ctx, id, raw(`{"$type":"app.bsky.x","s":"`+strings.Repeat("x", maxPreferenceBytes)+`"}`), true))

	if err := w.PutPreferences(ctx, id, raw(birthPref, adultPref, `{"$type":"app.bsky.actor.defs#declaredAgePref","isOverAge18":true}`), true); err != nil {
		t.Fatal(err)
	}
	full, err := w.Preferences(ctx, id, true)
	if err != nil || texts(full) != birthPref+" "+adultPref+" "+agePref {
		t.Fatalf("full access sees %s, %v", texts(full), err)
	}
	app, err := w.Preferences(ctx, id, false)
	if err != nil || texts(app) != adultPref+" "+agePref {
		t.Fatalf("an app password sees %s, %v", texts(app), err)
	}
	if err := w.PutPreferences(ctx, id, nil, false); err != nil {
		t.Fatal(err)
	}
	if full, _ = w.Preferences(ctx, id, true); texts(full) != birthPref+" "+agePref {
		t.Fatalf("an app password took away the personal details: %s", texts(full))
	}
	if err := w.PutPreferences(ctx, id, nil, true); err != nil {
		t.Fatal(err)
	}
	if full, _ = w.Preferences(ctx, id, true); len(full) != 0 {
		t.Fatalf("%s", texts(full))
	}
}

func TestDeclaredAge(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for birth, years := range map[string]int{
		"2013-11-23": 13, "2013-11-24": 12, "2010-11-23T23:59:59Z": 16, "2010-11-24T00:00:00.000Z": 15, "2008-11-23": 18, "2008-11-24": 17, "2008-12-01": 17, "1900-01-01": 126,
	} {
		got := declaredAge([]byte(fmt.Sprintf(`{"birthDate":%q}`, birth)), now)
		expect := fmt.Sprintf(`{"$type":"app.bsky.actor.defs#declaredAgePref","isOverAge13":%v,"isOverAge16":%v,"isOverAge18":%v}`, years >= 13, years >= 16, years >= 18)
		if string(got) != expect {
			t.Errorf("%s: %s", birth, got)
		}
	}
	for _, bad := range []string{``, `{}`, `{"birthDate":"yesterday"}`, `{"birthDate":5}`} {
		if got := declaredAge([]byte(bad), now); got != nil {
			t.Errorf("%s: %s", bad, got)
		}
	}
}
