package mst

import (
	"bytes"
	"runtime"
	"testing"
)

// What an export holds of large records must not come to more than the records themselves.
func TestHeldBodiesAreHeldOnce(t *testing.T) {
	const n, size = 100, 200 << 10
	body := make([]byte, size)
	var x export
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var held [][]byte
	for i := range n {
		body[0], body[size-1] = byte(i), byte(i)
		held = append(held, x.hold(body), x.hold([]byte{byte(i), 1, 2}))
	}
	held = append(held, x.hold(nil))
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > n*size*2 {
		t.Errorf("to hold %d bytes took %d", n*size, got)
	}
	for i := range n {
		large, small := held[2*i], held[2*i+1]
		if len(large) != size || large[0] != byte(i) || large[size-1] != byte(i) || !bytes.Equal(small, []byte{byte(i), 1, 2}) {
			t.Fatalf("body %d was overwritten", i)
		}
	}
	if held[2*n] != nil {
		t.Error("a body that is left out is there")
	}
}
