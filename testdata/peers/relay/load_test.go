package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	postType    = "app.bsky.feed.post"
	likeType    = "app.bsky.feed.like"
	profileType = "app.bsky.actor.profile"
	profilePath = profileType + "/self"
)

// writer is an account that writes, and what it knows to be acknowledged. One goroutine uses it at a time.
type writer struct {
	DID     string `json:"did"`
	Handle  string `json:"handle"`
	Access  string `json:"accessJwt"`
	client  *http.Client
	rng     *rand.Rand
	n       int
	records map[string]string // path -> CID
	paths   []string          // of the posts
	likes   map[string]string // subject -> path of the like
	commits []revision
}

// answer is what the write methods return.
type answer struct {
	URI     string                    `json:"uri"`
	CID     string                    `json:"cid"`
	Commit  struct{ CID, Rev string } `json:"commit"`
	Results []struct {
		URI string `json:"uri"`
		CID string `json:"cid"`
	} `json:"results"`
}

// signUp makes the account.
func signUp(client *http.Client, seed uint64, i int) (*writer, error) {
	w := &writer{
		client: client, rng: rand.New(rand.NewPCG(seed, uint64(i))),
		records: map[string]string{}, likes: map[string]string{},
	}
	name := fmt.Sprintf("writer%03d", i)
	err := w.call("com.atproto.server.createAccount", map[string]any{
		"handle": name + "." + pdsName, "email": name + "@example.com", "password": "password of " + name,
	}, w)
	return w, err
}

func (w *writer) call(nsid string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest("POST", "http://"+localAddress(pdsPort)+"/xrpc/"+nsid, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if w.Access != "" {
		req.Header.Set("Authorization", "Bearer "+w.Access)
	}
	res, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", nsid, res.Status, b)
	}
	return json.Unmarshal(b, out)
}

// latest asks for the repository's head.
func (w *writer) latest() (revision, error) {
	res, err := w.client.Get("http://" + localAddress(pdsPort) + "/xrpc/com.atproto.sync.getLatestCommit?did=" + w.DID)
	if err != nil {
		return revision{}, err
	}
	defer res.Body.Close()
	var head revision
	return head, json.NewDecoder(res.Body).Decode(&head)
}

// step makes one commit of a random kind.
func (w *writer) step() error {
	switch n := w.rng.IntN(100); {
	case n < 40 || len(w.paths) < 3:
		return w.create()
	case n < 50:
		return w.like()
	case n < 60:
		return w.put(profilePath, map[string]any{"$type": profileType, "description": w.text()})
	case n < 70:
		return w.put(w.pick(), w.post())
	case n < 82:
		return w.remove()
	case n < 97:
		return w.batch(2 + w.rng.IntN(20))
	default:
		return w.batch(maxCommitOps)
	}
}

func (w *writer) text() string {
	w.n++
	return fmt.Sprintf("number %d of %s %s", w.n, w.Handle, strings.Repeat("ż", w.rng.IntN(100)))
}

func (w *writer) post() map[string]any {
	return map[string]any{"$type": postType, "text": w.text(), "createdAt": time.Now().UTC().Format(time.RFC3339)}
}

func (w *writer) pick() string { return w.paths[w.rng.IntN(len(w.paths))] }

func (w *writer) path(uri string) string { return strings.TrimPrefix(uri, "at://"+w.DID+"/") }

func (w *writer) committed(a *answer) error {
	if a.Commit.CID == "" {
		return errors.New("a change without a commit")
	}
	w.commits = append(w.commits, revision{a.Commit.Rev, a.Commit.CID})
	return nil
}

func (w *writer) set(path, cid string) {
	if _, ok := w.records[path]; !ok && strings.HasPrefix(path, postType) {
		w.paths = append(w.paths, path)
	}
	w.records[path] = cid
}

func (w *writer) unset(path string) {
	delete(w.records, path)
	if i := slices.Index(w.paths, path); i >= 0 {
		w.paths[i] = w.paths[len(w.paths)-1]
		w.paths = w.paths[:len(w.paths)-1]
	}
}

func (w *writer) create() error {
	var a answer
	err := w.call("com.atproto.repo.createRecord", map[string]any{"repo": w.DID, "collection": postType, "record": w.post()}, &a)
	if err != nil {
		return err
	}
	w.set(w.path(a.URI), a.CID)
	return w.committed(&a)
}

// like likes one of the account's own posts; a second like of the same takes the place of the first.
func (w *writer) like() error {
	path := w.paths[w.rng.IntN(min(len(w.paths), 10))]
	subject := "at://" + w.DID + "/" + path
	record := map[string]any{
		"$type": likeType, "createdAt": time.Now().UTC().Format(time.RFC3339),
		"subject": map[string]any{"uri": subject, "cid": w.records[path]},
	}
	var a answer
	err := w.call("com.atproto.repo.createRecord", map[string]any{"repo": w.DID, "collection": likeType, "record": record}, &a)
	if err != nil {
		return err
	}
	if old := w.likes[subject]; old != "" {
		w.unset(old)
	}
	w.likes[subject] = w.path(a.URI)
	w.set(w.path(a.URI), a.CID)
	return w.committed(&a)
}

func (w *writer) put(path string, record map[string]any) error {
	collection, rkey, _ := strings.Cut(path, "/")
	var a answer
	in := map[string]any{"repo": w.DID, "collection": collection, "rkey": rkey, "record": record}
	if err := w.call("com.atproto.repo.putRecord", in, &a); err != nil {
		return err
	}
	w.set(path, a.CID)
	return w.committed(&a)
}

func (w *writer) remove() error {
	path := w.pick()
	collection, rkey, _ := strings.Cut(path, "/")
	var a answer
	in := map[string]any{"repo": w.DID, "collection": collection, "rkey": rkey}
	if err := w.call("com.atproto.repo.deleteRecord", in, &a); err != nil {
		return err
	}
	w.unset(path)
	return w.committed(&a)
}

// batch applies n writes to as many records: creates, and updates and deletes of what is there.
func (w *writer) batch(n int) error {
	there := slices.Clone(w.paths)
	w.rng.Shuffle(len(there), func(i, j int) { there[i], there[j] = there[j], there[i] })
	var writes []map[string]any
	var gone []string
	for range n {
		kind := w.rng.IntN(10)
		if kind < 5 || len(there) == 0 {
			writes = append(writes, map[string]any{"$type": "com.atproto.repo.applyWrites#create", "collection": postType, "value": w.post()})
			continue
		}
		path := there[0]
		there = there[1:]
		collection, rkey, _ := strings.Cut(path, "/")
		write := map[string]any{"$type": "com.atproto.repo.applyWrites#delete", "collection": collection, "rkey": rkey}
		if kind < 7 {
			write["$type"], write["value"] = "com.atproto.repo.applyWrites#update", w.post()
		} else {
			gone = append(gone, path)
		}
		writes = append(writes, write)
	}
	var a answer
	if err := w.call("com.atproto.repo.applyWrites", map[string]any{"repo": w.DID, "writes": writes}, &a); err != nil {
		return err
	}
	if len(a.Results) != n {
		return fmt.Errorf("%d results for %d writes", len(a.Results), n)
	}
	for _, r := range a.Results {
		if r.URI != "" {
			w.set(w.path(r.URI), r.CID)
		}
	}
	for _, path := range gone {
		w.unset(path)
	}
	return w.committed(&a)
}

// load shares commits among the writers.
type load struct {
	client  *http.Client
	writers []*writer
	workers int
}

func newLoad(accounts, workers int, seed uint64) (*load, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: workers}
	l := &load{client: &http.Client{Transport: transport, Timeout: time.Minute}, workers: workers}
	l.writers = make([]*writer, accounts)
	return l, l.each(func(i int) (err error) {
		l.writers[i], err = signUp(l.client, seed, i)
		return err
	})
}

// each runs fn for every index of a writer, on all workers.
func (l *load) each(fn func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, l.workers)
	for worker := range l.workers {
		wg.Go(func() {
			for i := worker; i < len(l.writers) && errs[worker] == nil; i += l.workers {
				errs[worker] = fn(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// run makes n commits. at is called, beside the load, when half of them are made.
func (l *load) run(ctx context.Context, n int, at func() error) error {
	var taken atomic.Int64
	var beside, wg sync.WaitGroup
	errs := make([]error, l.workers+1) // the last is at's
	for worker := range min(l.workers, len(l.writers)) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), uint64(worker)))
			var mine []*writer
			for i := worker; i < len(l.writers); i += l.workers {
				mine = append(mine, l.writers[i])
			}
			for ctx.Err() == nil && errs[worker] == nil {
				k := taken.Add(1)
				if k > int64(n) {
					return
				}
				if k == int64(n)/2 && at != nil {
					beside.Go(func() { errs[l.workers] = at() })
				}
				errs[worker] = mine[rng.IntN(len(mine))].step()
			}
		})
	}
	wg.Wait()
	beside.Wait()
	return errors.Join(errs...)
}
