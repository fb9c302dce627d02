package es256

import (
	"crypto/elliptic"
	"crypto/sha256"
	"math/big"

	"filippo.io/nistec"
)

const (
	// windowBits is 8: with 7 a table has 227 KB, and a verification takes 2 µs more; with 9 it has 713 KB, for less than 1.
	windowBits = 8
	// rows are enough for numbers up to n/2.
	rows = 32
	// columns are as many as digits have absolute values other than 0.
	columns = 1 << (windowBits - 1)
)

// order is n, the number of points on the curve.
var order = elliptic.P256().Params().N

var half = new(big.Int).Rsh(order, 1)

// point is a key: its point on P-256, uncompressed as in SEC 1 section 2.3.3.
type point [65]byte

// table has at [i][j] the multiple (j+1)·2^(windowBits·i) of a key.
type table [rows][columns]nistec.P256Point

// newTable makes the table of a key. It is nil for what is not on the curve.
func newTable(key point) *table {
	base, err := nistec.NewP256Point().SetBytes(key[:])
	if err != nil {
		return nil
	}
	t := new(table)
	for i := range t {
		row := &t[i]
		row[0].Set(base)
		for j := 1; j < columns; j++ {
			if j%2 == 1 {
				row[j].Double(&row[j/2]) // cheaper than an addition
			} else {
				row[j].Add(&row[j-1], base)
			}
		}
		base.Double(&row[columns-1])
	}
	return t
}

// verify is the package comment's check of a signature. False may also mean that it does not know.
func (t *table) verify(digest [sha256.Size]byte, r, s *big.Int) bool {
	if r.Sign() <= 0 || s.Sign() <= 0 || r.Cmp(order) >= 0 || s.Cmp(order) >= 0 {
		return false
	}
	inverse := new(big.Int).ModInverse(s, order)
	u1 := new(big.Int).SetBytes(digest[:])
	u1.Mod(u1.Mul(u1, inverse), order)
	u2 := inverse.Mul(r, inverse)
	u2.Mod(u2, order)
	if u2.Cmp(half) > 0 { // -R has the same x, and smaller numbers
		u1.Sub(order, u1)
		u2.Sub(order, u2)
	}

	var scalar [32]byte
	sum, err := nistec.NewP256Point().ScalarBaseMult(u1.FillBytes(scalar[:]))
	if err != nil {
		return false
	}
	t.addMultiple(sum, u2.FillBytes(scalar[:]))
	x, err := sum.BytesX()
	if err != nil {
		return false // the point at infinity
	}
	got := new(big.Int).SetBytes(x) // x is less than p, which is greater than n
	return got.Mod(got, order).Cmp(r) == 0
}

// addMultiple adds to sum the key's multiple by the scalar, which is at most n/2 and has 32 bytes, the most significant first.
func (t *table) addMultiple(sum *nistec.P256Point, scalar []byte) {
	// The entries are fetched all together, so that the processor waits for its memory once, not before each addition.
	var terms [rows]nistec.P256Point
	n, carry := 0, 0
	for i := range t {
		digit := int(scalar[rows-1-i]) + carry
		carry = 0
		if digit > columns {
			digit, carry = digit-1<<windowBits, 1
		}
		switch {
		case digit > 0:
			terms[n].Set(&t[i][digit-1])
			n++
		case digit < 0:
			terms[n].Negate(&t[i][-digit-1])
			n++
		}
	}
	for i := range terms[:n] {
		sum.Add(sum, &terms[i])
	}
}
