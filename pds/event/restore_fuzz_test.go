package event

import (
	"bytes"
	"testing"

	"github.com/bluesky-social/indigo/api/atproto"
	cbg "github.com/whyrusleeping/cbor-gen"
)

// FuzzRestore: whatever a payload is, its frame is refused or says the same as it did, with the seq and the time added.
func FuzzRestore(f *testing.F) {
	for _, m := range []cbg.CBORMarshaler{
		&atproto.SyncSubscribeRepos_Identity{Did: "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", Time: "x", Seq: 7},
		&atproto.SyncSubscribeRepos_Account{Did: "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", Active: true},
		&atproto.SyncSubscribeRepos_Sync{Did: "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", Rev: "3n3fsblq56ls3", Blocks: []byte{1}},
		&atproto.SyncSubscribeRepos_Commit{Repo: "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", Rev: "3n3fsblq56ls3", Ops: []*atproto.SyncSubscribeRepos_RepoOp{{Action: "delete", Path: "a/b"}}},
	} {
		var b bytes.Buffer
		if m.MarshalCBOR(&b) == nil {
			f.Add(b.Bytes())
		}
	}
	const seq, at = 1 << 40, "2026-11-28T12:00:00.000Z"
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, kind := range []Kind{Commit, Sync, Identity, Account} {
			frame, err := Restore(kind, payload, seq, at)
			if err != nil {
				continue
			}
			body, ok := bytes.CutPrefix(frame, Header(kind))
			if !ok {
				t.Fatalf("#%s: another header", kind)
			}
			msg, _ := message(kind)
			if err := msg.UnmarshalCBOR(bytes.NewReader(body)); err != nil {
				t.Fatalf("#%s: the frame cannot be read: %v", kind, err)
			}
			before, _ := readFields(payload)
			after, err := readFields(body)
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range before {
				if name != "seq" && name != "time" && !bytes.Equal(after[name], value) {
					t.Errorf("#%s: %s was %x and is %x", kind, name, value, after[name])
				}
			}
			var want bytes.Buffer
			if err := cbg.CborInt(seq).MarshalCBOR(&want); err != nil || !bytes.Equal(after["seq"], want.Bytes()) {
				t.Errorf("#%s: seq is %x", kind, after["seq"])
			}
		}
	})
}
