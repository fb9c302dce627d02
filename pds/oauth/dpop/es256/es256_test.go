package es256

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// signer is a key with one signature of its own.
type signer struct {
	key    *ecdsa.PrivateKey
	id     point
	digest [sha256.Size]byte
	sig    []byte
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{key: key, id: point(raw), digest: sha256.Sum256(raw), sig: make([]byte, SignatureSize)}
	r, x, err := ecdsa.Sign(rand.Reader, key, s.digest[:])
	if err != nil {
		t.Fatal(err)
	}
	r.FillBytes(s.sig[:32])
	x.FillBytes(s.sig[32:])
	return s
}

// sign has the signature verified n times.
func (s *signer) sign(t testing.TB, v *Verifier, n int) {
	t.Helper()
	for range n {
		if !v.Verify(&s.key.PublicKey, s.digest, s.sig) {
			t.Fatal("a right signature is refused")
		}
	}
}

// forge expects that changed signatures are refused.
func (s *signer) forge(t testing.TB, v *Verifier) {
	t.Helper()
	for _, i := range []int{0, 31, 32, 63} {
		sig := append([]byte(nil), s.sig...)
		sig[i] ^= 1
		if v.Verify(&s.key.PublicKey, s.digest, sig) {
			t.Fatal("a wrong signature is taken")
		}
	}
	if v.Verify(&s.key.PublicKey, sha256.Sum256(s.sig), s.sig) {
		t.Fatal("the signature of something else is taken")
	}
}

func (v *Verifier) has(s *signer) bool {
	v.tables.mu.Lock()
	defer v.tables.mu.Unlock()
	return v.tables.tables[s.id] != nil
}

// TestExample is that of RFC 7515, appendix A.3.
func TestExample(t *testing.T) {
	decode := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	q := append([]byte{4}, decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")...)
	q = append(q, decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")...)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), q)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"))
	sig := decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q")
	v := New(time.Now)
	for i := range 2 * tableAfter {
		if !v.Verify(key, digest, sig) {
			t.Fatalf("refused the %d. time", i+1)
		}
	}
	if v.Verify(key, digest, sig[1:]) || v.Verify(key, digest, append(sig, 0)) || v.Verify(key, digest, nil) {
		t.Error("a signature of another size is taken")
	}
}

func TestOtherKeys(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v, s := New(time.Now), newSigner(t)
	if v.Verify(&key.PublicKey, s.digest, s.sig) {
		t.Error("a key on another curve is taken")
	}
	if v.Verify(&ecdsa.PublicKey{Curve: elliptic.P256(), X: number(1), Y: number(1)}, s.digest, s.sig) {
		t.Error("a key beside the curve is taken")
	}
	other := newSigner(t)
	s.sign(t, v, tableAfter)
	other.sign(t, v, tableAfter)
	if v.Verify(&s.key.PublicKey, other.digest, other.sig) || v.Verify(&other.key.PublicKey, s.digest, s.sig) {
		t.Error("a signature of another key is taken")
	}
}

func TestTableIsForWhoSigns(t *testing.T) {
	v, s, stranger := New(time.Now), newSigner(t), newSigner(t)
	for range tableAfter {
		stranger.forge(t, v)
	}
	if v.has(stranger) || len(v.tables.counts) != 0 {
		t.Error("wrong signatures count")
	}
	s.sign(t, v, tableAfter-1)
	if v.has(s) {
		t.Error("the table came too early")
	}
	s.forge(t, v)
	if v.has(s) {
		t.Error("a wrong signature counts")
	}
	s.sign(t, v, 1)
	if !v.has(s) || len(v.tables.counts) != 0 {
		t.Error("there is no table")
	}
	s.sign(t, v, 3)
	s.forge(t, v)
}

// TestLibraryDecides: a table that were wrong would lock nobody out.
func TestLibraryDecides(t *testing.T) {
	v, s, other := New(time.Now), newSigner(t), newSigner(t)
	v.tables.tables[s.id] = &entry{newTable(other.id), time.Now()}
	s.sign(t, v, 2)
	s.forge(t, v)
}

func TestTablesAreFew(t *testing.T) {
	var now time.Time
	v, first := New(func() time.Time { now = now.Add(time.Microsecond); return now }), newSigner(t)
	first.sign(t, v, tableAfter)
	var others []*signer
	for range maxTables + 3 {
		s := newSigner(t)
		s.sign(t, v, tableAfter)
		others = append(others, s)
		first.sign(t, v, 1) // stays in use
	}
	if n := len(v.tables.tables); n != maxTables {
		t.Errorf("there are %d tables", n)
	}
	if !v.has(first) {
		t.Error("a table in use went")
	}
	for i, s := range others {
		if v.has(s) != (i >= 4) {
			t.Errorf("%d: the table that was used least recently must go", i)
		}
	}
}

// TestBusyTablesStay: a key that is not busier than those with tables gets none, and is taken all the same.
func TestBusyTablesStay(t *testing.T) {
	var now time.Time
	v, newcomer := New(func() time.Time { now = now.Add(time.Microsecond); return now }), newSigner(t)
	busy := make([]*signer, maxTables)
	for i := range busy {
		busy[i] = newSigner(t)
		busy[i].sign(t, v, tableAfter)
	}
	for range 2 * tableAfter {
		newcomer.sign(t, v, 1)
		for _, s := range busy {
			s.sign(t, v, 1)
		}
	}
	for i, s := range busy {
		if !v.has(s) {
			t.Errorf("table %d went", i)
		}
	}
	newcomer.sign(t, v, 2*tableAfter)
	if !v.has(newcomer) || len(v.tables.tables) != maxTables {
		t.Error("the newcomer must have a table now")
	}
}

func TestCountedAreFew(t *testing.T) {
	v := New(time.Now)
	for range maxCounted + 10 {
		v.tables.signed(newSigner(t).id)
	}
	if n := len(v.tables.counts); n != maxCounted {
		t.Errorf("%d keys are counted", n)
	}
}

func TestTime(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	v, s, busy := New(func() time.Time { return now }), newSigner(t), newSigner(t)
	s.sign(t, v, tableAfter-1)
	now = now.Add(maxIdle)
	s.sign(t, v, 1)
	if v.has(s) {
		t.Error("a key that signs now and then has a table")
	}
	s.sign(t, v, tableAfter-1)
	busy.sign(t, v, tableAfter)
	if !v.has(s) || !v.has(busy) {
		t.Fatal("there is no table")
	}
	now = now.Add(maxIdle / 2)
	busy.sign(t, v, 1)
	now = now.Add(maxIdle / 2)
	busy.sign(t, v, 1)
	if v.has(s) || !v.has(busy) {
		t.Error("the table of the idle key must go, the other must stay")
	}
	s.sign(t, v, tableAfter)
	if !v.has(s) {
		t.Error("the table does not come back")
	}
}

// TestTogether: many use and make tables at the same time.
func TestTogether(t *testing.T) {
	v := New(time.Now)
	signers := make([]*signer, maxTables+4)
	for i := range signers {
		signers[i] = newSigner(t)
	}
	var made atomic.Int64
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2 * len(signers) {
				s := signers[(i*(g+1))%len(signers)]
				for range tableAfter / 3 {
					if !v.Verify(&s.key.PublicKey, s.digest, s.sig) {
						t.Error("a right signature is refused")
					}
				}
				if v.has(s) {
					made.Add(1)
				}
				sig := append([]byte(nil), s.sig...)
				sig[i%SignatureSize] ^= 4
				if v.Verify(&s.key.PublicKey, s.digest, sig) {
					t.Error("a wrong signature is taken")
				}
			}
		})
	}
	wg.Wait()
	if made.Load() == 0 || len(v.tables.tables) > maxTables {
		t.Errorf("%d times with a table, %d tables", made.Load(), len(v.tables.tables))
	}
}

func BenchmarkVerify(b *testing.B) {
	s := newSigner(b)
	b.Run("library", func(b *testing.B) {
		v := New(time.Now)
		for b.Loop() {
			delete(v.tables.counts, s.id)
			s.sign(b, v, 1)
		}
	})
	b.Run("table", func(b *testing.B) {
		v := New(time.Now)
		s.sign(b, v, tableAfter)
		for b.Loop() {
			s.sign(b, v, 1)
		}
	})
	b.Run("making a table", func(b *testing.B) {
		for b.Loop() {
			newTable(s.id)
		}
	})
}
