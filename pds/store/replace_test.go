package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/ipfs/go-cid"

	"perch/pds/event"
	"perch/repo"
	"perch/repo/mst"
)

// replacementOf makes a replacement of r's repository by the records of writes.
func (r *testRepo) replacementOf(t testing.TB, name string, writes ...repo.Write) Replacement {
	t.Helper()
	slices.SortFunc(writes, func(a, b repo.Write) int { return compareStrings(a.Path(), b.Path()) })
	tree, err := mst.Derive(writesSource(writes), 0)
	if err != nil {
		t.Fatal(err)
	}
	rev := repo.NextRev("", time.Now(), 3)
	if head, _, err := r.s.Head(context.Background(), r.id); err == nil {
		rev = repo.NextRev(head.Commit.Rev, time.Now(), 3)
	}
	head, err := repo.SignCommit(repo.Commit{DID: r.did, Data: tree.Root(), Rev: rev}, r.key)
	if err != nil {
		t.Fatal(err)
	}
	return Replacement{Name: name, Account: r.id, DID: r.did, Head: head, Records: recordsOf(writes), JobKind: "finish", JobPayload: name}
}

func compareStrings(a, b string) int {
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return 0
}

func recordsOf(writes []repo.Write) func(func(NewRecord) error) error {
	return func(yield func(NewRecord) error) error {
		for i := range writes {
			w := &writes[i]
			rec := NewRecord{Path: w.Path(), CID: w.CID, Body: w.Record, Subject: w.Subject}
			for _, b := range w.Blobs {
				rec.Blobs = append(rec.Blobs, b.CID)
			}
			if err := yield(rec); err != nil {
				return err
			}
		}
		return nil
	}
}

type writesSource []repo.Write

func (s writesSource) Scan(lo, hi string, yield func(string, cid.Cid) error) error {
	for i := range s {
		if err := yield(s[i].Path(), s[i].CID); err != nil {
			return err
		}
	}
	return nil
}

func (r *testRepo) deactivate(t testing.TB) {
	t.Helper()
	err := r.s.Update(context.Background(), func(tx *Tx) error {
		return tx.SetDeactivated(context.Background(), r.id, time.Now(), time.Time{})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// posts are n posts of which every third refers to a blob.
func posts(from, n int, text string) []repo.Write {
	var all []repo.Write
	for i := from; i < from+n; i++ {
		rkey := fmt.Sprintf("3k%011d", i)
		if i%3 == 0 {
			all = append(all, withBlob(rkey, blobOf(fmt.Sprint("blob ", i)), text))
			continue
		}
		all = append(all, create(rkey, fmt.Sprint(text, i)))
	}
	return all
}

func blobOf(content string) repo.BlobRef {
	return repo.BlobRef{CID: repo.BlobCIDOf(sha256.Sum256([]byte(content))), MimeType: "text/plain", Size: int64(len(content))}
}

func blobValue(ref repo.BlobRef) any {
	return atdata.Blob{Ref: atdata.CIDLink(ref.CID), MimeType: ref.MimeType, Size: ref.Size}
}

func withBlob(rkey string, ref repo.BlobRef, text string) repo.Write {
	return writeOf(repo.Create, postNSID, rkey, map[string]any{"$type": postNSID.String(), "text": text, "embed": blobValue(ref)})
}

func TestReplace(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r := newRepo(t, s, "alice")
	r.mustCommit(t, create("a", "stays"), create("b", "goes"), create("c", "changes"), writeOf(repo.Create, "app.bsky.feed.like", "x", map[string]any{"$type": "app.bsky.feed.like"}))
	r.deactivate(t)
	events := s.LastSeq()

	want := append(posts(0, 2500, "new"), create("a", "stays"), create("c", "changed"))
	stats, err := s.Replace(ctx, r.replacementOf(t, "one", want...))
	if err != nil {
		t.Fatal(err)
	}
	if stats.Records != 2502 {
		t.Errorf("%d records", stats.Records)
	}
	if s.LastSeq() != events {
		t.Error("the network was told of a repository that it does not follow")
	}
	for _, gone := range []string{"app.bsky.feed.post/b", "app.bsky.feed.like/x"} {
		if _, err := s.Record(ctx, r.id, gone); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", gone, err)
		}
	}
	if got, _ := s.Collections(ctx, r.id); !slices.Equal(got, append(got[:0:0], postNSID)) {
		t.Errorf("collections %v", got)
	}
	if due, _ := s.DueJobs(ctx, time.Now().Add(time.Hour), 10); len(due) != 0 {
		t.Errorf("jobs left: %v", due)
	}
	mustCheck(t, s)

	// The repository works on: the next commits build on what was put there.
	if err := s.Update(ctx, func(tx *Tx) error { return tx.SetDeactivated(ctx, r.id, time.Time{}, time.Time{}) }); err != nil {
		t.Fatal(err)
	}
	r.mustCommit(t, create("later", "one more"))
	if _, err := s.Replace(ctx, r.replacementOf(t, "two", want...)); !errors.Is(err, ErrActive) {
		t.Errorf("replacing the repository of an active account: %v", err)
	}
}

func TestReplaceShowsAndHidesBlobs(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r := newRepo(t, s, "alice")
	r.deactivate(t)
	before, after := blobOf("before"), blobOf("after")
	if _, err := s.PutBlob(ctx, r.id, Blob{CID: before.CID, MimeType: before.MimeType, Size: before.Size}); err != nil {
		t.Fatal(err)
	}
	old := r.replacementOf(t, "one", withBlob("a", before, "x"), withBlob("b", after, "x"))
	if _, err := s.Replace(ctx, old); err != nil {
		t.Fatal(err)
	}
	missing, err := s.MissingBlobs(ctx, r.id, cid.Undef, 10)
	if err != nil || len(missing) != 1 || missing[0].CID != after.CID {
		t.Errorf("missing %v, %v", missing, err)
	}
	b, err := s.PutBlob(ctx, r.id, Blob{CID: after.CID, MimeType: after.MimeType, Size: after.Size})
	if err != nil || !b.Referenced {
		t.Errorf("an upload that a record waits for is not public: %+v, %v", b, err)
	}
	if _, err := s.Replace(ctx, r.replacementOf(t, "two", withBlob("b", after, "x"))); err != nil {
		t.Fatal(err)
	}
	if b, _ := s.Blob(ctx, r.id, before.CID); b.Referenced {
		t.Error("a blob that no record refers to any more is public")
	}
	mustCheck(t, s)
}

// What is cut off between the switch and the end can be neither read nor written, and is brought to its end by the same call.
func TestReplaceResumes(t *testing.T) {
	ctx := context.Background()
	for cut := range 4 {
		t.Run(fmt.Sprint("chunk ", cut), func(t *testing.T) {
			s := openTest(t)
			r := newRepo(t, s, "alice")
			r.mustCommit(t, create("a", "one"), create("b", "two"))
			r.deactivate(t)
			repl := r.replacementOf(t, "one", append(posts(0, 2500, "new"), create("b", "other"))...)
			errCut, n := errors.New("cut"), 0
			failAt := func(fn func(step string) error) { // set where the writer reads it
				_ = s.Update(ctx, func(*Tx) error { s.failAt = fn; return nil })
			}
			failAt(func(step string) error {
				if step == "chunk replaced" {
					if n++; n > cut {
						return errCut
					}
				}
				return nil
			})
			_, err := s.Replace(ctx, repl)
			failAt(nil)
			if cut == 3 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, errCut) {
				t.Fatal(err)
			}
			if _, _, err := s.Head(ctx, r.id); !errors.Is(err, ErrReplacing) {
				t.Errorf("head of half a repository: %v", err)
			}
			if _, err := s.Snapshot(ctx, r.id); !errors.Is(err, ErrReplacing) {
				t.Errorf("snapshot of half a repository: %v", err)
			}
			_, err = s.Commit(ctx, CommitRequest{Account: r.id, DID: r.did, Key: r.key, AllowInactive: true, Writes: []repo.Write{create("z", "z")}})
			if !errors.Is(err, ErrReplacing) {
				t.Errorf("commit to half a repository: %v", err)
			}
			due, err := s.DueJobs(ctx, time.Now().Add(time.Hour), 10)
			if err != nil || len(due) != 1 || due[0].Payload != "one" {
				t.Fatalf("job to go on with: %v, %v", due, err)
			}
			other := repl
			other.Name, other.Resume = "another", true
			if _, err := s.Replace(ctx, other); !errors.Is(err, ErrSuperseded) {
				t.Errorf("resume under another name: %v", err)
			}
			repl.Resume = true
			if _, err := s.Replace(ctx, repl); err != nil {
				t.Fatal(err)
			}
			if due, _ := s.DueJobs(ctx, time.Now().Add(time.Hour), 10); len(due) != 0 {
				t.Errorf("jobs left: %v", due)
			}
			if head, stats, err := s.Head(ctx, r.id); err != nil || head.CID != repl.Head.CID || stats.Records != 2501 {
				t.Errorf("head %s with %d records, %v", head.CID, stats.Records, err)
			}
			mustCheck(t, s)
		})
	}
}

func TestReplaceRefusesOtherRecords(t *testing.T) {
	s := openTest(t)
	r := newRepo(t, s, "alice")
	r.deactivate(t)
	repl := r.replacementOf(t, "one", posts(0, 10, "these")...)
	repl.Records = recordsOf(posts(0, 10, "others"))
	if _, err := s.Replace(context.Background(), repl); !errors.Is(err, repo.ErrCorrupt) {
		t.Errorf("records that do not make the tree: %v", err)
	}
}

func TestReplaceKeepsOutline(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	s.opts.OutlineRecords = 500
	r := newRepo(t, s, "alice")
	r.deactivate(t)
	if _, err := s.Replace(ctx, r.replacementOf(t, "one", posts(0, 3000, "many")...)); err != nil {
		t.Fatal(err)
	}
	mustCheck(t, s)
	s.trees.drop(r.id)
	err := s.Update(ctx, func(tx *Tx) error {
		if err := tx.SetDeactivated(ctx, r.id, time.Time{}, time.Time{}); err != nil {
			return err
		}
		e, err := event.NewAccount(r.did, true, "", time.Now())
		if err == nil {
			_, err = tx.AppendEvent(r.id, e)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.mustCommit(t, create("later", "from the outline"))
}

func BenchmarkReplace(b *testing.B) {
	ctx := context.Background()
	const n = 100_000
	writes := make([]repo.Write, n)
	for i := range writes {
		writes[i] = post(int64(i))
	}
	for b.Loop() {
		s := openTest(b)
		r := newRepo(b, s, "alice")
		r.deactivate(b)
		repl := r.replacementOf(b, "one", writes...)
		start := time.Now()
		if _, err := s.Replace(ctx, repl); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(n/time.Since(start).Seconds(), "records/s")
		s.Close()
	}
}
