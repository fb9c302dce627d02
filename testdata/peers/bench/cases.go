package main

import (
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"perch/testdata/peers/bench/wire"
)

const (
	manyAccounts  = 64
	bigRecords    = 50_000 // a tenth of it in a quick run
	batchMax      = 200
	blobBytes     = 100_000
	readRecords   = 1_000 // of the repository that getRecord and listRecords read
	readWorkers   = 8
	recordPath    = "/xrpc/com.atproto.repo.createRecord"
	batchPath     = "/xrpc/com.atproto.repo.applyWrites"
	jsonType      = "application/json"
	postsNSID     = "app.bsky.feed.post"
	createAccount = "/xrpc/com.atproto.server.createAccount"
)

// testCase is one row of the table. What a case needs (accounts, a filled repository) it makes itself when no case before
// it has, so that any selection of cases runs.
type testCase struct {
	name string
	run  func(b *bench) (Figure, error)
}

// cases are in the order in which they run. Until the backfill only accounts and single records are made, so that both
// servers replay the same mixture of events.
var cases = []testCase{
	{"account creation", (*bench).accountCreation},
	{"createRecord 1 in flight, 1 account", createRecords(1, 1)},
	{"createRecord 8, 1 account", createRecords(8, 1)},
	{"createRecord 32, 1 account", createRecords(32, 1)},
	{"createRecord 64, 1 account", createRecords(64, 1)},
	{"createRecord 1 in flight, 64 accounts", createRecords(1, manyAccounts)},
	{"createRecord 8, 64 accounts", createRecords(8, manyAccounts)},
	{"createRecord 32, 64 accounts", createRecords(32, manyAccounts)},
	{"createRecord 64, 64 accounts", createRecords(64, manyAccounts)},
	{"firehose, 1 consumer", delivery(1)},
	{"firehose, 100 consumers", delivery(100)},
	{"backfill from cursor 0", (*bench).backfill},
	{"applyWrites of 10", applyWrites(10)},
	{"applyWrites of 200", (*bench).loadBig},
	{"getRepo, large repository", (*bench).getRepo},
	{"sync.getRecord, large repository", (*bench).syncGetRecord},
	{"getRecord", (*bench).getRecord},
	{"getSession", (*bench).getSession},
	{"sign-in page, 1 in flight", (*bench).signInPage},
	{"listRecords of 100", (*bench).listRecords},
	{"uploadBlob 100 KB", (*bench).uploadBlob},
}

func (b *bench) accountCreation() (Figure, error) {
	var n atomic.Int64
	return b.run(load{workers: 4, limit: 2 * b.limit, maxOps: b.pick(48, 160), start: func(int) op {
		return func(c *wire.Conn) (int64, error) {
			name := fmt.Sprintf("new%d", n.Add(1))
			return 0, wire.Call(c, &wire.Request{Method: "POST", Path: createAccount, ContentType: jsonType, Body: wire.AccountInput(name)}, nil)
		}
	}})
}

// createRecords makes posts with workers requests in flight. Every case has accounts of its own, so that a faster server does
// not end up with a much larger repository than the slower one in the next case.
func createRecords(workers, accounts int) func(b *bench) (Figure, error) {
	return func(b *bench) (Figure, error) {
		key := "many"
		if accounts == 1 {
			key = fmt.Sprintf("one%d", workers)
		}
		all, err := b.accounts(key, accounts)
		if err != nil {
			return Figure{}, err
		}
		return b.run(load{workers: workers, limit: b.limit, warm: b.limit / 6, start: func(w int) op {
			return b.creator(fmt.Sprintf("%s-%d-%d", key, workers, w), all, w, workers)
		}})
	}
}

// creator makes posts in turn on accounts w, w+step, w+2*step...
func (b *bench) creator(tag string, all []*wire.Account, w, step int) op {
	posts := wire.NewPosts(tag)
	var body []byte
	at := w
	return func(c *wire.Conn) (int64, error) {
		a := all[at%len(all)]
		at += step
		body = posts.AppendCreate(body[:0], a.DID)
		return 0, wire.Call(c, &wire.Request{Method: "POST", Path: recordPath, Token: a.Token, ContentType: jsonType, Body: body}, nil)
	}
}

func applyWrites(n int) func(b *bench) (Figure, error) {
	return func(b *bench) (Figure, error) {
		all, err := b.accounts("many", manyAccounts)
		if err != nil {
			return Figure{}, err
		}
		return b.run(load{workers: 4, limit: b.limit, warm: b.limit / 6, start: func(w int) op {
			posts := wire.NewPosts(fmt.Sprintf("batch%d-%d", n, w))
			var body []byte
			at := w
			return func(c *wire.Conn) (int64, error) {
				a := all[at%len(all)]
				at += 4
				body = posts.AppendBatch(body[:0], a.DID, n)
				return 0, wire.Call(c, &wire.Request{Method: "POST", Path: batchPath, Token: a.Token, ContentType: jsonType, Body: body}, nil)
			}
		}})
	}
}

// loadBig fills the large repository, which is the measurement of applyWrites of 200 at the same time.
func (b *bench) loadBig() (Figure, error) {
	return b.fill("big", b.bigSize())
}

// fill loads n posts into the account called name, in batches; an account that was filled before is left as it is.
func (b *bench) fill(name string, n int) (Figure, error) {
	all, err := b.accounts(name, 1)
	if err != nil || b.filled[name] {
		return Figure{Skipped: "filled before"}, err
	}
	b.filled[name] = true
	f, err := b.run(load{workers: 1, limit: time.Hour, maxOps: n / batchMax, start: func(int) op {
		posts := wire.NewPosts(name)
		var body []byte
		return func(c *wire.Conn) (int64, error) {
			body = posts.AppendBatch(body[:0], all[0].DID, batchMax)
			return 0, wire.Call(c, &wire.Request{Method: "POST", Path: batchPath, Token: all[0].Token, ContentType: jsonType, Body: body}, nil)
		}
	}})
	if err == nil && f.Failed > 0 {
		err = fmt.Errorf("fill %s: %d batches failed: %s", name, f.Failed, f.Failure)
	}
	return f, err
}

func (b *bench) getRepo() (Figure, error) {
	a, err := b.bigAccount()
	if err != nil {
		return Figure{}, err
	}
	path := wire.XRPC("com.atproto.sync.getRepo", "did="+a.DID)
	return b.run(load{workers: 1, limit: 2 * b.limit, maxOps: 40, start: func(int) op {
		return func(c *wire.Conn) (int64, error) { return get(c, path, "", true) }
	}})
}

func (b *bench) syncGetRecord() (Figure, error) {
	a, err := b.bigAccount()
	if err != nil {
		return Figure{}, err
	}
	keys, err := b.keys(a, 2_000)
	if err != nil {
		return Figure{}, err
	}
	return b.reads(func(i int) (string, string) {
		return wire.XRPC("com.atproto.sync.getRecord", "did="+a.DID+"&collection="+postsNSID+"&rkey="+keys[i%len(keys)]), ""
	})
}

func (b *bench) bigSize() int { return b.pick(bigRecords/10, bigRecords) }

func (b *bench) bigAccount() (*wire.Account, error) {
	if _, err := b.fill("big", b.bigSize()); err != nil {
		return nil, err
	}
	all, err := b.accounts("big", 1)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func (b *bench) readAccount() (*wire.Account, error) {
	if _, err := b.fill("read", readRecords); err != nil {
		return nil, err
	}
	all, err := b.accounts("read", 1)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func (b *bench) getRecord() (Figure, error) {
	a, err := b.readAccount()
	if err != nil {
		return Figure{}, err
	}
	keys, err := b.keys(a, readRecords)
	if err != nil {
		return Figure{}, err
	}
	return b.reads(func(i int) (string, string) {
		return wire.XRPC("com.atproto.repo.getRecord", "repo="+a.DID+"&collection="+postsNSID+"&rkey="+keys[i%len(keys)]), ""
	})
}

func (b *bench) getSession() (Figure, error) {
	all, err := b.accounts("many", manyAccounts)
	if err != nil {
		return Figure{}, err
	}
	return b.reads(func(i int) (string, string) {
		return wire.XRPC("com.atproto.server.getSession", ""), all[i%len(all)].Token
	})
}

// signInPage gets the page that both servers show to those who are to sign in: of the reference only the frame that its script fills.
func (b *bench) signInPage() (Figure, error) {
	path := "/account/sign-in"
	if b.server.Name == "reference" {
		path = "/account"
	}
	return b.run(load{workers: 1, limit: b.limit, warm: b.limit / 6, start: func(int) op {
		return func(c *wire.Conn) (int64, error) {
			return do(c, &wire.Request{Path: path, Browser: true, Discard: true})
		}
	}})
}

func (b *bench) listRecords() (Figure, error) {
	a, err := b.readAccount()
	if err != nil {
		return Figure{}, err
	}
	keys, err := b.keys(a, readRecords)
	if err != nil {
		return Figure{}, err
	}
	return b.reads(func(i int) (string, string) {
		return wire.XRPC("com.atproto.repo.listRecords", "repo="+a.DID+"&collection="+postsNSID+"&limit=100&cursor="+keys[i%(len(keys)-100)]), ""
	})
}

// reads gets the paths that next makes, with eight requests in flight.
func (b *bench) reads(next func(i int) (path, token string)) (Figure, error) {
	return b.run(load{workers: readWorkers, limit: b.limit, warm: b.limit / 6, start: func(w int) op {
		i := w * 7919
		return func(c *wire.Conn) (int64, error) {
			i++
			path, token := next(i)
			return get(c, path, token, true)
		}
	}})
}

func get(c *wire.Conn, path, token string, discard bool) (int64, error) {
	return do(c, &wire.Request{Path: path, Token: token, Discard: discard})
}

func do(c *wire.Conn, req *wire.Request) (int64, error) {
	res, err := c.Do(req)
	if err == nil && res.Status != 200 {
		err = &wire.StatusError{Method: req.Path, Status: res.Status, Body: string(res.Body)}
	}
	return res.Size, err
}

func (b *bench) uploadBlob() (Figure, error) {
	all, err := b.accounts("many", manyAccounts)
	if err != nil {
		return Figure{}, err
	}
	var n atomic.Int64
	return b.run(load{workers: 4, limit: b.limit, warm: b.limit / 6, start: func(w int) op {
		blob := make([]byte, blobBytes)
		for i := range blob {
			blob[i] = byte(i*i>>3 + w)
		}
		copy(blob, "\x89PNG\r\n\x1a\n")
		at := w
		return func(c *wire.Conn) (int64, error) {
			at++
			copy(blob[16:], fmt.Sprintf("%016x", n.Add(1)))
			err := wire.Call(c, &wire.Request{Method: "POST", Path: "/xrpc/com.atproto.repo.uploadBlob", Token: all[at%len(all)].Token, ContentType: "image/png", Body: blob}, nil)
			return blobBytes, err
		}
	}})
}

// keys lists up to n record keys of an account's posts, newest first.
func (b *bench) keys(a *wire.Account, n int) ([]string, error) {
	if keys := b.rkeys[a.DID]; keys != nil {
		return keys, nil
	}
	c := wire.NewConn(b.server.Addr)
	defer c.Close()
	var keys []string
	for cursor := ""; len(keys) < n; {
		var page struct {
			Cursor  string
			Records []struct{ URI string }
		}
		query := "repo=" + a.DID + "&collection=" + postsNSID + "&limit=100&cursor=" + url.QueryEscape(cursor)
		if cursor == "" {
			query = query[:len(query)-len("&cursor=")]
		}
		if err := wire.Call(c, &wire.Request{Path: wire.XRPC("com.atproto.repo.listRecords", query)}, &page); err != nil {
			return nil, err
		}
		for _, r := range page.Records {
			keys = append(keys, r.URI[len("at://")+len(a.DID)+len(postsNSID)+2:])
		}
		if cursor = page.Cursor; cursor == "" || len(page.Records) == 0 {
			break
		}
	}
	if len(keys) <= 100 {
		return nil, fmt.Errorf("only %d records to read in %s", len(keys), a.Handle)
	}
	b.rkeys[a.DID] = keys
	return keys, nil
}
