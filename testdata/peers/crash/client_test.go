package crash

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"perch/testdata/peers/bench/wire"
)

const (
	collection = "app.bsky.feed.post"
	maxBatch   = 20
	maxOwned   = 400 // records a client keeps; above it deletes more than it creates
)

// entry is a record as the client that wrote it knows it.
type entry struct {
	cid  cid.Cid
	blob cid.Cid // the image it embeds, or cid.Undef
}

// change is one request that writes: what it does to which paths. An absent new entry is a deletion.
type change struct {
	nsid string
	body map[string]any
	ops  map[string]*entry
}

// ack is an acknowledged change.
type ack struct {
	rev string
	cid string
	ops map[string]*entry
}

// client writes to paths that no other client writes to, one request at a time, so it always knows what the server must hold.
type client struct {
	id      uint
	account *account
	conn    *wire.Conn
	rng     *rand.Rand
	clock   *syntax.TIDClock

	state    map[string]*entry // after all acknowledged changes
	mine     map[string]bool   // every path ever written to
	pending  *change           // sent, not answered: the server was killed
	acks     []ack             // of this round
	uploaded []*atdata.Blob    // acknowledged uploads that no record refers to yet
	n        int
}

func newClient(id uint, a *account, addr string, seed uint64) *client {
	clock := syntax.NewTIDClock(id)
	return &client{
		id: id, account: a, conn: wire.NewConn(addr), rng: rand.New(rand.NewPCG(seed, uint64(id))), clock: clock,
		state: map[string]*entry{}, mine: map[string]bool{},
	}
}

// write sends random changes until the server is gone. Any other failure is an error.
func (c *client) write() error {
	for {
		err := c.step()
		if errors.Is(err, wire.ErrBroken) {
			c.conn.Close()
			return nil
		}
		if err != nil {
			return fmt.Errorf("client %d: %w", c.id, err)
		}
	}
}

func (c *client) step() error {
	switch n := c.rng.IntN(100); {
	case n < 12:
		return c.withImage()
	case n < 16:
		_, err := c.upload()
		return err
	case n < 35 && len(c.state) > 0:
		return c.send(c.update(c.owned()))
	case len(c.state) > maxOwned || n < 50 && len(c.state) > 0:
		return c.send(c.remove(c.owned()))
	case n < 70:
		return c.send(c.batch())
	}
	return c.send(c.create(nil))
}

// send makes a request; until its answer is here, its change is pending.
func (c *client) send(ch *change) error {
	for path := range ch.ops {
		c.mine[path] = true
	}
	c.pending = ch
	ch.body["repo"] = c.account.DID
	var out wire.Written
	if err := wire.Post(c.conn, ch.nsid, c.account.Token, ch.body, &out); err != nil {
		return err
	}
	c.pending = nil
	apply(c.state, ch.ops)
	if out.Commit.Rev == "" {
		return fmt.Errorf("%s was acknowledged without a commit", ch.nsid)
	}
	if want := ch.ops[collection+"/"+fmt.Sprint(ch.body["rkey"])]; want != nil && want.cid.String() != out.CID {
		return fmt.Errorf("%s answered cid %s for %s", ch.nsid, out.CID, want.cid)
	}
	c.acks = append(c.acks, ack{out.Commit.Rev, out.Commit.CID, ch.ops})
	return nil
}

func apply(state map[string]*entry, ops map[string]*entry) {
	for path, e := range ops {
		if e == nil {
			delete(state, path)
		} else {
			state[path] = e
		}
	}
}

// owned picks one of the client's records.
func (c *client) owned() string {
	keys := slices.Sorted(maps.Keys(c.state))
	return keys[c.rng.IntN(len(keys))]
}

func (c *client) create(image *atdata.Blob) *change {
	rkey := c.clock.Next().String()
	record, e := c.post(image)
	return &change{
		nsid: "com.atproto.repo.createRecord",
		body: map[string]any{"collection": collection, "rkey": rkey, "record": record},
		ops:  map[string]*entry{collection + "/" + rkey: e},
	}
}

func (c *client) update(path string) *change {
	record, e := c.post(nil)
	return &change{
		nsid: "com.atproto.repo.putRecord",
		body: map[string]any{"collection": collection, "rkey": path[len(collection)+1:], "record": record},
		ops:  map[string]*entry{path: e},
	}
}

func (c *client) remove(path string) *change {
	return &change{
		nsid: "com.atproto.repo.deleteRecord",
		body: map[string]any{"collection": collection, "rkey": path[len(collection)+1:]},
		ops:  map[string]*entry{path: nil},
	}
}

// batch is an applyWrites of creates, updates and deletes of different records.
func (c *client) batch() *change {
	ch := &change{nsid: "com.atproto.repo.applyWrites", body: map[string]any{}, ops: map[string]*entry{}}
	var writes []any
	add := func(kind, path string, one *change) {
		w := map[string]any{"$type": "com.atproto.repo.applyWrites#" + kind, "collection": collection, "rkey": path[len(collection)+1:]}
		if record, ok := one.body["record"]; ok {
			w["value"] = record
		}
		writes = append(writes, w)
		maps.Copy(ch.ops, one.ops)
	}
	for range 2 + c.rng.IntN(maxBatch-2) {
		path := ""
		if len(c.state) > 0 {
			path = c.owned()
		}
		_, taken := ch.ops[path]
		switch n := c.rng.IntN(4); {
		case path == "" || taken || n < 2:
			one := c.create(nil)
			path = collection + "/" + one.body["rkey"].(string)
			add("create", path, one)
		case n == 2:
			add("update", path, c.update(path))
		default:
			add("delete", path, c.remove(path))
		}
	}
	ch.body["writes"] = writes
	return ch
}

// withImage posts with an image: one of those uploaded earlier, maybe before a crash, or a new one.
func (c *client) withImage() error {
	if len(c.uploaded) == 0 || c.rng.IntN(2) == 0 {
		if _, err := c.upload(); err != nil {
			return err
		}
	}
	blob := c.uploaded[0]
	c.uploaded = c.uploaded[1:]
	return c.send(c.create(blob))
}

func (c *client) upload() (*atdata.Blob, error) {
	c.n++
	body := image(c.id, c.n, 2_000+c.rng.IntN(30_000))
	var out struct{ Blob *atdata.Blob }
	err := wire.Call(c.conn, &wire.Request{Method: "POST", Path: wire.XRPC("com.atproto.repo.uploadBlob", ""), Token: c.account.Token,
		ContentType: "image/png", Body: body}, &out)
	if err != nil {
		return nil, err
	}
	if out.Blob == nil || out.Blob.Ref.CID() != rawCID(body) || out.Blob.Size != int64(len(body)) {
		return nil, fmt.Errorf("uploadBlob answered %+v for %s of %d bytes", out.Blob, rawCID(body), len(body))
	}
	c.account.keep(out.Blob.Ref.CID(), c.id, c.n, len(body))
	c.uploaded = append(c.uploaded, out.Blob)
	return out.Blob, nil
}

// post makes a record that no other record is like, and the CID that any implementation must find for it.
func (c *client) post(image *atdata.Blob) (map[string]any, *entry) {
	c.n++
	record := map[string]any{
		"$type": collection, "createdAt": "2026-01-02T03:04:05.678Z", "langs": []any{"en"},
		"text": fmt.Sprintf("client %d writes %d: %x", c.id, c.n, c.rng.Uint64()),
	}
	e := &entry{}
	if image != nil {
		e.blob = image.Ref.CID()
		record["embed"] = map[string]any{"$type": "app.bsky.embed.images", "images": []any{map[string]any{"alt": "noise", "image": image}}}
	}
	encoded, err := json.Marshal(record)
	if err != nil {
		panic(err)
	}
	parsed, err := atdata.UnmarshalJSON(encoded)
	if err != nil {
		panic(err)
	}
	block, err := atdata.MarshalCBOR(parsed)
	if err != nil {
		panic(err)
	}
	e.cid = cidOf(cid.DagCBOR, block)
	return record, e
}

// image is a PNG by its first bytes and noise by the rest, the same for the same arguments.
func image(id uint, n, size int) []byte {
	b := append(make([]byte, 0, size+8), "\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"...)
	rng := rand.New(rand.NewPCG(uint64(id), uint64(n)))
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b[:size]
}

func rawCID(b []byte) cid.Cid { return cidOf(cid.Raw, b) }

func cidOf(codec uint64, b []byte) cid.Cid {
	sum := sha256.Sum256(b)
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(codec, mh)
}

// seed says how to make the bytes of an uploaded image again.
type seed struct {
	id   uint
	n    int
	size int
}

// account is one repository, written to by several clients.
type account struct {
	*wire.Account
	clients []*client

	mu     sync.Mutex
	images map[cid.Cid]seed
}

func (a *account) keep(c cid.Cid, id uint, n, size int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.images[c] = seed{id, n, size}
}
