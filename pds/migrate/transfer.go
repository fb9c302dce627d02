package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/ipfs/go-cid"
)

const (
	blobPage = 100
	// blobTries is after how many passes a blob is given up that the other host only ever answers with a fault.
	blobTries = 8
	// maxLost is how many blobs may be lost: they are all noted, and a host may refer to any number that is nowhere.
	maxLost = 100_000
	// maxLostByPage is the same for moves of owners who came by the pages: each look at one reads all of it.
	maxLostByPage = 10_000
	maxReason     = 120 // bytes
)

// transfer carries blobs from one host to the other, several at once. One that cannot be carried is noted and does not hold up the rest.
type transfer struct {
	// carry returns why a blob is lost, or an error after which it may be tried again.
	carry func(context.Context, cid.Cid) (lost why, err error)
	most  int // of what may be lost

	mu     sync.Mutex
	lost   []Lost       // guarded by mu
	failed []failedBlob // guarded by mu
}

// failedBlob is a blob that may be had by another attempt.
type failedBlob struct {
	cid cid.Cid
	err error
}

func (f failedBlob) fault() error { return fmt.Errorf("blob %s: %w", f.cid, f.err) }

func (mv *move) mayLose() int {
	if len(mv.Keys) > 0 {
		return maxLostByPage
	}
	return maxLost
}

// page carries some blobs. Its error ends the step: all others are kept for settle.
func (t *transfer) page(ctx context.Context, cids []cid.Cid) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, hostParallel)
	for _, c := range cids {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			lost, err := t.carry(ctx, c)
			t.mu.Lock()
			defer t.mu.Unlock()
			if lost != (why{}) {
				t.lost = append(t.lost, Lost{c.String(), lost.code, clip(lost.text, maxReason)})
			} else if err != nil {
				t.failed = append(t.failed, failedBlob{c, err})
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(t.lost) > t.most {
		return fmt.Errorf("more than %d blobs cannot be had; the first: %s: %s", t.most, t.lost[0].CID, t.lost[0].Reason)
	}
	for _, f := range t.failed {
		if errors.Is(f.err, errSignIn) || len(t.failed) > blobPage {
			return f.fault()
		}
	}
	return nil
}

// settle puts the move into the next state, with what was lost, unless something may still be had by another attempt.
func (t *transfer) settle(mv *move) error {
	if err := t.giveUp(mv.Failures); err != nil {
		return err
	}
	slices.SortFunc(t.lost, func(a, b Lost) int { return strings.Compare(a.CID, b.CID) })
	mv.Lost, mv.State = t.lost, StatePreferences
	return nil
}

// giveUp counts as lost, after many attempts, what the other host only answers with faults.
func (t *transfer) giveUp(failures int) error {
	if len(t.failed) == 0 {
		return nil
	}
	err := fmt.Errorf("%d blobs could not be carried over; the first: %w", len(t.failed), t.failed[0].fault())
	if failures < blobTries {
		return err
	}
	for _, f := range t.failed {
		var refused *HostError
		if !errors.As(f.err, &refused) {
			return err // it is the network
		}
		t.lost = append(t.lost, Lost{f.cid.String(), LostFaulty, clip(f.err.Error(), maxReason)})
	}
	return nil
}
