package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestAdmin(t *testing.T) {
	basic := func(userinfo string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(userinfo)) }
	for _, header := range []string{
		"", "Basic", "Basic ", "Basic !!", basic(""), basic("admin"), basic("admin:"), basic(":" + adminPassword),
		basic("Admin:" + adminPassword), basic("root:" + adminPassword), basic("admin:" + adminPassword + "x"), basic("admin:" + adminPassword[1:]),
		basic("admin:" + adminPassword + "\x00"), "Bearer " + adminPassword,
	} {
		w := newWorld(t)
		var h []string
		if header != "" {
			h = []string{header}
		}
		p, err := try(w.v.Admin(), h...)
		wantError(t, ErrAuthRequired, p, err)
	}
	w := newWorld(t)
	if p, err := try(w.v.Admin(), basic("admin:"+adminPassword)); err != nil || p.Kind != Admin {
		t.Fatalf("%+v, %v", p, err)
	}
	p, err := try(w.v.Admin(), basic("admin:"+adminPassword), basic("admin:"+adminPassword))
	wantError(t, ErrAuthRequired, p, err)

	w.v.opts.AdminPassword = ""
	p, err = try(w.v.Admin(), basic("admin:"))
	wantError(t, ErrAuthRequired, p, err)
}

func TestAdminGuesses(t *testing.T) {
	w := newWorld(t)
	ask := func(ip, password string) error {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = ip
		r.SetBasicAuth("admin", password)
		_, err := w.v.Admin()(context.Background(), r)
		return err
	}
	for range maxGuesses {
		if err := ask("192.0.2.1:1000", "guess"); !errors.Is(err, ErrAuthRequired) {
			t.Fatal(err)
		}
	}
	if err := ask("192.0.2.1:1001", adminPassword); !errors.Is(err, ErrRateLimit) {
		t.Fatalf("the right password after %d wrong ones: %v, want a refusal that tells nothing", maxGuesses, err)
	}
	if err := ask("192.0.2.2:1000", adminPassword); err != nil {
		t.Fatalf("another address: %v", err)
	}
	for i := range maxGuesses {
		_ = ask(fmt.Sprintf("[2001:db8:0:1::%x]:1000", i), "guess")
	}
	if err := ask("[2001:db8:0:1::ffff]:1000", adminPassword); !errors.Is(err, ErrRateLimit) {
		t.Fatalf("another address of the same /64: %v", err)
	}
	w.pass(guessWindow)
	if err := ask("192.0.2.1:1000", adminPassword); err != nil {
		t.Fatalf("after the window: %v", err)
	}
}

func TestGuessersAreBounded(t *testing.T) {
	g := newGuesses()
	now := time.Now()
	for i := range maxGuessers + 100 {
		g.failed(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), now)
	}
	if len(g.count) > maxGuessers {
		t.Fatalf("%d addresses remembered", len(g.count))
	}
}
