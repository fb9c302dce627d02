package repo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

func FuzzParseRecordJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":[1,2.0,-3e2,null,true,false,"x\u00e9\ud83d\ude00"]}`, `{"$type":"a.b.c","l":{"$link":"` + link + `"},"b":{"$bytes":"AAE"}}`,
		`{"b":{"$type":"blob","ref":{"$link":"` + blobLink + `"},"mimeType":"a/b","size":1}}`, post,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseRecordJSON(b)
		if err != nil {
			if !errors.Is(err, ErrInvalidRecord) {
				t.Fatal(err)
			}
			return
		}
		cbor, err := EncodeRecord(m)
		if errors.Is(err, ErrTooLarge) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		sameData(t, cbor, m)
	})
}

func FuzzDecodeRecord(f *testing.F) {
	for _, s := range []string{"a0", "a1616100", "a16161" + strings.ReplaceAll(hexLink, " ", ""), "a2616283f4f5f662616144deadbeef", "a1646c69737483012018ff"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checked := CheckDRISL(b, RecordLimits())
		m, err := DecodeRecord(b)
		if err == nil && checked != nil {
			t.Fatalf("decoded what is not canonical: %v", checked)
		}
		text, jsonErr := AppendJSON(nil, b)
		if (jsonErr == nil) != (checked == nil) {
			t.Fatalf("check says %v, JSON says %v", checked, jsonErr)
		}
		if err != nil {
			return
		}
		again, err := EncodeRecord(m)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("encoded %x, %v, was %x", again, err, b)
		}
		if parsed, err := ParseRecordJSON(text); err == nil {
			if again, err := EncodeRecord(parsed); err != nil || !bytes.Equal(again, b) {
				t.Fatalf("by way of JSON %s: %x, %v, was %x", text, again, err, b)
			}
		}
	})
}

func FuzzParseCommit(f *testing.F) {
	head, err := SignCommit(Commit{DID: did, Data: CIDOf(nil), Rev: "3lzzzzzzzzz2a"}, testKey(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(head.Block)
	f.Add(Commit{DID: "did:web:a", Data: CIDOf(nil), Rev: syntax.TID("3lzzzzzzzzz2a"), Prev: CIDOf(nil), Sig: make([]byte, 64)}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCommit(b)
		if err != nil {
			if !errors.Is(err, ErrCommit) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(c.Encode(), b) {
			t.Fatal("not canonical")
		}
	})
}

func FuzzReadCAR(f *testing.F) {
	f.Add(carOf([]cid.Cid{CIDOf(nil)}))
	f.Add(carOf([]cid.Cid{CIDOf([]byte{0xa0})}, []byte{0xa0}, []byte{0x80}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := ReadCAR(bytes.NewReader(b), EventCARLimits(), func(b Block) error {
			if !hashes(b.CID, b.Data) {
				t.Fatal("wrong hash")
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrCAR) {
			t.Fatal(err)
		}
	})
}

// unsigned is a key whose signatures are worth nothing but cost nothing.
type unsigned struct{ atcrypto.PrivateKey }

func (unsigned) HashAndSign([]byte) ([]byte, error) { return make([]byte, sigLen), nil }

// FuzzVerifyCommit gives hostile trees a valid commit: the bytes are cut into blocks, whatever they
// hash to, the first of which is the root of the tree.
func FuzzVerifyCommit(f *testing.F) {
	key := unsigned{}
	a := newAccount(f)
	a.key = key
	for i := range 20 {
		a.commit(record(f, Create, fmt.Sprintf("a.b.c/k%d", i), "x"))
	}
	d := a.commit(record(f, Delete, "a.b.c/k3", ""), record(f, Create, "a.b.c/k30", "x"))
	var seed []byte
	if _, err := ReadCAR(bytes.NewReader(d.CAR), EventCARLimits(), func(b Block) error {
		if b.CID != d.Head.CID {
			seed = append(binary.BigEndian.AppendUint16(seed, uint16(len(b.Data))), b.Data...)
		}
		return nil
	}); err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		var blocks [][]byte
		for len(b) >= 2 {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
			blocks = append(blocks, b[2:2+n])
			b = b[2+n:]
		}
		if len(blocks) == 0 {
			return
		}
		head, err := SignCommit(Commit{DID: did, Data: CIDOf(blocks[0]), Rev: d.Head.Commit.Rev}, key)
		if err != nil {
			t.Fatal(err)
		}
		e := d.Event()
		e.Commit, e.Blocks = head.CID, carOf([]cid.Cid{head.CID}, append(blocks, head.Block)...)
		if _, err := VerifyCommit(e, nil); err == nil && head.Commit.Data != d.Head.Commit.Data {
			t.Fatal("accepted another tree")
		}
	})
}
