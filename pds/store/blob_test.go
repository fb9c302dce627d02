package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo"
)

func testBlob(n byte) Blob {
	return Blob{CID: repo.BlobCIDOf([32]byte{n}), MimeType: "image/png", Size: int64(n) + 1}
}

// withBlobs is a write of a record that refers to the blobs.
func withBlobs(action repo.Action, rkey string, blobs ...Blob) repo.Write {
	list := make([]any, len(blobs))
	for i, b := range blobs {
		list[i] = map[string]any{"$type": "blob", "ref": map[string]any{"$link": b.CID.String()}, "mimeType": b.MimeType, "size": b.Size}
	}
	text, err := json.Marshal(map[string]any{"$type": postNSID.String(), "images": list})
	if err != nil {
		panic(err)
	}
	record, err := repo.ParseRecordJSON(text)
	if err != nil {
		panic(err)
	}
	return writeOf(action, postNSID, rkey, record)
}

func mustPutBlob(t *testing.T, r *testRepo, b Blob) Blob {
	t.Helper()
	out, err := r.s.PutBlob(context.Background(), r.id, b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// deletions drains the jobs that ask for bytes of blobs to go.
func deletions(t *testing.T, s *Store) (cids []string) {
	t.Helper()
	jobs, err := s.DueJobs(context.Background(), s.opts.Now().Add(time.Second), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		var p BlobJob
		if err := json.Unmarshal([]byte(j.Payload), &p); err != nil || j.Kind != JobDeleteBlob || p.DID == "" || p.Account == 0 {
			t.Fatalf("job %+v: %v", j, err)
		}
		cids = append(cids, p.CID)
		if err := s.FinishJob(context.Background(), j.ID); err != nil {
			t.Fatal(err)
		}
	}
	return cids
}

func TestBlobLife(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r := newRepo(t, s, "alice")
	one, two := testBlob(1), testBlob(2)
	if b := mustPutBlob(t, r, one); b.Referenced {
		t.Error("a fresh upload is public")
	}
	mustPutBlob(t, r, two)
	if cids, err := s.ListBlobs(ctx, r.id, "", cid.Undef, 10); err != nil || len(cids) != 0 {
		t.Errorf("private blobs are listed: %v, %v", cids, err)
	}
	first := r.mustCommit(t, withBlobs(repo.Create, "a", one), withBlobs(repo.Create, "b", one))
	if b, err := s.Blob(ctx, r.id, one.CID); err != nil || !b.Referenced {
		t.Errorf("referenced blob: %+v, %v", b, err)
	}
	r.mustCommit(t, withBlobs(repo.Create, "c", two))
	for since, want := range map[string]int{"": 2, first.Head.Commit.Rev.String(): 1} {
		if cids, err := s.ListBlobs(ctx, r.id, syntax.TID(since), cid.Undef, 10); err != nil || len(cids) != want {
			t.Errorf("blobs since %q: %v, %v; want %d", since, cids, err, want)
		}
	}
	page, _ := s.ListBlobs(ctx, r.id, "", cid.Undef, 1)
	rest, err := s.ListBlobs(ctx, r.id, "", page[0], 10)
	if err != nil || len(rest) != 1 || rest[0] == page[0] {
		t.Errorf("second page %v after %v, %v", rest, page, err)
	}
	r.mustCommit(t, remove("a"))
	if got := deletions(t, s); len(got) != 0 {
		t.Errorf("blob deleted while a record refers to it: %v", got)
	}
	r.mustCommit(t, withBlobs(repo.Update, "b"))
	if got := deletions(t, s); len(got) != 1 || got[0] != one.CID.String() {
		t.Errorf("deleted %v, want %s", got, one.CID)
	}
	if _, err := s.Blob(ctx, r.id, one.CID); !errors.Is(err, ErrNotFound) {
		t.Errorf("row of the deleted blob: %v", err)
	}
	mustCheck(t, s)
}

func TestBlobKeptByUpdate(t *testing.T) {
	s := openTest(t)
	r := newRepo(t, s, "alice")
	one, two := testBlob(1), testBlob(2)
	mustPutBlob(t, r, one)
	mustPutBlob(t, r, two)
	r.mustCommit(t, withBlobs(repo.Create, "a", one))
	r.mustCommit(t, withBlobs(repo.Update, "a", one, two))
	// One commit moves a blob from one record to another.
	r.mustCommit(t, withBlobs(repo.Update, "a", two), withBlobs(repo.Create, "b", one))
	if got := deletions(t, s); len(got) != 0 {
		t.Errorf("a blob in use was deleted: %v", got)
	}
	mustCheck(t, s)
}

func TestBlobRefused(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r, other := newRepo(t, s, "alice"), newRepo(t, s, "bob")
	b, foreign, hidden := testBlob(1), testBlob(2), testBlob(3)
	mustPutBlob(t, r, b)
	mustPutBlob(t, other, foreign)
	mustPutBlob(t, r, hidden)
	if err := s.Update(ctx, func(tx *Tx) error { return tx.SetBlobTakedown(ctx, r.id, hidden.CID, "mod") }); err != nil {
		t.Fatal(err)
	}
	size, mime := b, b
	size.Size++
	mime.MimeType = "text/html"
	for name, tt := range map[string]struct {
		blob Blob
		want error
	}{
		"never uploaded": {testBlob(9), ErrBlobNotFound},
		"of another":     {foreign, ErrBlobNotFound},
		"taken down":     {hidden, ErrBlobNotFound},
		"other size":     {size, ErrBlobSize},
		"other type":     {mime, ErrBlobType},
	} {
		if _, err := r.commit(withBlobs(repo.Create, "x", tt.blob)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	mustCheck(t, s)
}

func TestBlobTakedownStays(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r := newRepo(t, s, "alice")
	b := testBlob(1)
	mustPutBlob(t, r, b)
	r.mustCommit(t, withBlobs(repo.Create, "a", b))
	_ = s.Update(ctx, func(tx *Tx) error { return tx.SetBlobTakedown(ctx, r.id, b.CID, "mod") })
	if cids, _ := s.ListBlobs(ctx, r.id, "", cid.Undef, 10); len(cids) != 0 {
		t.Error("a blob that is taken down is listed")
	}
	r.mustCommit(t, remove("a"))
	if n, err := s.SweepBlobs(ctx, s.opts.Now().Add(time.Hour), 10); err != nil || n != 0 {
		t.Errorf("swept %d, %v", n, err)
	}
	if got, err := s.Blob(ctx, r.id, b.CID); err != nil || got.TakedownRef != "mod" || got.Referenced {
		t.Errorf("%+v, %v; want the row to stay, private", got, err)
	}
	mustCheck(t, s)
}

func TestSweepBlobs(t *testing.T) {
	ctx := context.Background()
	now := time.Now()
	s := openTest(t, func(o *Options) { o.Now = func() time.Time { return now } })
	r := newRepo(t, s, "alice")
	for n := range byte(4) {
		mustPutBlob(t, r, testBlob(n))
	}
	r.mustCommit(t, withBlobs(repo.Create, "a", testBlob(0)))
	now = now.Add(time.Hour)
	mustPutBlob(t, r, testBlob(1)) // uploaded again: young again
	if n, err := s.SweepBlobs(ctx, now.Add(-time.Minute), 10); err != nil || n != 2 {
		t.Fatalf("swept %d, %v; want 2", n, err)
	}
	if got := deletions(t, s); fmt.Sprint(got) != fmt.Sprint([]string{testBlob(2).CID.String(), testBlob(3).CID.String()}) {
		t.Errorf("deleted %v", got)
	}
	mustCheck(t, s)
}

func TestMissingBlobs(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r := newRepo(t, s, "alice")
	req := CommitRequest{Account: r.id, DID: r.did, Key: r.key, AllowInactive: true,
		Writes: []repo.Write{withBlobs(repo.Create, "a", testBlob(1)), withBlobs(repo.Create, "b", testBlob(1), testBlob(2))}}
	if _, err := s.Commit(ctx, req); err != nil {
		t.Fatal(err)
	}
	missing, err := s.MissingBlobs(ctx, r.id, cid.Undef, 1)
	if err != nil || len(missing) != 1 || missing[0].Path != postNSID.String()+"/a" {
		t.Fatalf("missing %v, %v", missing, err)
	}
	if missing, err = s.MissingBlobs(ctx, r.id, missing[0].CID, 10); err != nil || len(missing) != 1 {
		t.Errorf("second page %v, %v", missing, err)
	}
	if b := mustPutBlob(t, r, testBlob(1)); !b.Referenced {
		t.Error("the blob that was waited for is private")
	}
	if st, err := s.BlobStats(ctx, r.id); err != nil || st != (BlobStats{Expected: 2, Imported: 1, Bytes: 2}) {
		t.Errorf("stats %+v, %v", st, err)
	}
	mustCheck(t, s)
}

func TestJobsAndSecrets(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	now := s.opts.Now()
	for i, at := range []time.Time{now.Add(time.Hour), now, now.Add(-time.Hour)} {
		if err := s.Update(ctx, func(tx *Tx) error { return tx.AddJob(ctx, "kind", fmt.Sprint(i), at) }); err != nil {
			t.Fatal(err)
		}
	}
	jobs, err := s.DueJobs(ctx, now, 10)
	if err != nil || len(jobs) != 2 || jobs[0].Payload != "2" || jobs[1].Payload != "1" {
		t.Fatalf("due %+v, %v", jobs, err)
	}
	if err := s.RetryJob(ctx, jobs[0].ID, now.Add(time.Minute), errors.New("no luck")); err != nil {
		t.Fatal(err)
	}
	if err := s.FinishJob(ctx, jobs[1].ID); err != nil {
		t.Fatal(err)
	}
	jobs, err = s.DueJobs(ctx, now.Add(2*time.Minute), 10)
	if err != nil || len(jobs) != 1 || jobs[0].Attempts != 1 || jobs[0].Error != "no luck" {
		t.Errorf("due later %+v, %v", jobs, err)
	}
	if _, err := s.Secret(ctx, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("no secret: %v", err)
	}
	for _, v := range []string{"one", "two"} {
		if err := s.SetSecret(ctx, "x", []byte(v)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Secret(ctx, "x"); err != nil || string(got) != v {
			t.Errorf("secret %q, %v; want %q", got, err, v)
		}
	}
}
