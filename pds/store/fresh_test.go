package store

import (
	"context"
	"fmt"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/repo"
)

func TestRecordsSince(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r := newRepo(t, s, "alice")
	const profile, like = syntax.NSID("app.bsky.actor.profile"), syntax.NSID("app.bsky.feed.like")
	about := func(action repo.Action, name string) repo.Write {
		return writeOf(action, profile, "self", map[string]any{"displayName": name})
	}
	born, _, err := s.Head(ctx, r.id)
	if err != nil {
		t.Fatal(err)
	}
	revs := []syntax.TID{born.Commit.Rev}
	commit := func(writes ...repo.Write) {
		t.Helper()
		revs = append(revs, r.mustCommit(t, writes...).Head.Commit.Rev)
	}
	commit(about(repo.Create, "one"))                                             // 1
	commit(create("3aaa", "old"), create("3bbb", "old"), create("3b0b", "kept"))  // 2
	commit(create("3ccc", "new"))                                                 // 3
	commit(writeOf(repo.Create, like, "3ddd", map[string]any{}))                  // 4
	commit(about(repo.Update, "two"), create("3eee", "new"))                      // 5
	commit(write(repo.Update, "3aaa", "changed"), remove("3bbb"))                 // 6
	commit(writeOf(repo.Create, "app.bsky.feed.posts", "3zzz", map[string]any{})) // 7
	for _, tt := range []struct {
		rev  syntax.TID
		scan int
		want string
	}{
		{revs[0], 10, "[]"}, // no record is as old: nothing is known about what the AppView has
		{revs[1], 10, "[]"}, // nor any more, as all that was has been written again
		{revs[2], 10, "[app.bsky.actor.profile/self app.bsky.feed.post/3eee app.bsky.feed.post/3ccc app.bsky.feed.post/3aaa]"},
		{revs[3], 10, "[app.bsky.actor.profile/self app.bsky.feed.post/3eee app.bsky.feed.post/3aaa]"},
		{revs[3], 1, "[app.bsky.actor.profile/self app.bsky.feed.post/3eee]"},
		{revs[5], 10, "[app.bsky.feed.post/3aaa]"},
		{revs[5], 2, "[]"}, // changed, but not among the newest keys
		{revs[6], 10, "[]"},
		{revs[7], 10, "[]"},
	} {
		recs, err := s.RecordsSince(ctx, r.id, tt.rev, []syntax.NSID{profile, postNSID}, tt.scan)
		var got []string
		for _, rec := range recs {
			got = append(got, rec.Path)
			if len(rec.Body) == 0 || rec.Rev <= tt.rev {
				t.Errorf("record %+v", rec)
			}
		}
		if err != nil || fmt.Sprint(got) != tt.want {
			t.Errorf("since %s, %d: %v, %v, want %s", tt.rev, tt.scan, got, err, tt.want)
		}
	}
	if _, err := s.RecordsSince(ctx, r.id+100, revs[3], nil, 1); err == nil {
		t.Error("an account that does not exist has records")
	}
}
