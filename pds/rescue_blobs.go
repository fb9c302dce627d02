package pds

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"perch/identity"
	"perch/pds/migrate"
	"perch/pds/store"
	"perch/xrpc"
)

const (
	blobSourceTimeout  = 5 * time.Minute // for one blob
	blobSourceFailures = 5               // one after the other, and it is asked no more
)

// blobSource is a server that may still have the blobs of an account whose own server is gone. It is no error when it has not: the account can do without.
type blobSource struct {
	s        *Server
	client   *http.Client
	origin   string
	failures int
}

func (s *Server) blobsFrom(origin string) (*blobSource, error) {
	at, ok := identity.Origin(origin)
	if !ok || strings.HasPrefix(at, "http:") && !s.cfg.DevMode {
		return nil, xrpc.InvalidRequest("%.200q is no address to fetch blobs from; write one such as https://pds.example.com", origin)
	}
	return &blobSource{s: s, client: s.hostClient(), origin: at}, nil
}

// fetch brings a blob if it can be had. The error is one of this server.
func (b *blobSource) fetch(ctx context.Context, acct *store.Account, c cid.Cid) error {
	if b.failures >= blobSourceFailures {
		return nil
	}
	err := b.get(ctx, acct, c)
	switch {
	case err == nil:
		b.failures = 0
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case wireError(err) != nil:
		return err
	}
	if !errors.Is(err, migrate.ErrOtherBlob) && !errors.Is(err, migrate.ErrTooLarge) {
		b.failures++
	}
	b.s.log.WarnContext(ctx, "fetch a blob of an archive from elsewhere", "did", acct.DID, "cid", c, "from", b.origin, "err", err)
	return nil
}

func (b *blobSource) get(ctx context.Context, acct *store.Account, c cid.Cid) error {
	ctx, cancel := context.WithTimeout(ctx, blobSourceTimeout)
	defer cancel()
	q := url.Values{"did": {acct.DID.String()}, "cid": {c.String()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.origin+"/xrpc/com.atproto.sync.getBlob?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return errors.New(err.Error()) // whatever it is, it is not this server's
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil // it has not
	}
	return migrationHere{b.s}.PutBlob(ctx, acct.ID, c, resp.Header.Get("Content-Type"), resp.Body)
}
