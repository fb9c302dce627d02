package store

import (
	"context"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/repo"
)

const postNSID = syntax.NSID("app.bsky.feed.post")

// testRepo is an account with a repository.
type testRepo struct {
	s   *Store
	id  AccountID
	did syntax.DID
	key *atcrypto.PrivateKeyK256
}

// testKey is one key for all tests; making keys is slow.
var testKey = sync.OnceValue(func() *atcrypto.PrivateKeyK256 {
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		panic(err)
	}
	return key
})

// newRepo makes an active account with an empty repository.
func newRepo(t testing.TB, s *Store, name string) *testRepo {
	t.Helper()
	return newRepoKey(t, s, name, testKey())
}

func newRepoKey(t testing.TB, s *Store, name string, key *atcrypto.PrivateKeyK256) *testRepo {
	t.Helper()
	r := &testRepo{s: s, did: syntax.DID("did:plc:" + name), key: key}
	d, err := repo.Start(r.did, repo.NextRev("", s.opts.Now(), 1), r.key)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(context.Background(), func(tx *Tx) error {
		a := Account{DID: r.did, Handle: syntax.Handle(name + ".test"), SigningKey: []byte("sealed"), SigningKeyDID: publicDIDKey(r.key)}
		if a.ID, err = tx.CreateAccount(context.Background(), a); err != nil {
			return err
		}
		r.id = a.ID
		return tx.InsertRepo(context.Background(), &a, d)
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *testRepo) commit(writes ...repo.Write) (*repo.Diff, error) {
	return r.s.Commit(context.Background(), CommitRequest{Account: r.id, DID: r.did, Key: r.key, Writes: writes})
}

func (r *testRepo) mustCommit(t testing.TB, writes ...repo.Write) *repo.Diff {
	t.Helper()
	d, err := r.commit(writes...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// write makes a write of a post with the text.
func write(action repo.Action, rkey, text string) repo.Write {
	return writeOf(action, postNSID, rkey, map[string]any{"$type": postNSID.String(), "text": text})
}

func writeOf(action repo.Action, collection syntax.NSID, rkey string, record map[string]any) repo.Write {
	w, err := repo.NewWrite(action, collection, syntax.RecordKey(rkey), record)
	if err != nil {
		panic(err)
	}
	return w
}

func create(rkey, text string) repo.Write { return write(repo.Create, rkey, text) }

func remove(rkey string) repo.Write {
	return repo.Write{Action: repo.Delete, Collection: postNSID, RKey: syntax.RecordKey(rkey)}
}

func publicDIDKey(key *atcrypto.PrivateKeyK256) string {
	pub, err := key.PublicKey()
	if err != nil {
		panic(err)
	}
	return pub.DIDKey()
}
