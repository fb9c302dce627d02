package oauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"testing"

	"perch/pds/auth"
	"perch/pds/oauth/oauthtest"
)

// BenchmarkAccess is what a request of an app costs before its method runs; the proof is another one each time. Beside it stands the one signature in it
// alone, which no cache can spare.
func BenchmarkAccess(b *testing.B) {
	w := newWorld(b)
	a := w.signIn(w.app())
	use(a, oauthtest.Change{}).OK() // the nonce
	requests := make([]*http.Request, 0, b.N)
	b.Run("check", func(b *testing.B) {
		for len(requests) < b.N {
			r := httptest.NewRequest(http.MethodGet, w.url+resource, nil)
			r.Header.Set("Authorization", "DPoP "+a.Access)
			r.Header.Set("DPoP", a.Proof(http.MethodGet, w.url+resource, a.Access, oauthtest.Change{}))
			requests = append(requests, r)
		}
		access := w.verifier.With(auth.SignedIn)
		b.ResetTimer()
		for i := range b.N {
			if _, err := access(context.Background(), requests[i]); err != nil {
				b.Fatal(err)
			}
		}
		requests = requests[:0] // they are used up
	})
	b.Run("signature alone", func(b *testing.B) {
		sum := sha256.Sum256([]byte("x"))
		r, s, err := ecdsa.Sign(rand.Reader, a.Key.Private, sum[:])
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if !ecdsa.Verify(&a.Key.Private.PublicKey, sum[:], r, s) {
				b.Fatal("wrong")
			}
		}
	})
}
