package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// BenchmarkDuePLCLooks asks whose turn it is among ten thousand accounts, which the watcher of the PLC directory does every half minute.
func BenchmarkDuePLCLooks(b *testing.B) {
	const accounts = 10_000
	ctx, now := context.Background(), time.Now()
	for name, due := range map[string]func(i int) time.Time{
		"none": func(i int) time.Time { return now.Add(time.Duration(i+1) * time.Second) },
		"some": func(i int) time.Time { return now.Add(time.Duration(i-50) * time.Second) },
		"all":  func(i int) time.Time { return now.Add(-time.Duration(i+1) * time.Second) },
	} {
		b.Run(name, func(b *testing.B) {
			s := openTest(b)
			err := s.Update(ctx, func(tx *Tx) error {
				for i := range accounts {
					a := person(i)
					a.DID = syntax.DID(fmt.Sprintf("did:plc:%024d", i))
					id, err := tx.CreateAccount(ctx, a)
					if err == nil {
						err = tx.SetPLCHead(ctx, id, "head", due(i))
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
			for b.Loop() {
				if _, err := s.DuePLCLooks(ctx, now, 100); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
