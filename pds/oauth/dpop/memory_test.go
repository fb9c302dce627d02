package dpop

import "testing"

// TestForgottenProofsAreRefused: a proof that was looked at just before its nonce grew too old must not be taken after its period was forgotten.
func TestForgottenProofsAreRefused(t *testing.T) {
	u := usedProofs{most: 10}
	if !u.first(10, 10, "key", "1") || u.first(10+nonceAge, 10, "key", "1") {
		t.Fatal("a proof is taken once")
	}
	u.first(11+nonceAge, 11+nonceAge, "key", "2") // forgets period 10
	if u.first(11+nonceAge, 10, "key", "1") {
		t.Error("a used proof is taken again")
	}
}
