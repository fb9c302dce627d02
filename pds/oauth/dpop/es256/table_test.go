package es256

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"testing"

	"filippo.io/nistec"
)

// The tests compare table.verify with crypto/ecdsa. What leads it into the corners of the calculation are signatures made backwards, from u1 and u2, and
// their arithmetic is not that of the table.

func number(n int64) *big.Int { return big.NewInt(n) }

func mod(x *big.Int) *big.Int { return new(big.Int).Mod(x, order) }

func times(x, y *big.Int) *big.Int { return mod(new(big.Int).Mul(x, y)) }

func plus(x, y *big.Int) *big.Int { return mod(new(big.Int).Add(x, y)) }

func minus(x *big.Int) *big.Int { return mod(new(big.Int).Neg(x)) }

func power(bits uint) *big.Int { return new(big.Int).Lsh(number(1), bits) }

func random(t testing.TB) *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Sub(order, number(1)))
	if err != nil {
		t.Fatal(err)
	}
	return n.Add(n, number(1))
}

func bytesOf(x *big.Int) []byte { return x.FillBytes(make([]byte, 32)) }

// multiple is x·G.
func multiple(t testing.TB, x *big.Int) *nistec.P256Point {
	p, err := nistec.NewP256Point().ScalarBaseMult(bytesOf(mod(x)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// pair is a key with its table.
type pair struct {
	public *ecdsa.PublicKey
	table  *table
}

func newPair(t testing.TB, q *nistec.P256Point) pair {
	t.Helper()
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), q.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return pair{key, newTable(point(q.Bytes()))}
}

// same fails when table and library are of different opinions, and returns theirs.
func (p pair) same(t testing.TB, e, r, s *big.Int) bool {
	t.Helper()
	digest := bytesOf(e)
	want := ecdsa.Verify(p.public, digest, r, s)
	if got := p.table.verify([32]byte(digest), r, s); got != want {
		t.Errorf("the table says %v: key %x %x, digest %x, r %x, s %x", got, p.public.X, p.public.Y, digest, r, s)
	}
	return want
}

// backwards makes the digest and the signature that have these u1 and u2 when R has the x coordinate.
func backwards(x, u1, u2 *big.Int) (e, r, s *big.Int) {
	r = mod(x)
	s = times(r, new(big.Int).ModInverse(u2, order))
	return times(u1, s), r, s
}

// scalars are those in which digits are at their extremes, or carries go far.
func scalars() map[string]*big.Int {
	all := map[string]*big.Int{
		"1": number(1), "2": number(2), "n-1": minus(number(1)), "n-2": minus(number(2)), "n/2": half, "n/2+1": plus(half, number(1)),
		"2^255": power(255), "2^256": mod(power(256)), "2^224-1": new(big.Int).Sub(power(224), number(1)),
	}
	for _, digit := range []int64{1, columns - 1, columns, columns + 1, 2*columns - 1} {
		sum := new(big.Int)
		for i := range uint(rows) {
			one := new(big.Int).Lsh(number(digit), i*windowBits)
			sum.Add(sum, one)
			all[fmt.Sprintf("%d at %d", digit, i)] = mod(one)
			if sum.Cmp(order) < 0 {
				all[fmt.Sprintf("%d up to %d", digit, i)] = new(big.Int).Set(sum)
			}
		}
	}
	return all
}

func TestCornersOfScalars(t *testing.T) {
	keys := map[string]*big.Int{"G": number(1), "-G": minus(number(1)), "256G": number(1 << windowBits), "any": random(t)}
	all := scalars()
	for keyName, d := range keys {
		p := newPair(t, multiple(t, d))
		for name, u2 := range all {
			for _, u1 := range []*big.Int{new(big.Int), random(t), times(u2, d)} {
				R := multiple(t, plus(u1, times(u2, d)))
				x, err := R.BytesX()
				if err != nil {
					continue // the point at infinity, see TestInfinity
				}
				e, r, s := backwards(new(big.Int).SetBytes(x), u1, u2)
				if !p.same(t, e, r, s) {
					t.Errorf("%s, %s: the signature is not right", keyName, name)
				}
				if mathrand.IntN(8) == 0 {
					p.same(t, plus(e, number(1)), r, s)
					p.same(t, e, plus(r, number(1)), s)
					p.same(t, e, r, minus(s)) // right, too
				}
			}
		}
	}
}

// TestMeetingPoints: the sum before a row is the point to be added, its negative, or the point at infinity.
func TestMeetingPoints(t *testing.T) {
	d, u2 := random(t), random(t)
	if u2.Cmp(half) > 0 {
		u2.Sub(order, u2) // or it is not what is added up
	}
	p := newPair(t, multiple(t, d))
	before, rest := new(big.Int), new(big.Int).Set(u2)
	for i := range uint(rows) {
		digit := new(big.Int).And(rest, number(2*columns-1))
		if rest.Rsh(rest, windowBits); digit.Cmp(number(columns)) > 0 {
			digit.Sub(digit, number(2*columns))
			rest.Add(rest, number(1))
		}
		digit.Lsh(digit, i*windowBits)
		for name, meet := range map[string]*big.Int{"equal": digit, "opposite": new(big.Int).Neg(digit), "infinity": new(big.Int)} {
			u1 := times(new(big.Int).Sub(meet, before), d)
			x, err := multiple(t, plus(u1, times(u2, d))).BytesX()
			if err != nil {
				continue
			}
			if e, r, s := backwards(new(big.Int).SetBytes(x), u1, u2); !p.same(t, e, r, s) {
				t.Errorf("row %d, %s: the signature is not right", i, name)
			}
		}
		before.Add(before, digit)
	}
}

// TestInfinity: R is the point at infinity, which has no x coordinate, so no r is right.
func TestInfinity(t *testing.T) {
	for _, d := range []*big.Int{number(1), minus(number(1)), random(t)} {
		p := newPair(t, multiple(t, d))
		for _, u2 := range []*big.Int{number(1), number(columns), minus(number(1)), random(t)} {
			for _, x := range []*big.Int{number(1), number(2), minus(number(1)), random(t)} {
				if e, r, s := backwards(x, minus(times(u2, d)), u2); p.same(t, e, r, s) {
					t.Error("a signature without a point is right")
				}
			}
		}
	}
}

// TestGreatCoordinates: x may be n or more, and then r is x-n.
func TestGreatCoordinates(t *testing.T) {
	found := 0
	for k := int64(1); found < 5; k++ {
		x := new(big.Int).Add(order, number(k))
		R, err := nistec.NewP256Point().SetBytes(append([]byte{2}, bytesOf(x)...))
		if err != nil {
			continue // there is no such point
		}
		found++
		u1, u2 := random(t), random(t)
		// Q = (R - u1·G) / u2
		q := nistec.NewP256Point().Add(R, multiple(t, minus(u1)))
		if _, err := q.ScalarMult(q, bytesOf(new(big.Int).ModInverse(u2, order))); err != nil {
			t.Fatal(err)
		}
		p := newPair(t, q)
		e, r, s := backwards(x, u1, u2)
		if r.Cmp(number(k)) != 0 || !p.same(t, e, r, s) {
			t.Errorf("x = n+%d: the signature is not right", k)
		}
		if p.same(t, e, x, s) {
			t.Errorf("x = n+%d: r may be greater than n", k)
		}
	}
}

// TestRanges: r and s outside of their ranges, also those that are the same modulo n as what would be right.
func TestRanges(t *testing.T) {
	p := newPair(t, multiple(t, random(t)))
	most := new(big.Int).Sub(power(256), number(1))
	values := []*big.Int{
		new(big.Int), number(1), number(2), minus(number(1)), order, new(big.Int).Add(order, number(1)), elliptic.P256().Params().P, most,
	}
	for _, e := range values {
		for _, r := range values {
			for _, s := range values {
				p.same(t, e, r, s)
			}
		}
	}
	// Only small numbers have 32 bytes when n is added. So d is such that a small e goes with a small s.
	for _, s := range []*big.Int{number(1), number(77)} {
		k, e := random(t), number(5)
		x, err := multiple(t, k).BytesX()
		if err != nil {
			t.Fatal(err)
		}
		r := mod(new(big.Int).SetBytes(x))
		p := newPair(t, multiple(t, times(plus(times(s, k), minus(e)), new(big.Int).ModInverse(r, order))))
		if !p.same(t, e, r, s) || !p.same(t, new(big.Int).Add(e, order), r, s) {
			t.Error("the signature is not right")
		}
		if p.same(t, e, r, new(big.Int).Add(s, order)) || p.same(t, e, r, new(big.Int).Sub(s, order)) {
			t.Error("s may be out of range")
		}
	}
}

// TestFlippedBits: no bit of digest and signature can be changed.
func TestFlippedBits(t *testing.T) {
	signer := newSigner(t)
	p := pair{&signer.key.PublicKey, newTable(signer.id)}
	e, r, s := new(big.Int).SetBytes(signer.digest[:]), new(big.Int).SetBytes(signer.sig[:32]), new(big.Int).SetBytes(signer.sig[32:])
	if !p.same(t, e, r, s) {
		t.Error("the signature is not right")
	}
	for i := range 256 {
		for _, x := range []*big.Int{e, r, s} {
			x.SetBit(x, i, x.Bit(i)^1)
			if p.same(t, e, r, s) {
				t.Errorf("bit %d may be changed", i)
			}
			x.SetBit(x, i, x.Bit(i)^1)
		}
	}
}

// FuzzTable makes the signature that has u1 and u2 for the key d, changes it by mask, and compares.
func FuzzTable(f *testing.F) {
	one, flip := []byte{1}, make([]byte, 96)
	flip[95] = 1
	f.Add(one, one, one, []byte{})
	f.Add([]byte("a key"), []byte("some number"), []byte("another"), flip)
	n := bytesOf(minus(number(1)))
	f.Add(n, n, n, []byte{})
	f.Add(one, n, one, flip)
	pairs := map[string]pair{}
	f.Fuzz(func(t *testing.T, key, first, second, mask []byte) {
		d, u1, u2 := scalar(key), scalar(first), scalar(second)
		if d.Sign() == 0 || u2.Sign() == 0 || len(mask) > 96 {
			return
		}
		p, ok := pairs[d.String()]
		if !ok {
			if len(pairs) > 100 {
				clear(pairs)
			}
			p = newPair(t, multiple(t, d))
			pairs[d.String()] = p
		}
		x, err := multiple(t, plus(u1, times(u2, d))).BytesX()
		right := err == nil && new(big.Int).Mod(new(big.Int).SetBytes(x), order).Sign() != 0
		if err != nil {
			x = []byte{1}
		}
		e, r, s := backwards(new(big.Int).SetBytes(x), u1, u2)
		all := make([]byte, 96)
		e.FillBytes(all[:32])
		r.FillBytes(all[32:64])
		s.FillBytes(all[64:])
		changed := false
		for i, m := range mask {
			all[i] ^= m
			changed = changed || m != 0
		}
		got := p.same(t, new(big.Int).SetBytes(all[:32]), new(big.Int).SetBytes(all[32:64]), new(big.Int).SetBytes(all[64:]))
		if !changed && got != right {
			t.Errorf("the library says %v to what is %v", got, right)
		}
	})
}

func scalar(b []byte) *big.Int {
	if len(b) > 32 {
		b = b[:32]
	}
	return mod(new(big.Int).SetBytes(b))
}
