package auth

import (
	"context"
	"net/http"
	"testing"
)

func BenchmarkAccessToken(b *testing.B) {
	w := newWorld(b)
	_, tokens := w.person()
	header := "Bearer " + tokens.Access
	a := w.v.Standard()
	b.Run("cached", func(b *testing.B) {
		for b.Loop() {
			if _, err := try(a, header); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("first use", func(b *testing.B) {
		for b.Loop() {
			if _, err := w.v.verifySession(tokens.Access, typeAccess); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("request only", func(b *testing.B) {
		none := func(ctx context.Context, _ *http.Request) (context.Context, error) { return ctx, nil }
		for b.Loop() {
			_, _ = try(none, header)
		}
	})
}

func BenchmarkServiceToken(b *testing.B) {
	key := newKey(b)
	for b.Loop() {
		if _, err := ServiceToken(key, ServiceClaims{Issuer: stranger, Audience: serviceDID, Method: create}); err != nil {
			b.Fatal(err)
		}
	}
}
