package readafter

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/lexicons"
)

const (
	alice = syntax.DID("did:plc:aliceaaaaaaaaaaaaaaaaaaa")
	aCID  = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// overlay has a fresh profile and three fresh posts, of which the second and the third answer each other.
func overlay() *Overlay {
	uri := func(rkey string) string { return "at://" + alice.String() + "/app.bsky.feed.post/" + rkey }
	reply := func(rkey, parent string, at time.Duration) Record {
		ref := `{"uri":"` + uri(parent) + `","cid":"` + aCID + `"}`
		return Record{URI: uri(rkey), CID: aCID, Time: noon.Add(at), Value: json.RawMessage(
			`{"$type":"app.bsky.feed.post","text":"<` + rkey + `>","createdAt":"2026-11-23T12:00:00Z","reply":{"root":` + ref + `,"parent":` + ref + `}}`)}
	}
	return New(Options{
		DID: alice, Handle: "alice.test", FreshProfile: noon,
		Profile: json.RawMessage(`{"$type":"app.bsky.actor.profile","displayName":"Alice"}`),
		Posts: []Record{
			{URI: uri("1"), CID: aCID, Time: noon, Value: json.RawMessage(`{"$type":"app.bsky.feed.post","text":"<1>","createdAt":"2026-11-23T12:00:00Z"}`)},
			reply("2", "3", time.Second),
			reply("3", "2", 2*time.Second),
			{URI: uri("4"), CID: aCID, Time: noon, Value: json.RawMessage(`[]`)},
		},
		ImageURL: func(preset, cid string) string { return "https://img.example.com/" + preset + "/" + cid },
		Lookup:   func(context.Context, syntax.NSID, url.Values) ([]byte, error) { return nil, errors.New("no network") },
	})
}

// everything lays the overlay over a body in all ways that there are.
func everything(t *testing.T, body []byte) {
	ctx, v := context.Background(), overlay()
	q := url.Values{"actor": {alice.String()}}
	for name, lay := range map[string]func() ([]byte, error){
		"profile":  func() ([]byte, error) { return v.Profile(body) },
		"profiles": func() ([]byte, error) { return v.Profiles(body) },
		"likes":    func() ([]byte, error) { return v.Likes(body) },
		"timeline": func() ([]byte, error) { return v.Timeline(ctx, body, q) },
		"author":   func() ([]byte, error) { return v.AuthorFeed(ctx, body, q) },
		"thread":   func() ([]byte, error) { return v.Thread(ctx, body, q) },
	} {
		if out, err := lay(); err == nil && !json.Valid(out) {
			t.Errorf("%s of %q: %q", name, body, out)
		}
	}
}

var strange = []string{
	``, `null`, `[]`, `1`, `{}`, `{"feed":null}`, `{"feed":{}}`, `{"feed":[]}`, `{"feed":[1,null,"x",[],{}]}`, `{"feed":[{"post":7,"reason":[],"reply":{"root":1}}],"cursor":9}`,
	`{"feed":[{"post":{"indexedAt":"x","record":"y","author":[]}}],"cursor":"c"}`, `{"feed":[{"post":{"indexedAt":"2026-11-23T11:00:00Z"},"reason":{"$type":"app.bsky.feed.defs#reasonPin"}}]}`,
	`{"thread":null}`, `{"thread":{"$type":"app.bsky.feed.defs#notFoundPost"}}`, `{"thread":{"$type":"app.bsky.feed.defs#threadViewPost","replies":7,"post":{"uri":"at://did:plc:aliceaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/2"}}}`,
	`{"thread":{"$type":"app.bsky.feed.defs#threadViewPost","replies":[null,{"replies":[{}]}],"parent":{"parent":3},"post":[]}}`,
	`{"did":"did:plc:aliceaaaaaaaaaaaaaaaaaaa","displayName":7}`, `{"profiles":[{"did":"did:plc:aliceaaaaaaaaaaaaaaaaaaa"},3]}`, `{"feed":[],"big":123456789012345678901234567890}`,
	strings.Repeat(`{"thread":`, 20000), strings.Repeat(`{"replies":[`, 5000) + strings.Repeat(`]}`, 5000),
}

func TestStrangeAnswers(t *testing.T) {
	for _, body := range strange {
		everything(t, []byte(body))
	}
}

func FuzzAnswers(f *testing.F) {
	for _, body := range strange[:len(strange)-2] {
		f.Add([]byte(body))
	}
	f.Fuzz(everything)
}

// What the overlay does not understand, it leaves alone.
func TestTheRestStays(t *testing.T) {
	out, err := overlay().Profile([]byte(`{"handle":"alice.test","big":12345678901234567890,"html":"<&>","did":"` + alice.String() + `","later":{"x":[1.50,null]}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"big":12345678901234567890`, `"html":"<&>"`, `"later":{"x":[1.50,null]}`, `"displayName":"Alice"`} {
		if !strings.Contains(string(out), part) {
			t.Errorf("%s is not in %s", part, out)
		}
	}
}

// Posts that answer one another in a circle end, at the height that was asked for.
func TestCircleOfReplies(t *testing.T) {
	v := overlay()
	out, err := v.MissingThread(context.Background(), v.posts[0].URI, url.Values{"parentHeight": {"5"}})
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), `"parent":{"$type"`); n != 5 {
		t.Errorf("%d parents: %s", n, out)
	}
	m, err := lexicons.Default().Method("app.bsky.feed.getPostThread")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ValidateOutput(out); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := v.MissingThread(context.Background(), "at://"+alice.String()+"/app.bsky.feed.post/5", nil); out != nil || err != nil {
		t.Errorf("a post that is not there: %s, %v", out, err)
	}
}

// A pinned post stays on top, and a repost stands where it was reposted.
func TestPlaceBesidePinsAndReposts(t *testing.T) {
	item := func(name, indexed, reason string) string {
		return `{"post":{"uri":"` + name + `","indexedAt":"` + indexed + `"}` + reason + `}`
	}
	body := `{"feed":[` + strings.Join([]string{
		item("pin", "2020-01-01T00:00:00Z", `,"reason":{"$type":"app.bsky.feed.defs#reasonPin"}`),
		item("repost", "2020-01-01T00:00:00Z", `,"reason":{"$type":"app.bsky.feed.defs#reasonRepost","indexedAt":"2026-11-23T13:00:00Z"}`),
		item("at://"+alice.String()+"/app.bsky.feed.post/2", "2026-11-23T12:00:00Z", ""),
		item("older", "2026-11-23T11:00:00.123Z", ""),
	}, ",") + `]}`
	out, err := overlay().Timeline(context.Background(), []byte(body), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := decode(out)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range objects(answer, "feed") {
		uri := text(object(i, "post"), "uri")
		got = append(got, uri[strings.LastIndexByte(uri, '/')+1:])
	}
	if strings.Join(got, " ") != "pin repost 3 1 2 older" {
		t.Errorf("%q", got)
	}
}
