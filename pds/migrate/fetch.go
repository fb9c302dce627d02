package migrate

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/ipfs/go-cid"
)

// counter counts bytes on their way.
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
func (m *Manager) fetchRepo(ctx context.Context, mv *move, h *host, r *runner) error {
	leave, err := m.receive.enter(ctx, site(mv.Host))
	if err != nil {
		return err
	}
	defer leave()
	var got Imported
	c := call{method: "com.atproto.sync.getRepo", query: mv.query(), token: accessToken, most: receiveTime}
	err = h.do(ctx, c, func(resp *http.Response) (err error) {
		r.loaded.n.Store(0)
		got, err = m.opts.Here.Import(ctx, mv.Account, counted{resp.Body, r.loaded})
		return err
	})
	if err != nil {
		return err
	}
	mv.Commit, mv.Data, mv.State = got.Commit.String(), got.Data.String(), StateBlobs
	return nil
}

// fetchBlobs fetches what records refer to and is not here.
func (m *Manager) fetchBlobs(ctx context.Context, mv *move, h *host, _ *runner) error {
	t := &transfer{most: mv.mayLose(), carry: func(ctx context.Context, c cid.Cid) (why, error) { return m.fetchBlob(ctx, mv, h, c) }}
	for after := cid.Undef; ; {
		missing, err := m.opts.Here.MissingBlobs(ctx, mv.Account, after, blobPage)
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			return t.settle(mv)
		}
		if err := t.page(ctx, missing); err != nil {
			return err
		}
		after = missing[len(missing)-1]
	}
}

// fetchBlob returns why a blob cannot be had, or an error after which it may be tried again.
func (m *Manager) fetchBlob(ctx context.Context, mv *move, h *host, c cid.Cid) (lost why, err error) {
	err = h.do(ctx, call{method: "com.atproto.sync.getBlob", query: mv.query("cid", c.String()), token: accessToken}, func(resp *http.Response) error {
		return m.opts.Here.PutBlob(ctx, mv.Account, c, resp.Header.Get("Content-Type"), resp.Body)
	})
	var refused *HostError
	switch {
	case errors.Is(err, ErrTooLarge):
		return why{LostLarge, err.Error()}, nil
	case errors.Is(err, ErrOtherBlob):
		return why{LostOther, ErrOtherBlob.Error()}, nil
	case errors.As(err, &refused) && refused.final() && !errors.Is(err, errSignIn):
		return refusedBlob(refused), nil
	}
	return why{}, err
}
