package oauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"syscall"
	"testing"
	"time"

	"perch/pds/auth"
	"perch/pds/oauth/oauthtest"
)

// BenchmarkAccess is what a request of an app costs before its method runs; the proof is another one each time. At its first use a key is known to nobody;
// when it is warm it has its table (see es256). Beside it stands the signature alone, as the library verifies it.
func BenchmarkAccess(b *testing.B) {
	w := newWorld(b)
	a := w.signIn(w.app())
	use(a, oauthtest.Change{}).OK() // the nonce
	type access struct {
		check auth.Access
		r     *http.Request
	}
	check := func(b *testing.B, next func() *auth.Verifier) {
		all := make([]access, b.N)
		for i := range all {
			verifier := next()
			r := httptest.NewRequest(http.MethodGet, w.url+resource, nil)
			r.Header.Set("Authorization", "DPoP "+a.Access)
			r.Header.Set("DPoP", a.Proof(http.MethodGet, w.url+resource, a.Access, oauthtest.Change{}))
			all[i] = access{verifier.With(auth.SignedIn), r}
		}
		i := 0
		figures(b, func() error {
			i++
			_, err := all[i-1].check(context.Background(), all[i-1].r)
			return err
		})
	}
	b.Run("first use", func(b *testing.B) {
		check(b, func() *auth.Verifier {
			proofs := w.newProofs()
			a.Nonce = proofs.Nonce()
			return w.newVerifier(proofs)
		})
	})
	b.Run("warm", func(b *testing.B) {
		for range 100 {
			use(a, oauthtest.Change{}).OK()
		}
		check(b, func() *auth.Verifier { return w.verifier })
	})
	b.Run("signature alone", func(b *testing.B) {
		sum := sha256.Sum256([]byte("x"))
		r, s, err := ecdsa.Sign(rand.Reader, a.Key.Private, sum[:])
		if err != nil {
			b.Fatal(err)
		}
		figures(b, func() error {
			if !ecdsa.Verify(&a.Key.Private.PublicKey, sum[:], r, s) {
				return errors.New("wrong")
			}
			return nil
		})
	})
}

// figures runs do b.N times and reports beside the mean what a busy machine spoils less: the median, the lowest twentieth, and the CPU time.
func figures(b *testing.B, do func() error) {
	all := make([]time.Duration, b.N)
	b.ResetTimer()
	before := cpuTime(b)
	for i := range all {
		began := time.Now()
		if err := do(); err != nil {
			b.Fatal(err)
		}
		all[i] = time.Since(began)
	}
	used := cpuTime(b) - before
	b.StopTimer()
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2]), "p50-ns")
	b.ReportMetric(float64(all[len(all)/20]), "p5-ns")
	b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
