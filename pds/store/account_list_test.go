package store

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// listed walks all pages of a list.
func listed(t *testing.T, s *Store, q AccountQuery) (handles []string) {
	t.Helper()
	for {
		page, err := s.ListAccounts(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range page {
			handles = append(handles, l.Handle.String())
		}
		if len(page) < q.Limit {
			return handles
		}
		q.After = page[len(page)-1].ID
	}
}

func TestListAccounts(t *testing.T) {
	s := openTest(t)
	var want []string
	for n := range 7 {
		a := person(n)
		a.CreatedAt = time.UnixMicro(int64(1000 - n/2)) // pairs of the same age
		if n == 3 {
			a.TakedownRef = "case"
		}
		id, err := createPerson(t, s, a)
		if err != nil {
			t.Fatal(err)
		}
		if n == 5 {
			updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.SetRole(ctx, id, RoleAdmin) })
		}
		if n == 6 {
			updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.MarkDeleted(ctx, id, time.Now()) })
			continue
		}
		want = append(want, a.Handle.String())
	}
	for _, order := range []AccountOrder{ByCreated, ByHandle, ByRecords, ByBlobs, ByWritten, BySeen, "nonsense"} {
		got := listed(t, s, AccountQuery{Order: order, Limit: 2})
		if order == ByHandle && !slices.Equal(got, want) {
			t.Errorf("by handle: %q", got)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("the pages by %s are %q", order, got)
		}
	}
	for _, c := range []struct {
		q    AccountQuery
		want []string
	}{
		{AccountQuery{Text: "P2@MAIL"}, want[2:3]}, {AccountQuery{Text: "@p4.exam"}, want[4:5]}, {AccountQuery{Text: "did:web:p1.example.com"}, want[1:2]},
		{AccountQuery{Text: "did:web:p1"}, nil}, {AccountQuery{Text: "%"}, nil}, {AccountQuery{Status: StatusTakendown}, want[3:4]}, {AccountQuery{Status: RoleAdmin}, want[5:6]},
		{AccountQuery{Status: "active", Text: "p3"}, nil},
	} {
		c.q.Limit = 100
		if got := listed(t, s, c.q); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q", c.q, got)
		}
	}
	if c, err := s.CountAccounts(t.Context()); err != nil || c != (AccountCounts{All: 6, Active: 5, Takendown: 1}) {
		t.Errorf("%+v, %v", c, err)
	}
}

// BenchmarkListAccounts lists a page in the dearest order of as many accounts as PERCH_LIST_ACCOUNTS says.
func BenchmarkListAccounts(b *testing.B) {
	count, err := strconv.Atoi(os.Getenv("PERCH_LIST_ACCOUNTS"))
	if err != nil {
		count = 200
	}
	s := openTest(b)
	err = s.Update(b.Context(), func(tx *Tx) error {
		for n := range count {
			id, err := tx.CreateAccount(b.Context(), person(n))
			if err == nil {
				_, err = tx.exec(b.Context(), `INSERT INTO repo (account, head, block, rev, data, records, bytes) VALUES (?, x'', zeroblob(200), ?, x'', ?, ?)`,
					int64(id), fmt.Sprintf("3k%011d", n*7919%count), n, n*7919%count)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, order := range []AccountOrder{ByCreated, ByHandle, ByRecords, ByWritten} {
		b.Run(string(order), func(b *testing.B) {
			for b.Loop() {
				if _, err := s.ListAccounts(b.Context(), AccountQuery{Order: order, After: AccountID(count / 2), Limit: 51}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
