package wire

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// Account is one made by CreateAccount, with its access token.
type Account struct {
	DID     string `json:"did"`
	Handle  string `json:"handle"`
	Token   string `json:"accessJwt"`
	Refresh string `json:"refreshJwt"`
}

// Password is that of every account made here.
const Password = "correct-horse-battery"

// XRPC is the path of a method with an optional query string ("repo=...&limit=5").
func XRPC(nsid, query string) string {
	if query == "" {
		return "/xrpc/" + nsid
	}
	return "/xrpc/" + nsid + "?" + query
}

// Call sends req and wants status 200; out, if not nil, takes the JSON answer.
func Call(c *Conn, req *Request, out any) error {
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	if res.Status != 200 {
		return &StatusError{Method: req.Path, Status: res.Status, Body: string(res.Body[:min(len(res.Body), 400)])}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(res.Body, out)
}

// StatusError is an answer other than 200.
type StatusError struct {
	Method string
	Status int
	Body   string
}

// Error implements error.
func (e *StatusError) Error() string { return fmt.Sprintf("%s: %d %s", e.Method, e.Status, e.Body) }

// Post calls a procedure with a JSON input.
func Post(c *Conn, nsid, token string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return Call(c, &Request{Method: "POST", Path: XRPC(nsid, ""), Token: token, ContentType: "application/json", Body: body}, out)
}

// AccountInput is the body of a createAccount for name.test.
func AccountInput(name string) []byte {
	return fmt.Appendf(nil, `{"handle":"%s.test","email":"%s@example.com","password":"%s"}`, name, name, Password)
}

// CreateAccount makes the account name.test.
func CreateAccount(c *Conn, name string) (*Account, error) {
	a := new(Account)
	err := Call(c, &Request{Method: "POST", Path: XRPC("com.atproto.server.createAccount", ""), ContentType: "application/json", Body: AccountInput(name)}, a)
	return a, err
}

var words = []string{"morning", "river", "the", "a", "on", "with", "coffee", "walked", "again", "nobody", "quietly", "saw", "because", "harbour",
	"seventeen", "perhaps", "light", "window", "train", "over", "and", "garden", "we", "late", "still", "paper", "rain", "thinking", "of", "small"}

// Posts makes app.bsky.feed.post records of about 300 bytes, each one unlike all others. One per goroutine.
type Posts struct {
	rng *rand.Rand
	n   int
	tag string
}

// NewPosts returns a source whose texts hold tag and a counter.
func NewPosts(tag string) *Posts {
	seed := uint64(len(tag))
	for _, r := range tag {
		seed = seed*31 + uint64(r)
	}
	return &Posts{rng: rand.New(rand.NewPCG(seed, 7)), tag: tag}
}

// Append writes the next record as JSON.
func (p *Posts) Append(b []byte) []byte {
	p.n++
	b = append(b, `{"$type":"app.bsky.feed.post","text":"`...)
	b = append(b, p.tag...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(p.n), 10)
	for start := len(b); len(b)-start < 150; {
		b = append(b, ' ')
		b = append(b, words[p.rng.IntN(len(words))]...)
	}
	b = append(b, `","langs":["en"],"createdAt":"`...)
	b = time.Now().UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	return append(b, `"}`...)
}

// AppendCreate writes the body of a createRecord.
func (p *Posts) AppendCreate(b []byte, did string) []byte {
	b = append(b, `{"repo":"`...)
	b = append(b, did...)
	b = append(b, `","collection":"app.bsky.feed.post","record":`...)
	b = p.Append(b)
	return append(b, '}')
}

// AppendBatch writes the body of an applyWrites that creates n posts.
func (p *Posts) AppendBatch(b []byte, did string, n int) []byte {
	b = append(b, `{"repo":"`...)
	b = append(b, did...)
	b = append(b, `","writes":[`...)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"$type":"com.atproto.repo.applyWrites#create","collection":"app.bsky.feed.post","value":`...)
		b = p.Append(b)
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

// Written is what the answers of the writing methods have in common.
type Written struct {
	URI    string `json:"uri"`
	CID    string `json:"cid"`
	Commit struct {
		CID string `json:"cid"`
		Rev string `json:"rev"`
	} `json:"commit"`
}
