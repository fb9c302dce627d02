package scope

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestParse: scopes as apps write them and in their plain form, "" for those that permit nothing.
func TestParse(t *testing.T) {
	const svc = "did:web:api.example.com#svc"
	for in, want := range map[string]string{
		"atproto": "atproto", "transition:generic": "transition:generic", "transition:chat.bsky": "transition:chat.bsky", "transition:email": "transition:email",
		"transition": "", "transition:": "", "transition:all": "", "transition:generic?x=y": "", "atproto:x": "", "atproto?x=y": "", "ATPROTO": "", "openid": "", "": "",

		"repo:*":                                               "repo:*",
		"repo:app.bsky.feed.post":                              "repo:app.bsky.feed.post",
		"repo?collection=app.bsky.feed.post":                   "repo:app.bsky.feed.post",
		"repo:app.bsky.feed.post?":                             "repo:app.bsky.feed.post",
		"repo:app.bsky.feed.post?action=create":                "repo:app.bsky.feed.post?action=create",
		"repo:app.bsky.feed%2Epost":                            "repo:app.bsky.feed.post",
		"repo:a.b.c?action=update&action=create":               "repo:a.b.c?action=create&action=update",
		"repo:a.b.c?action=create&action=create":               "repo:a.b.c?action=create",
		"repo?collection=a.b.c&collection=d.e.f":               "repo?collection=a.b.c&collection=d.e.f",
		"repo?collection=a.b.c&collection=*":                   "repo:*",
		"repo:a.b.c?action=delete&action=create&action=update": "repo:a.b.c",
		"repo": "", "repo:": "", "repo?": "", "repo?collection=": "", "repo:a.b.*": "", "repo:post": "", "repo:a.b.c?collection=d.e.f": "",
		"repo:a.b.c?action=read": "", "repo:a.b.c?action=": "", "repo:a.b.c?action=*": "", "repo:a.b.c?future=x": "", "repo:a.b.c?action": "",
		"repo:a.b.c:d": "", "repo:%zz": "", "REPO:a.b.c": "", "repos:a.b.c": "", "repo:a.b.c?=x": "", "repo:a.b.c d": "", "repo:a..c": "", "repo:*?action=all": "",

		"rpc:a.b.c?aud=" + strings.ReplaceAll(svc, "#", "%23"): "rpc:a.b.c?aud=did:web:api.example.com%23svc",
		"rpc:a.b.c?aud=" + svc:                                 "rpc:a.b.c?aud=did:web:api.example.com%23svc",
		"rpc:a.b.c?aud=*":                                      "rpc:a.b.c?aud=*",
		"rpc:*?aud=did:plc:aaaaaaaaaaaaaaaaaaaaaaaa%23x":       "rpc:*?aud=did:plc:aaaaaaaaaaaaaaaaaaaaaaaa%23x",
		"rpc?lxm=a.b.c&lxm=d.e.f&aud=*":                        "rpc?lxm=a.b.c&lxm=d.e.f&aud=*",
		"rpc?lxm=d.e.f&lxm=a.b.c&aud=*":                        "rpc?lxm=a.b.c&lxm=d.e.f&aud=*",
		"rpc:*?aud=*":                                          "",
		"rpc?lxm=*&lxm=a.b.c&aud=*":                            "",
		"rpc:a.b.c":                                            "",
		"rpc:a.b.c?aud=":                                       "",
		"rpc:a.b.c?aud=did:web:x.y":                            "",
		"rpc:a.b.c?aud=did:web:x.y%23":                         "",
		"rpc:a.b.c?aud=https://x.y":                            "",
		"rpc:a.b.c?aud=*&aud=*":                                "",
		"rpc?aud=*":                                            "",
		"rpc:a.b.*?aud=*":                                      "",
		"rpc:a.b.c?lxm=a.b.c&aud=*":                            "",
		"rpc:a.b.c?aud=*&inheritAud=true":                      "",

		"blob:*/*": "blob:*/*", "blob:image/*": "blob:image/*", "blob:image/png": "blob:image/png", "blob?accept=image/png&accept=video/*": "blob?accept=image/png&accept=video/*",
		"blob?accept=image/svg%2Bxml": "blob:image/svg%2Bxml",
		"blob":                        "", "blob:": "", "blob:*": "", "blob:image": "", "blob:*/png": "", "blob:image/": "", "blob:/png": "", "blob:image/p*": "", "blob:a/b/c": "", "blob:image/png?x=y": "",
		"blob?accept=image/svg+xml": "",

		"account:email": "account:email", "account:email?action=read": "account:email", "account:repo?action=manage": "account:repo?action=manage",
		"account?attr=status&action=manage": "account:status?action=manage", "account:email?action=read&action=manage": "account:email?action=manage&action=read",
		"account": "", "account:*": "", "account:": "", "account:password": "", "account:email?action=delete": "", "account:email?attr=email": "", "account?attr=email&attr=repo": "",

		"identity:handle": "identity:handle", "identity:*": "identity:*", "identity?attr=handle": "identity:handle",
		"identity": "", "identity:did": "", "identity:handle?action=manage": "", "identity:handle?attr=handle": "",

		"include:com.example.authBasic":                     "include:com.example.authBasic",
		"include:com.example.authBasic?aud=did:web:a.b%23c": "include:com.example.authBasic?aud=did:web:a.b%23c",
		"include?nsid=com.example.authBasic":                "include:com.example.authBasic",
		"include":                                           "", "include:*": "", "include:basic": "", "include:a.b.c?aud=*": "", "include:a.b.c?aud=did:web:a.b": "", "include:a.b.c?x=y": "",

		"space:a.b.c": "", "rpc": "", "\x00": "", "répo:a.b.c": "", `repo:a.b.c"`: "", `repo:a\b`: "",
	} {
		p, ok := Parse(in)
		if got := p.String(); !ok && want != "" || ok && got != want {
			t.Errorf("%q: %q %v, want %q", in, got, ok, want)
		}
	}
}

func TestSplit(t *testing.T) {
	for in, want := range map[string]int{"": 0, "a": 1, "a b": 2, "a b a": 2, "a?b=c&d=e:*/#": 1} {
		if got, err := Split(in); err != nil || len(got) != want {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	for _, in := range []string{" ", "a ", " a", "a  b", "a\tb", "a\nb", `a"b`, `a\b`, "ä", strings.Repeat("a", 20_000), strings.Repeat("a ", 300) + "b"} {
		if got, err := Split(in); err == nil {
			t.Errorf("%.20q: %.40q", in, got)
		}
	}
}

func TestGrant(t *testing.T) {
	const view = "did:web:api.bsky.app#bsky_appview"
	type asks = func(g *Grant) bool
	write := func(c, a string) asks { return func(g *Grant) bool { return g.AllowsRepo(c, a) } }
	call := func(m, aud string) asks { return func(g *Grant) bool { return g.AllowsRPC(m, aud) } }
	blob := func(m string) asks { return func(g *Grant) bool { return g.AllowsBlob(m) } }
	acct := func(attr, a string) asks { return func(g *Grant) bool { return g.AllowsAccount(attr, a) } }
	ident := func(attr string) asks { return func(g *Grant) bool { return g.AllowsIdentity(attr) } }
	for _, c := range []struct {
		scopes string
		ask    asks
		want   bool
	}{
		{"atproto", write("a.b.c", Create), false}, {"repo:*", write("a.b.c", Create), false}, {"atproto repo:*", write("a.b.c", Delete), true},
		{"atproto repo:a.b.c", write("a.b.c", Update), true}, {"atproto repo:a.b.c", write("a.b.cd", Update), false}, {"atproto repo:a.b.c", write("A.b.c", Update), false},
		{"atproto repo:a.b.c?action=create", write("a.b.c", Update), false}, {"atproto repo:a.b.c?action=create repo:a.b.c?action=update", write("a.b.c", Update), true},
		{"atproto repo:a.b.c?x=y", write("a.b.c", Create), false}, {"atproto transition:generic", write("a.b.c", Create), true}, {"transition:generic", write("a.b.c", Create), false},
		{"atproto rpc:a.b.c?aud=*", call("a.b.c", view), true}, {"atproto rpc:a.b.c?aud=*", call("a.b.d", view), false}, {"atproto rpc:a.b.c?aud=*", call(Any, view), false},
		{"atproto rpc:a.b.c?aud=" + view, call("a.b.c", "did:web:api.bsky.app#other"), false}, {"atproto rpc:a.b.c?aud=" + view, call("a.b.c", "did:web:api.bsky.app"), false},
		{"atproto rpc:*?aud=" + view, call(Any, view), true}, {"atproto rpc:*?aud=" + view, call("chat.bsky.convo.getLog", view), true},
		{"atproto transition:generic", call("a.b.c", view), true}, {"atproto transition:generic", call("chat.bsky.convo.getLog", view), false},
		{"atproto transition:generic", call("CHAT.bsky.convo.getLog", view), false}, {"atproto transition:generic", call(Any, view), false},
		{"atproto transition:generic", call("com.atproto.server.createAccount", view), false},
		{"atproto transition:chat.bsky", call("chat.bsky.convo.getLog", view), false}, {"atproto transition:generic transition:chat.bsky", call("chat.bsky.convo.getLog", view), true},
		{"atproto blob:image/*", blob("image/png"), true}, {"atproto blob:image/*", blob("IMAGE/PNG"), true}, {"atproto blob:image/*", blob("imagex/png"), false},
		{"atproto blob:image/*", blob("image"), false}, {"atproto blob:image/*", blob("image/*"), false}, {"atproto blob:*/*", blob("text/html"), true}, {"atproto blob:*/*", blob("*/*"), false},
		{"atproto blob:image/png", blob("image/jpeg"), false}, {"atproto", blob("image/png"), false}, {"atproto transition:generic", blob("x/y"), true},
		{"atproto account:email", acct(Email, Read), true}, {"atproto account:email", acct(Email, Manage), false}, {"atproto account:email?action=manage", acct(Email, Read), true},
		{"atproto transition:email", acct(Email, Read), true}, {"atproto transition:email", acct(Email, Manage), false}, {"atproto transition:generic", acct(Email, Read), false},
		{"atproto account:repo", acct(Repos, Manage), false}, {"atproto account:repo?action=manage", acct(Status, Manage), false},
		{"atproto identity:handle", ident(Handle), true}, {"atproto identity:handle", ident(Any), false}, {"atproto identity:*", ident(Handle), true}, {"atproto transition:generic", ident(Handle), false},
	} {
		if got := c.ask(NewGrant(strings.Fields(c.scopes))); got != c.want {
			t.Errorf("%s: %v, want %v", c.scopes, got, c.want)
		}
	}
	var nobody *Grant
	if nobody.Valid() || nobody.AllowsRepo("a.b.c", Create) || nobody.AllowsBlob("a/b") || nobody.AllowsRPC("a.b.c", view) {
		t.Error("no grant permits something")
	}
}

// TestExpand: what entries of a permission set give, "" for nothing.
func TestExpand(t *testing.T) {
	include, _ := Parse("include:com.example.app.authBasic?aud=did:web:api.example.com%23svc")
	for entry, want := range map[string]string{
		`{"type":"permission","resource":"repo","collection":["com.example.app.post"]}`:                             "repo:com.example.app.post",
		`{"type":"permission","resource":"repo","collection":["com.example.app.sub.post"],"action":["create"]}`:     "repo:com.example.app.sub.post?action=create",
		`{"type":"permission","resource":"rpc","lxm":["com.example.app.get"],"aud":"*"}`:                            "rpc:com.example.app.get?aud=*",
		`{"type":"permission","resource":"rpc","lxm":["com.example.app.get"],"inheritAud":true}`:                    "rpc:com.example.app.get?aud=did:web:api.example.com%23svc",
		`{"type":"permission","resource":"repo","collection":["com.example.post"]}`:                                 "", // parent
		`{"type":"permission","resource":"repo","collection":["com.example.other.post"]}`:                           "", // sibling
		`{"type":"permission","resource":"repo","collection":["com.example.application.post"]}`:                     "", // begins alike
		`{"type":"permission","resource":"repo","collection":["com.example.app.post","app.bsky.feed.post"]}`:        "",
		`{"type":"permission","resource":"repo","collection":["*"]}`:                                                "",
		`{"type":"permission","resource":"repo","collection":["com.example.app.*"]}`:                                "",
		`{"type":"permission","resource":"repo","collection":[]}`:                                                   "",
		`{"type":"permission","resource":"repo"}`:                                                                   "",
		`{"type":"permission","resource":"repo","collection":["com.example.app.post"],"maxRecords":3}`:              "", // may narrow it
		`{"type":"permission","resource":"repo","collection":["com.example.app.post"],"inheritAud":true}`:           "",
		`{"type":"permission","resource":"repo","collection":["com.example.app.post"],"action":["read"]}`:           "",
		`{"type":"permission","resource":"rpc","lxm":["com.example.app.get"]}`:                                      "",
		`{"type":"permission","resource":"rpc","lxm":["com.example.app.get"],"aud":"did:web:evil.example.com#svc"}`: "",
		`{"type":"permission","resource":"rpc","lxm":["com.example.app.get"],"aud":"*","inheritAud":true}`:          "",
		`{"type":"permission","resource":"rpc","lxm":["com.example.app.get"],"inheritAud":"yes"}`:                   "",
		`{"type":"permission","resource":"rpc","lxm":["*"],"inheritAud":true}`:                                      "",
		`{"type":"permission","resource":"rpc","lxm":["com.atproto.server.createAccount"],"inheritAud":true}`:       "",
		`{"type":"permission","resource":"blob","accept":["image/*"]}`:                                              "",
		`{"type":"permission","resource":"account","attr":"email"}`:                                                 "",
		`{"type":"permission","resource":"identity","attr":"*"}`:                                                    "",
		`{"type":"permission","resource":"include","nsid":"com.example.app.authBasic"}`:                             "",
		`{"type":"permission","resource":"future"}`:                                                                 "",
		`{"resource":"repo","collection":["com.example.app.post"]}`:                                                 "",
		`{"type":"permission","resource":"repo","collection":[1]}`:                                                  "",
		`{}`: "",
	} {
		set, err := ParseSet(include.Set, []byte(`{"lexicon":1,"id":"com.example.app.authBasic","defs":{"main":{"type":"permission-set","permissions":[`+entry+`]}}}`))
		if err != nil {
			t.Fatalf("%s: %v", entry, err)
		}
		var got string
		for _, p := range Expand(include, set) {
			got += p.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", entry, got, want)
		}
	}
	bare, _ := Parse("include:com.example.app.authBasic")
	set, err := ParseSet(bare.Set, []byte(`{"id":"com.example.app.authBasic","defs":{"main":{"type":"permission-set","title":"T","title:lang":{"de":"D"},
		"permissions":[{"type":"permission","resource":"rpc","lxm":["com.example.app.get"],"inheritAud":true}]}}}`))
	if err != nil || set.TitleLang["de"] != "D" || len(Expand(bare, set)) != 0 {
		t.Errorf("an audience is inherited from nowhere: %v", err)
	}
	for _, bad := range []string{"", "null", "[]", `{"id":"other.name.set","defs":{"main":{"type":"permission-set"}}}`, `{"id":"com.example.app.authBasic","defs":{"main":{"type":"record"}}}`} {
		if _, err := ParseSet(bare.Set, []byte(bad)); err == nil {
			t.Errorf("%s is a permission set", bad)
		}
	}
}

// FuzzParse: the plain form of a scope means the same, and nothing that is not understood is let through.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"repo:a.b.c?action=create", "rpc?lxm=a.b.c&lxm=d.e.f&aud=did:web:a.b%23c", "blob:image/*", "include:a.b.c?aud=did:web:a.b%23c", "account:email", "%", "a:b?c=d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := Parse(s)
		if !ok {
			return
		}
		plain := p.String()
		again, ok := Parse(plain)
		if !ok || again.String() != plain || again.Resource != p.Resource || !slices.Equal(again.Collections, p.Collections) || !slices.Equal(again.Methods, p.Methods) {
			t.Fatalf("%q became %q: %+v, %+v", s, plain, p, again)
		}
	})
}

// TestTextsOfSets: what strangers write for people has no tricks in it, and an end.
func TestTextsOfSets(t *testing.T) {
	lexicon := []byte(`{"id":"com.example.authA","defs":{"main":{"type":"permission-set","title":"Re\u202ead\u0000 it\n","title:lang":{"de":"\u2066L\u200bies"},"detail":"` +
		strings.Repeat("ä", 3000) + `"}}}`)
	set, err := ParseSet("com.example.authA", lexicon)
	if err != nil || set.Title != "Read it" || set.TitleLang["de"] != "Lies" || len([]rune(set.Detail)) != 2001 {
		t.Errorf("%+v, %v", set, err)
	}
	if _, err := ParseSet("com.example.authA", append(lexicon, make([]byte, 64<<10)...)); !errors.Is(err, ErrNoSet) {
		t.Errorf("a set without end: %v", err)
	}
}

// Whoever writes a permission set writes what the question shows: nothing in it pushes the name of its author away, or covers it.
func TestPlainTextKeepsItsPlace(t *testing.T) {
	for text, want := range map[string]string{
		"Read\u00a0\u3000\u2003it\n\tall": "Read it all", "\u3164\u3164\u115f\uffa0": "", "\u2800 Read \u2028\u2029it ": "Read it",
		"a" + strings.Repeat("\u0301", 50) + "b\u0301": "a\u0301\u0301\u0301\u0301b\u0301", "Đọc tất cả": "Đọc tất cả", "שָׁלוֹם": "שָׁלוֹם", "อ่านทั้งหมด": "อ่านทั้งหมด", "読む": "読む",
	} {
		if got := PlainText(text, 200); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}
