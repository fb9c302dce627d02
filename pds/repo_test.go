package pds

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

const postCollection = "app.bsky.feed.post"

func TestRecordIsReadBackEqual(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	record := postRecord("héllo 👋 <&>")
	record["facets"] = []any{map[string]any{
		"index":    map[string]any{"byteStart": 0.0, "byteEnd": 6.0},
		"features": []any{map[string]any{"$type": "app.bsky.richtext.facet#link", "uri": "https://example.com/?a=1&b=2"}},
	}}
	record["unknownField"] = map[string]any{"kept": []any{nil, true, "x", -5.0}}
	out := c.post("com.atproto.repo.createRecord", map[string]any{"repo": c.handle, "collection": postCollection, "record": record}).ok()
	if out.str("validationStatus") != "valid" {
		t.Errorf("validationStatus %q, want valid", out.str("validationStatus"))
	}
	uri, err := syntax.ParseATURI(out.str("uri"))
	if err != nil || uri.Authority().String() != c.did {
		t.Fatalf("uri %q: %v", out.str("uri"), err)
	}
	anyone := c.anonymous(t)
	got := anyone.get("com.atproto.repo.getRecord", "repo", c.handle, "collection", postCollection, "rkey", uri.RecordKey().String()).ok()
	if !reflect.DeepEqual(got.at("value"), any(record)) {
		t.Errorf("read back %v, want %v", got.at("value"), record)
	}
	if got.str("cid") != out.str("cid") || got.str("uri") != out.str("uri") {
		t.Errorf("getRecord says %s %s, createRecord said %s %s", got.str("uri"), got.str("cid"), out.str("uri"), out.str("cid"))
	}
	list := anyone.get("com.atproto.repo.listRecords", "repo", c.did, "collection", postCollection).ok()
	if !reflect.DeepEqual(list.at("records.0.value"), any(record)) || list.at("cursor") != nil {
		t.Errorf("listRecords: %v", list)
	}
}

func TestValidationSwitch(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	bad := map[string]any{"$type": postCollection, "text": 5, "createdAt": "2026-11-23T12:00:00.000Z"}
	unknown := map[string]any{"$type": "com.example.thing", "a": 1}
	write := func(collection string, record any, validate any) *answer {
		in := map[string]any{"repo": c.did, "collection": collection, "record": record}
		if validate != nil {
			in["validate"] = validate
		}
		return c.post("com.atproto.repo.createRecord", in)
	}
	write(postCollection, bad, nil).fails(400, "InvalidRequest")
	write(postCollection, bad, true).fails(400, "InvalidRequest")
	if got := write(postCollection, bad, false).ok(); got.at("validationStatus") != nil {
		t.Errorf("validate false: status %v, want none", got.at("validationStatus"))
	}
	if got := write("com.example.thing", unknown, nil).ok(); got.str("validationStatus") != "unknown" {
		t.Errorf("unknown lexicon: status %v", got.at("validationStatus"))
	}
	write("com.example.thing", unknown, true).fails(400, "InvalidRequest")
	write("com.example.thing", map[string]any{"$type": "com.example.other"}, false).fails(400, "InvalidRequest")
	if got := write("com.example.thing", map[string]any{"a": 1}, nil).ok(); got.str("cid") == "" {
		t.Error("a missing $type is filled in")
	}
	profile := map[string]any{"$type": "app.bsky.actor.profile", "displayName": "A"}
	c.post("com.atproto.repo.putRecord", map[string]any{"repo": c.did, "collection": "app.bsky.actor.profile", "rkey": "other", "record": profile}).
		fails(400, "InvalidRequest") // the lexicon asks for the key "self"
}

func TestSwaps(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	put := func(text string, extra ...any) *answer {
		in := map[string]any{"repo": c.did, "collection": postCollection, "rkey": "3jzfcijpj2z2a", "record": postRecord(text)}
		for i := 0; i < len(extra); i += 2 {
			in[extra[i].(string)] = extra[i+1]
		}
		return c.post("com.atproto.repo.putRecord", in)
	}
	const other = "bafyreidybs54efa7emvmnv5wpyts6o6wvebpbabiwxhfqpfwemz4eejacy"
	put("one", "swapRecord", other).fails(400, "InvalidSwap")
	first := put("one", "swapRecord", nil).ok()
	put("two", "swapRecord", nil).fails(400, "InvalidSwap")
	put("two", "swapCommit", other).fails(400, "InvalidSwap")
	put("two", "swapCommit", "nonsense").fails(400, "InvalidRequest")
	second := put("two", "swapRecord", first.str("cid"), "swapCommit", first.str("commit.cid")).ok()
	if again := put("two").ok(); again.at("commit") != nil || again.str("cid") != second.str("cid") {
		t.Errorf("the same record again made a commit: %v", again)
	}
	del := map[string]any{"repo": c.did, "collection": postCollection, "rkey": "3jzfcijpj2z2a"}
	del["swapRecord"] = other
	c.post("com.atproto.repo.deleteRecord", del).fails(400, "InvalidSwap")
	del["swapRecord"] = second.str("cid")
	if out := c.post("com.atproto.repo.deleteRecord", del).ok(); out.at("commit") == nil {
		t.Error("delete made no commit")
	}
	delete(del, "swapRecord")
	if out := c.post("com.atproto.repo.deleteRecord", del).ok(); out.at("commit") != nil {
		t.Error("deleting what is not there made a commit")
	}
	if head := c.get("com.atproto.sync.getLatestCommit", "did", c.did).ok(); head.str("rev") <= second.str("commit.rev") {
		t.Error("rev did not rise")
	}
}

func TestRecordExistsAndMissing(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	in := map[string]any{"repo": c.did, "collection": postCollection, "rkey": "3jzfcijpj2z2a", "record": postRecord("x")}
	for _, action := range []string{"update", "delete"} {
		write := map[string]any{"$type": applyWritesNSID + "#" + action, "collection": postCollection, "rkey": "3jzfcijpj2z2a", "value": postRecord("x")}
		c.post(applyWritesNSID, map[string]any{"repo": c.did, "writes": []any{write}}).fails(400, "RecordNotFound")
	}
	c.post("com.atproto.repo.createRecord", in).ok()
	c.post("com.atproto.repo.createRecord", in).fails(400, "RecordAlreadyExists")
	c.get("com.atproto.repo.getRecord", "repo", c.did, "collection", postCollection, "rkey", "missing").fails(400, "RecordNotFound")
	c.get("com.atproto.repo.listRecords", "repo", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "collection", postCollection).fails(400, "RepoNotFound")
}

func TestOnlyOnesOwnRepo(t *testing.T) {
	n := startNetwork(t, nil)
	alice, bob := n.signUp(t, "alice"), n.signUp(t, "bob")
	in := map[string]any{"repo": bob.did, "collection": postCollection, "record": postRecord("x")}
	alice.post("com.atproto.repo.createRecord", in).fails(401, "AuthenticationRequired")
	n.anonymous(t).post("com.atproto.repo.createRecord", in).fails(401, "AuthMissing")
	in["repo"] = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	alice.post("com.atproto.repo.createRecord", in).fails(400, "InvalidRequest")
}

func TestApplyWritesIsOneCommit(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	before := c.srv.store.LastSeq()
	writes := make([]any, 200)
	for i := range writes {
		writes[i] = map[string]any{"$type": applyWritesNSID + "#create", "collection": postCollection, "rkey": fmt.Sprintf("3jzfcijpj2%03d", i), "value": postRecord("x")}
	}
	// Digits 0, 1, 8 and 9 are not in the alphabet of TIDs.
	c.post(applyWritesNSID, map[string]any{"repo": c.did, "writes": writes}).fails(400, "InvalidRequest")
	if c.srv.store.LastSeq() != before {
		t.Fatal("a refused batch left an event")
	}
	for _, w := range writes {
		delete(w.(map[string]any), "rkey")
	}
	out := c.post(applyWritesNSID, map[string]any{"repo": c.did, "writes": writes}).ok()
	if n := len(out.at("results").([]any)); n != 200 || out.at("commit") == nil {
		t.Errorf("%d results, commit %v", n, out.at("commit"))
	}
	events, err := c.srv.store.Events(t.Context(), before, 10, 1<<24)
	if err != nil || len(events) != 1 {
		t.Errorf("%d events, want 1 (%v)", len(events), err)
	}
	c.post(applyWritesNSID, map[string]any{"repo": c.did, "writes": append(writes, writes[0])}).fails(400, "InvalidRequest")
}

func TestDuplicateLikeIsReplaced(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	post := c.createPost("x")
	like := map[string]any{"repo": c.did, "collection": "app.bsky.feed.like", "record": map[string]any{
		"$type": "app.bsky.feed.like", "createdAt": "2026-11-23T12:00:00.000Z",
		"subject": map[string]any{"uri": post.str("uri"), "cid": post.str("cid")},
	}}
	first := c.post("com.atproto.repo.createRecord", like).ok()
	second := c.post("com.atproto.repo.createRecord", like).ok()
	list := c.get("com.atproto.repo.listRecords", "repo", c.did, "collection", "app.bsky.feed.like").ok()
	if n := len(list.at("records").([]any)); n != 1 || list.str("records.0.uri") != second.str("uri") {
		t.Errorf("%d likes after the second (%s): %v", n, first.str("uri"), list)
	}
}

func TestListRecordsPages(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	var want []string
	for i := range 25 {
		want = append(want, c.createPost(fmt.Sprint(i)).str("uri"))
	}
	for _, reverse := range []bool{false, true} {
		var got []string
		cursor, pages := "", 0
		for {
			params := []string{"repo", c.did, "collection", postCollection, "limit", "10", "reverse", fmt.Sprint(reverse)}
			if cursor != "" {
				params = append(params, "cursor", cursor)
			}
			out := c.get("com.atproto.repo.listRecords", params...).ok()
			for _, r := range out.at("records").([]any) {
				uri := object(r.(map[string]any)).str("uri")
				if reverse {
					got = append(got, uri)
				} else {
					got = append([]string{uri}, got...)
				}
			}
			pages++
			if cursor = out.str("cursor"); cursor == "" {
				break
			}
		}
		if !reflect.DeepEqual(got, want) || pages != 3 {
			t.Errorf("reverse %v: %d records on %d pages, want %d on 3 in order", reverse, len(got), pages, len(want))
		}
	}
	for _, limit := range []string{"0", "101", "-1", "x"} {
		c.get("com.atproto.repo.listRecords", "repo", c.did, "collection", postCollection, "limit", limit).fails(400, "InvalidRequest")
	}
}

func TestRecordLimits(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	big := map[string]any{"repo": c.did, "collection": "com.example.thing", "record": map[string]any{"text": strings.Repeat("x", 999_000)}}
	c.post("com.atproto.repo.createRecord", big).ok()
	big["record"] = map[string]any{"text": strings.Repeat("x", 1_000_001)}
	c.post("com.atproto.repo.createRecord", big).fails(http.StatusRequestEntityTooLarge, "PayloadTooLarge")
	deep := any("x")
	for range 40 {
		deep = []any{deep}
	}
	big["record"] = map[string]any{"deep": deep}
	c.post("com.atproto.repo.createRecord", big).fails(400, "InvalidRequest")
}
