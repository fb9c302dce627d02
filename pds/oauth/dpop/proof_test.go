package dpop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

type signer struct {
	key  *ecdsa.PrivateKey
	head string
}

func newSigner(t testing.TB) *signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding
	pub, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	head := fmt.Sprintf(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`,
		b64.EncodeToString(pub[1:33]), b64.EncodeToString(pub[33:]))
	return &signer{key, b64.EncodeToString([]byte(head))}
}

func (s *signer) proof(claims map[string]any) string {
	raw, _ := json.Marshal(claims)
	input := s.head + "." + base64.RawURLEncoding.EncodeToString(raw)
	sum := sha256.Sum256([]byte(input))
	r, t, _ := ecdsa.Sign(rand.Reader, s.key, sum[:])
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	t.FillBytes(sig[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// TestAddressesInProofs: those that mean the same are the same, and no others.
func TestAddressesInProofs(t *testing.T) {
	now := time.Now()
	s, here := newSigner(t), New([]byte("secret"), func() time.Time { return now })
	r := Request{Method: "GET", URL: "https://pds.example.com/a"}
	proof := func(url string) string {
		return s.proof(map[string]any{"jti": url, "htm": "GET", "htu": url, "iat": now.Unix(), "nonce": here.Nonce()})
	}
	for _, url := range []string{"https://pds.example.com:443/a", "HTTPS://PDS.example.com/a", "https://pds.example.com/a?b=c", "https://pds.example.com/a#b"} {
		if _, err := here.Verify(proof(url), r); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{"https://pds.example.com:444/a", "https://pds.example.com/A", "https://pds.example.com/%61", "https://pds.example.com/a/", "https://pds.example.com"} {
		if _, err := here.Verify(proof(url), r); !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestProofsEndWithTheProcess: which ones were used is not known after a restart, so none of before is good then.
func TestProofsEndWithTheProcess(t *testing.T) {
	s, before, after := newSigner(t), New([]byte("secret"), nil), New([]byte("secret"), nil)
	r := Request{Method: "GET", URL: "https://pds.example.com/a"}
	proof := s.proof(map[string]any{"jti": "1", "htm": r.Method, "htu": r.URL, "iat": time.Now().Unix(), "nonce": before.Nonce()})
	if _, err := before.Verify(proof, r); err != nil {
		t.Fatal(err)
	}
	if _, err := after.Verify(proof, r); !errors.Is(err, ErrNonce) {
		t.Errorf("a proof that was used before the restart: %v", err)
	}
}

// TestStrangersFillTheirOwnMemory: proofs that anybody can make take no room from those of people who have let an app in.
func TestStrangersFillTheirOwnMemory(t *testing.T) {
	v, s := New([]byte("secret"), nil), newSigner(t)
	v.unbound.most, v.bound.most = 2, 2
	const url, token = "https://pds.example.com/a", "token"
	verify := func(id, token string) error {
		claims := map[string]any{"jti": id, "htm": "POST", "htu": url, "iat": time.Now().Unix(), "nonce": v.Nonce()}
		if token != "" {
			sum := sha256.Sum256([]byte(token))
			claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
		}
		_, err := v.Verify(s.proof(claims), Request{Method: "POST", URL: url, Token: token})
		return err
	}
	for i := range 3 {
		if err := verify(fmt.Sprint(i), ""); (err == nil) != (i < 2) {
			t.Errorf("the proof of a stranger, no. %d: %v", i, err)
		}
	}
	if err := verify("a", token); err != nil {
		t.Errorf("there is no room for a token's proof: %v", err)
	}
}

// TestPaddedHeadersAreNotKept: a stranger's proofs do not fill the memory of keys with more than keys.
func TestPaddedHeadersAreNotKept(t *testing.T) {
	v, s := New([]byte("secret"), nil), newSigner(t)
	r := Request{Method: "GET", URL: "https://pds.example.com/a"}
	raw, _ := base64.RawURLEncoding.DecodeString(s.head)
	padded := append([]byte(`{"x":"`+strings.Repeat("x", 2000)+`",`), raw[1:]...)
	for i, head := range []string{s.head, base64.RawURLEncoding.EncodeToString(padded)} {
		s.head = head
		proof := s.proof(map[string]any{"jti": fmt.Sprint(i), "htm": r.Method, "htu": r.URL, "iat": time.Now().Unix(), "nonce": v.Nonce()})
		if _, err := v.Verify(proof, r); err != nil {
			t.Fatal(err)
		}
	}
	if len(v.keys.keys) != 1 {
		t.Errorf("%d headers are kept", len(v.keys.keys))
	}
}

// TestKeyThatSignsOften: from some proof on the signature is verified in another way (see es256), and still it must be right.
func TestKeyThatSignsOften(t *testing.T) {
	v, s, thief := New([]byte("secret"), nil), newSigner(t), newSigner(t)
	thief.head = s.head
	r := Request{Method: "GET", URL: "https://pds.example.com/a"}
	for i := range 200 {
		claims := map[string]any{"jti": fmt.Sprint(i), "htm": "GET", "htu": r.URL, "iat": time.Now().Unix(), "nonce": v.Nonce()}
		if _, err := v.Verify(thief.proof(claims), r); !errors.Is(err, ErrProof) {
			t.Fatalf("%d, of another key: %v", i, err)
		}
		if _, err := v.Verify(s.proof(claims), r); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	v, s := New([]byte("secret"), nil), newSigner(b)
	r := Request{Method: "POST", URL: "https://pds.example.com/xrpc/com.atproto.repo.createRecord", Token: "token-of-some-length-token-of-some-length"}
	sum := sha256.Sum256([]byte(r.Token))
	ath := base64.RawURLEncoding.EncodeToString(sum[:])
	i := 0
	var proofs []string
	for range 2000 {
		i++
		proofs = append(proofs, s.proof(map[string]any{"jti": fmt.Sprint("id-", i), "htm": r.Method, "htu": r.URL, "iat": time.Now().Unix(), "nonce": v.Nonce(), "ath": ath}))
	}
	i = 0
	for b.Loop() {
		if i%len(proofs) == 0 {
			v.bound.periods = nil
		}
		if _, err := v.Verify(proofs[i%len(proofs)], r); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// FuzzVerify: whatever comes as a proof is refused in words.
func FuzzVerify(f *testing.F) {
	s := newSigner(f)
	f.Add(s.proof(map[string]any{"jti": "a", "htm": "GET", "htu": "https://a.example.com/", "iat": 1}))
	f.Add("e30.e30.AAAA")
	f.Fuzz(func(t *testing.T, proof string) {
		v := New([]byte("secret"), nil)
		if jkt, err := v.Verify(proof, Request{Method: "GET", URL: "https://a.example.com/"}); err == nil {
			t.Fatalf("%q is a proof of %s", proof, jkt)
		}
	})
}
