package repo

import (
	"fmt"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/repo/mst"
)

const post = `{"$type":"app.bsky.feed.post","text":"What a day! Here is a longer text, with “quotes”, an emoji 😀 and a link example.com/page","createdAt":"2026-09-01T12:34:56.789Z","langs":["en"],"reply":{"root":{"cid":"bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a","uri":"at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/3laaaaaaaaa2a"},"parent":{"cid":"bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a","uri":"at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/3laaaaaaaaa2a"}},"facets":[{"index":{"byteStart":70,"byteEnd":86},"features":[{"$type":"app.bsky.richtext.facet#link","uri":"https://example.com/page"}]}]}`

const shortPost = `{"$type":"app.bsky.feed.post","text":"What a day! Here is a text of medium length for a post.","createdAt":"2026-09-01T12:34:56.789Z","langs":["en"]}`

func BenchmarkJSONToCBOR(b *testing.B) {
	for name, s := range map[string]string{"short": shortPost, "long": post} {
		b.Run(name, func(b *testing.B) {
			text := []byte(s)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				m, err := ParseRecordJSON(text)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := EncodeRecord(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	m, err := ParseRecordJSON([]byte(post))
	if err != nil {
		b.Fatal(err)
	}
	cbor, err := EncodeRecord(m)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(cbor)))
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		if buf, err = AppendJSON(buf[:0], cbor); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckDRISL(b *testing.B) {
	m, _ := ParseRecordJSON([]byte(post))
	cbor, _ := EncodeRecord(m)
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckDRISL(cbor, RecordLimits()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a := newAccount(b)
			for i := range n {
				p := fmt.Sprintf("app.bsky.feed.post/3l%011d", i*7)
				a.paths = append(a.paths, p)
				a.bodies[p] = []byte{0xa0}
			}
			tree, err := mst.Derive(a, 2)
			if err != nil {
				b.Fatal(err)
			}
			head, err := SignCommit(Commit{DID: did, Data: tree.Root(), Rev: a.rev()}, a.key)
			if err != nil {
				b.Fatal(err)
			}
			a.head, a.tree = &head, tree
			w := record(b, Create, "app.bsky.feed.post/3l00000000001", "hello")
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				w.RKey = syntax.RecordKey(fmt.Sprintf("3l%011d", (i*7919%n)*7+1))
				i++
				if _, err := a.apply(w); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerifyCommit(b *testing.B) {
	a := newAccount(b)
	for i := range 300 {
		a.commit(record(b, Create, fmt.Sprintf("app.bsky.feed.post/3l%d", i), "hello"))
	}
	d := a.commit(record(b, Create, "app.bsky.feed.post/3lx", "hello"))
	pub := publicKey(b, a.key)
	for b.Loop() {
		if _, err := VerifyCommit(d.Event(), pub); err != nil {
			b.Fatal(err)
		}
	}
}
