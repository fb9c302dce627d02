package mst

import (
	"fmt"
	"testing"

	"github.com/ipfs/go-cid"
)

func BenchmarkPut(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := records(n)
			tree := derive(b, m, 2)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				k := fmt.Sprintf("app.bsky.feed.post/3l%011d", (i*7919%n)*7+1)
				next := mustPut(b, tree, m, k, val(1))
				next.Root()
				next.Seal(2)
			}
		})
	}
}

func BenchmarkDerive(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := records(n)
			for b.Loop() {
				tree := derive(b, m, 2)
				b.ReportMetric(float64(tree.Size())/float64(n), "B/record")
			}
		})
	}
}

func BenchmarkExport(b *testing.B) {
	m := records(100_000)
	tree := derive(b, m, 2)
	body := make([]byte, 250)
	b.ReportAllocs()
	for b.Loop() {
		size, i := int64(0), 0
		err := tree.Export(m, func() (string, cid.Cid, []byte, error) {
			if i == len(m.keys) {
				return m.next0()
			}
			k := m.keys[i]
			i++
			return k, m.vals[k], body, nil
		}, func(_ cid.Cid, data []byte) error {
			size += int64(len(data))
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(size)
	}
}

func BenchmarkReadNode(b *testing.B) {
	m := records(1000)
	node := derive(b, m, 0).root.node.full().Data
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadNode(node); err != nil {
			b.Fatal(err)
		}
	}
}
