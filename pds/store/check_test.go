package store

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// mustCheck fails the test for each problem in the whole database.
func mustCheck(t testing.TB, s *Store) {
	t.Helper()
	problems, err := s.Check(context.Background(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

func TestCheckFinds(t *testing.T) {
	tests := []struct {
		name, damage, want string
	}{
		{"lost record", "DELETE FROM record WHERE path LIKE '%/3'", "records make the tree"},
		{"changed body", "UPDATE record SET body = x'a0' WHERE path LIKE '%/3'", "bytes hash to"},
		{"body that is no record", "UPDATE record SET body = x'ff' WHERE path LIKE '%/3'", "is unreadable"},
		{"changed CID", "UPDATE record SET cid = (SELECT head FROM repo WHERE account = 1) WHERE path LIKE '%/3'", "records make the tree"},
		{"added record", "INSERT INTO record (account, path, cid, rev, body) SELECT 1, 'a.b.c/x', cid, rev, body FROM record LIMIT 1", "not listed under collection a.b.c"},
		{"bad path", "UPDATE record SET path = 'nonsense' WHERE path LIKE '%/3'", "no valid path"},
		{"wrong count", "UPDATE repo SET records = records + 1", "is counted as"},
		{"wrong rev column", "UPDATE repo SET rev = '3jzfcijpj2z2a'", "columns rev and data"},
		{"broken commit", "UPDATE repo SET block = x'a0'", "head is unreadable"},
		{"other head", "UPDATE repo SET head = data", "bytes hash to"},
		{"other key", "UPDATE account SET signing_key_did = 'did:key:zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w'", "not signed by"},
		{"no repository", "DELETE FROM repo", "has no repository"},
		{"stale outline", "UPDATE outline SET below = (SELECT cid FROM record LIMIT 1)", "outline does not fit"},
		{"stray collection", "INSERT INTO collection VALUES ('a.b.z', 1)", "of which it has no records"},
		{"stray blob reference", "INSERT INTO blob_ref SELECT 1, path, cid FROM record LIMIT 1", "which does not name it"},
		{"blob reference of no record", "INSERT INTO blob_ref SELECT 1, 'zz.z.z/1', cid FROM record LIMIT 1", "which is no record"},
		{"public blob without record", "INSERT INTO blob SELECT 1, cid, 'a/b', 1, 1, 0, NULL FROM record LIMIT 1", "no record refers"},
		{"lost event", "DELETE FROM event WHERE seq = (SELECT seq FROM event WHERE kind = 'commit' ORDER BY seq LIMIT 1 OFFSET 3)", "does not build on"},
		{"lost last event", "DELETE FROM event WHERE seq = (SELECT max(seq) FROM event)", "is not the head"},
		{"moved event", "UPDATE event SET seq = seq + 1000000 WHERE seq = (SELECT max(seq) FROM event)", "frame says seq"},
		{"changed frame", "UPDATE event SET frame = x'a0' WHERE seq = (SELECT max(seq) FROM event)", "frame is no"},
	}
	ctx := context.Background()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openTest(t, func(o *Options) { o.OutlineRecords = 4 })
			r := newRepo(t, s, "alice")
			for i := range 8 {
				r.mustCommit(t, create(fmt.Sprint(i), "x"))
			}
			mustCheck(t, s)
			if err := s.Update(ctx, func(tx *Tx) error { _, err := tx.exec(ctx, tt.damage); return err }); err != nil {
				t.Fatal(err)
			}
			problems, err := s.Check(ctx, 0, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(fmt.Sprint(problems), tt.want) {
				t.Errorf("found %v, want %q", problems, tt.want)
			}
		})
	}
}
