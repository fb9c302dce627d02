package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// openTest opens a store in a new folder, closed when the test ends.
func openTest(t testing.TB, change ...func(*Options)) *Store {
	t.Helper()
	opts := Options{Path: filepath.Join(t.TempDir(), "perch.db")}
	for _, fn := range change {
		fn(&opts)
	}
	s, err := Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestSecondOpenFails(t *testing.T) {
	s := openTest(t)
	if _, err := Open(context.Background(), Options{Path: s.opts.Path}); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v, want ErrLocked", err)
	}
}

func TestOnlyTheOwnerReadsTheDatabase(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	path := filepath.Join(t.TempDir(), "perch.db")
	for _, before := range []os.FileMode{0, 0o644} { // as it was made by earlier versions
		if before != 0 {
			if err := os.Chmod(path, before); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(context.Background(), Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		newRepo(t, s, fmt.Sprintf("alice%o", before))
		for _, name := range []string{path, path + "-wal", path + "-shm"} {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %o", filepath.Base(name), info.Mode().Perm())
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReopen(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "a b?#%", "perch.db")
	for range 2 {
		s, err := Open(ctx, Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Update(ctx, func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
			t.Fatalf("update of a closed store: %v", err)
		}
	}
}

func TestJobsFailAlone(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	put := func(name string, fail error) error {
		return s.Update(ctx, func(tx *Tx) error {
			if _, err := tx.exec(ctx, "INSERT INTO secret (name, sealed) VALUES (?, ?)", name, []byte(name)); err != nil {
				return err
			}
			return fail
		})
	}
	boom := errors.New("boom")
	results := make(chan error, 30)
	for i := range 30 {
		go func() {
			name := string(rune('a' + i))
			switch i % 3 {
			case 0:
				results <- put(name, nil)
			case 1:
				if err := put(name, boom); !errors.Is(err, boom) {
					results <- errors.New("the job's own error was lost")
				} else {
					results <- nil
				}
			case 2:
				err := s.Update(ctx, func(tx *Tx) error { panic("oh") })
				if err == nil {
					results <- errors.New("a panic was not reported")
				} else {
					results <- nil
				}
			}
		}()
	}
	for range 30 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	var n int
	if err := s.read.queryRow(ctx, "SELECT count(*) FROM secret").Scan(&n); err != nil || n != 10 {
		t.Fatalf("%d rows, %v; want 10", n, err)
	}
}

func TestCancelledWhileQueued(t *testing.T) {
	s := openTest(t)
	taken, release := make(chan struct{}), make(chan struct{})
	go func() {
		_ = s.Update(context.Background(), func(*Tx) error { close(taken); <-release; return nil })
	}()
	<-taken
	ctx, cancel := context.WithCancel(context.Background())
	answer := make(chan error)
	ran := false
	go func() { answer <- s.Update(ctx, func(*Tx) error { ran = true; return nil }) }()
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled job: %v", err)
	}
	close(release)
	if err := s.Update(context.Background(), func(*Tx) error { return nil }); err != nil || ran {
		t.Fatalf("next job: %v; the cancelled one ran: %v", err, ran)
	}
}
