package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ipfs/go-cid"
)

const (
	blobPage = 100
	// blobTries is after how many passes a blob is given up that the old host only ever answers with a fault.
	blobTries = 8
)

// counter counts bytes of the repository on their way in.
type counter struct{ n atomic.Int64 }

type counted struct {
	io.Reader
	c *counter
}

func (r counted) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.c.n.Add(int64(n))
	return n, err
}

// fetchRepo has the old host's repository verified and stored here.
func (m *Manager) fetchRepo(ctx context.Context, mv *move, h *host, loaded *counter) error {
	var got Imported
	c := call{method: "com.atproto.sync.getRepo", query: mv.query(), token: accessToken}
	err := h.do(ctx, c, func(resp *http.Response) (err error) {
		loaded.n.Store(0)
		got, err = m.opts.Here.Import(ctx, mv.Account, counted{resp.Body, loaded})
		return err
	})
	if err != nil {
		return err
	}
	mv.Commit, mv.Data, mv.State = got.Commit.String(), got.Data.String(), StateBlobs
	return nil
}

// fetchBlobs fetches what records refer to and is not here, several at once. What the old host does not have, or this server cannot take, is noted and does
// not hold up the rest.
func (m *Manager) fetchBlobs(ctx context.Context, mv *move, h *host) error {
	mv.Lost = nil
	var mu sync.Mutex
	var failed []error
	page := func(missing []cid.Cid) {
		var wg sync.WaitGroup
		slots := make(chan struct{}, hostParallel)
		for _, c := range missing {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				lost, err := m.fetchBlob(ctx, mv, h, c)
				mu.Lock()
				defer mu.Unlock()
				if lost != "" {
					mv.Lost = append(mv.Lost, Lost{c.String(), lost})
				} else if err != nil {
					failed = append(failed, fmt.Errorf("blob %s: %w", c, err))
				}
			})
		}
		wg.Wait()
	}
	for after := cid.Undef; ; {
		missing, err := m.opts.Here.MissingBlobs(ctx, mv.Account, after, blobPage)
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			break
		}
		page(missing)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, err := range failed {
			if errors.Is(err, errSignIn) || len(failed) > blobPage {
				return err
			}
		}
		after = missing[len(missing)-1]
	}
	if len(failed) > 0 {
		return m.blobsFailed(mv, failed)
	}
	slices.SortFunc(mv.Lost, func(a, b Lost) int { return strings.Compare(a.CID, b.CID) })
	mv.State = StatePreferences
	return nil
}

func (m *Manager) blobsFailed(mv *move, failed []error) error {
	err := fmt.Errorf("%d blobs could not be fetched; the first: %w", len(failed), failed[0])
	if mv.Failures < blobTries {
		return err
	}
	for _, e := range failed {
		var refused *HostError
		if !errors.As(e, &refused) {
			return err // it is the network
		}
		text := e.Error()
		c, reason, _ := strings.Cut(strings.TrimPrefix(text, "blob "), ": ")
		mv.Lost = append(mv.Lost, Lost{c, reason})
	}
	slices.SortFunc(mv.Lost, func(a, b Lost) int { return strings.Compare(a.CID, b.CID) })
	mv.State = StatePreferences
	return nil
}

// fetchBlob returns why a blob cannot be had, or an error after which it may be tried again.
func (m *Manager) fetchBlob(ctx context.Context, mv *move, h *host, c cid.Cid) (lost string, err error) {
	err = h.do(ctx, call{method: "com.atproto.sync.getBlob", query: mv.query("cid", c.String()), token: accessToken}, func(resp *http.Response) error {
		return m.opts.Here.PutBlob(ctx, mv.Account, c, resp.Header.Get("Content-Type"), resp.Body)
	})
	var refused *HostError
	switch {
	case errors.Is(err, ErrTooLarge):
		return err.Error(), nil
	case errors.Is(err, ErrOtherBlob):
		return ErrOtherBlob.Error(), nil
	case errors.As(err, &refused) && refused.final() && !errors.Is(err, errSignIn):
		return refused.Name + ": " + refused.Message, nil
	}
	return "", err
}
