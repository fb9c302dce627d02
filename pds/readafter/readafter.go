// Package readafter lays what an account has just written over what an AppView answers, which has not heard of it yet: somebody who posts sees
// the post at once, at its place in the timeline, in the author's feed and in the thread.
//
// An AppView says with the header Atproto-Repo-Rev up to which revision of the caller's repository it has read. The server finds the
// caller's profile and posts that are later, and an Overlay puts them into the answer. It works on JSON and knows neither database nor
// network: what it needs from the AppView, such as the view of a quoted post, it asks for through Options.Lookup.
//
// What an answer holds that is not understood stays as it is, and whatever is of another shape than the lexicon says is passed over.
package readafter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// The collections whose records are laid over answers.
const (
	ProfileCollection = syntax.NSID("app.bsky.actor.profile")
	PostCollection    = syntax.NSID("app.bsky.feed.post")
)

// Record is a record of the caller, valid by its lexicon.
type Record struct {
	URI   string
	CID   string
	Time  time.Time // when it was written here
	Value json.RawMessage
}

// Options say whose records are laid over and where views come from. All are needed.
type Options struct {
	DID    syntax.DID
	Handle syntax.Handle
	// Profile is the caller's profile record as JSON, nil when there is none. It is in the author of each post made here.
	Profile json.RawMessage
	// FreshProfile is the time at which the profile was written when the AppView has not seen it, else zero.
	FreshProfile time.Time
	// Posts are those that the AppView has not seen, in any order.
	Posts []Record
	// ImageURL is where the blob of the caller's is found as an image: preset is avatar, banner, feed_thumbnail or feed_fullsize.
	ImageURL func(preset, cid string) string
	// Lookup asks the AppView in the caller's name and returns its answer.
	Lookup func(ctx context.Context, method syntax.NSID, params url.Values) ([]byte, error)
}

// Overlay is what is laid over the answers to one caller at one moment. It serves one request.
type Overlay struct {
	opts    Options
	profile map[string]any
	posts   []*post // the latest first
	views   map[string]map[string]any
	looked  bool
}

// post is a fresh post with what is often needed of it.
type post struct {
	Record
	value        map[string]any
	sortAt       time.Time // where it stands in a feed
	root, parent string    // URIs, "" when it is no reply
}

// New returns the Overlay of a caller. Records that are not objects are left out.
func New(o Options) *Overlay {
	v := &Overlay{opts: o}
	if o.Profile != nil {
		v.profile, _ = decode(o.Profile)
	}
	for _, r := range o.Posts {
		value, err := decode(r.Value)
		if err != nil {
			continue
		}
		reply := object(value, "reply")
		v.posts = append(v.posts, &post{
			Record: r,
			value:  value,
			sortAt: earlier(timeOf(value, "createdAt"), r.Time),
			root:   text(object(reply, "root"), "uri"),
			parent: text(object(reply, "parent"), "uri"),
		})
	}
	sortLatestFirst(v.posts)
	return v
}

// Empty tells whether there is nothing to lay over.
func (v *Overlay) Empty() bool { return v.opts.FreshProfile.IsZero() && len(v.posts) == 0 }

// Since returns the time of the oldest record that the AppView has not seen, zero when there is none.
func (v *Overlay) Since() time.Time {
	oldest := v.opts.FreshProfile
	for _, p := range v.posts {
		if oldest.IsZero() || p.Time.Before(oldest) {
			oldest = p.Time
		}
	}
	return oldest
}

// local returns the fresh post of this URI, nil when there is none.
func (v *Overlay) local(uri string) *post {
	for _, p := range v.posts {
		if p.URI == uri {
			return p
		}
	}
	return nil
}

// edit decodes an answer, lets change alter it, and encodes it again.
func edit(body []byte, change func(answer map[string]any)) ([]byte, error) {
	answer, err := decode(body)
	if err != nil {
		return nil, err
	}
	change(answer)
	return encode(answer)
}

func decode(b []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if m == nil {
		return nil, fmt.Errorf("read answer: no object")
	}
	return m, nil
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("write answer: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// object returns the object under a key, nil when there is none. A nil map may be asked.
func object(m map[string]any, key string) map[string]any {
	o, _ := m[key].(map[string]any)
	return o
}

// objects returns the objects in the list under a key.
func objects(m map[string]any, key string) []map[string]any {
	list, _ := m[key].([]any)
	var out []map[string]any
	for _, item := range list {
		if o, ok := item.(map[string]any); ok {
			out = append(out, o)
		}
	}
	return out
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

// timeOf reads a time, zero when there is none.
func timeOf(m map[string]any, key string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text(m, key))
	if err != nil {
		return time.Time{}
	}
	return t
}

// earlier returns the earlier of two times; zero stands for none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// collectionOf returns the collection in an AT URI, "" when there is none.
func collectionOf(uri string) string {
	rest, _ := strings.CutPrefix(uri, "at://")
	_, path, _ := strings.Cut(rest, "/")
	collection, _, _ := strings.Cut(path, "/")
	return collection
}
