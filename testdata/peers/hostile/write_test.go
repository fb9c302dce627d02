package hostile

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	record  = `{"$type":"app.bsky.feed.post","text":"x","createdAt":"2026-01-01T00:00:00Z"}`
	unknown = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"
)

func procedure(name, nsid string, as principal, body string) row {
	return row{name: name, method: "POST", path: "/xrpc/com.atproto." + nsid, as: as, kind: jsonKind, body: []byte(body)}
}

// writeRows are writes whose shape is right and that must fail all the same.
func (s *target) writeRows(t *testing.T) []row {
	me := s.alice.DID
	mine := s.record.URI[strings.LastIndexByte(s.record.URI, '/')+1:]
	var rows []row
	write := func(name, nsid, fields, want string) {
		r := procedure(name, "repo."+nsid, alice, fmt.Sprintf(`{"repo":%q,%s}`, me, fields))
		r.want = want
		rows = append(rows, r)
	}
	// Record keys and collections in all three methods that take them.
	for kind, file := range map[string]string{"rkey": "recordkey", "collection": "nsid"} {
		for i, v := range lines(t, filepath.Join(s.vectors, "atproto", "syntax", "testdata", file+"_syntax_invalid.txt")) {
			rkey, collection := "3jzfcijpj2z2a", postNSID
			if kind == "rkey" {
				rkey = v
			} else {
				collection = v
			}
			key := fmt.Sprintf(`"collection":%s,"rkey":%s`, quote(collection), quote(rkey))
			name := kind + " " + strconv.Itoa(i)
			write("create/"+name, "createRecord", key+`,"record":`+record, "InvalidRequest")
			write("put/"+name, "putRecord", key+`,"record":`+record, "InvalidRequest")
			write("delete/"+name, "deleteRecord", key, "InvalidRequest")
			write("batch/"+name, "applyWrites", `"writes":[{"$type":"com.atproto.repo.applyWrites#create",`+key+`,"value":`+record+`}]`, "InvalidRequest")
		}
	}
	for i, v := range lines(t, filepath.Join(s.vectors, "atproto", "syntax", "testdata", "tid_syntax_invalid.txt")) {
		write("create/post key "+strconv.Itoa(i), "createRecord", fmt.Sprintf(`"collection":%q,"rkey":%s,"record":%s`, postNSID, quote(v), record), "InvalidRequest|InvalidRecord")
	}
	write("create/profile key", "createRecord", `"collection":"app.bsky.actor.profile","rkey":"other","record":{"$type":"app.bsky.actor.profile"}`, "InvalidRequest|InvalidRecord")
	write("create/unknown lexicon wanted", "createRecord", `"collection":"com.example.none","validate":true,"record":{"$type":"com.example.none"}`, "InvalidRequest|InvalidRecord")
	write("create/taken key", "createRecord", fmt.Sprintf(`"collection":%q,"rkey":%q,"record":%s`, postNSID, mine, record), "")
	write("create/swap", "createRecord", `"collection":"app.bsky.feed.post","swapCommit":"`+unknown+`","record":`+record, "InvalidSwap")
	write("create/swap garbage", "createRecord", `"collection":"app.bsky.feed.post","swapCommit":"bafy","record":`+record, "InvalidRequest")
	write("put/swap", "putRecord", fmt.Sprintf(`"collection":%q,"rkey":%q,"swapRecord":%q,"record":%s`, postNSID, mine, unknown, record), "InvalidSwap")
	write("put/swap null", "putRecord", fmt.Sprintf(`"collection":%q,"rkey":%q,"swapRecord":null,"record":%s`, postNSID, mine, record), "InvalidSwap")
	write("put/swap commit", "putRecord", fmt.Sprintf(`"collection":%q,"rkey":%q,"swapCommit":%q,"record":%s`, postNSID, mine, unknown, record), "InvalidSwap")
	write("delete/swap", "deleteRecord", fmt.Sprintf(`"collection":%q,"rkey":%q,"swapRecord":%q`, postNSID, mine, unknown), "InvalidSwap")
	return append(rows, s.batchRows(mine)...)
}

func (s *target) batchRows(mine string) []row {
	var rows []row
	batch := func(name, writes string, more string) {
		rows = append(rows, procedure("batch/"+name, "repo.applyWrites", alice, fmt.Sprintf(`{"repo":%q,"writes":[%s]%s}`, s.alice.DID, writes, more)))
	}
	const prefix = `{"$type":"com.atproto.repo.applyWrites#`
	create := prefix + `create","collection":"app.bsky.feed.post","value":` + record + `}`
	absent := `"collection":"app.bsky.feed.post","rkey":"3jzfcijpj2zzz"`
	batch("without a kind", `{"collection":"app.bsky.feed.post","value":`+record+`}`, "")
	batch("of an unknown kind", prefix+`upsert","collection":"app.bsky.feed.post","value":`+record+`}`, "")
	batch("of a foreign kind", `{"$type":"com.example.x#create","collection":"app.bsky.feed.post","value":`+record+`}`, "")
	batch("without a value", prefix+`create","collection":"app.bsky.feed.post"}`, "")
	batch("without a collection", prefix+`create","value":`+record+`}`, "")
	batch("update without a key", prefix+`update","collection":"app.bsky.feed.post","value":`+record+`}`, "")
	batch("update of nothing", prefix+`update",`+absent+`,"value":`+record+`}`, "")
	batch("delete of nothing", prefix+`delete",`+absent+`}`, "")
	batch("good and bad", create+`,`+prefix+`delete",`+absent+`}`, "")
	batch("good and bad record", create+`,`+prefix+`create","collection":"app.bsky.feed.post","value":{"text":5}}`, "")
	batch("taken key", prefix+`create","collection":"app.bsky.feed.post","rkey":"`+mine+`","value":`+record+`}`, "")
	batch("key twice", prefix+`create",`+absent+`,"value":`+record+`},`+prefix+`create",`+absent+`,"value":`+record+`}`, "")
	batch("of 201", strings.Repeat(create+",", 200)+create, "")
	batch("of 5000", strings.Repeat(prefix+`delete",`+absent+`},`, 5000)+create, "")
	batch("with a wrong swap", create, `,"swapCommit":"`+unknown+`"`)
	batch("with a bad swap", create, `,"swapCommit":5`)
	batch("of lists", "[[]]", "")
	return rows
}

// quote writes a JSON string that keeps invalid bytes as they are.
func quote(v string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`).Replace(v) + `"`
}

// swapRows use one account's rights on another's things.
func (s *target) swapRows() []row {
	bobs := s.bob.DID
	var rows []row
	for _, repo := range []string{bobs, "bob.test", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "nobody.test", "did:web:example.com"} {
		rows = append(rows,
			procedure("create in "+repo, "repo.createRecord", alice, fmt.Sprintf(`{"repo":%q,"collection":"app.bsky.feed.post","record":%s}`, repo, record)),
			procedure("put in "+repo, "repo.putRecord", alice, fmt.Sprintf(`{"repo":%q,"collection":"app.bsky.feed.post","rkey":"3jzfcijpj2z2a","record":%s}`, repo, record)),
			procedure("delete in "+repo, "repo.deleteRecord", alice, fmt.Sprintf(`{"repo":%q,"collection":"app.bsky.feed.post","rkey":"3jzfcijpj2z2a"}`, repo)),
			procedure("batch in "+repo, "repo.applyWrites", alice, fmt.Sprintf(`{"repo":%q,"writes":[{"$type":"com.atproto.repo.applyWrites#create","collection":"app.bsky.feed.post","value":%s}]}`, repo, record)))
	}
	blob := fmt.Sprintf(`{"repo":%q,"collection":"com.example.any","record":{"$type":"com.example.any","x":%s}}`, bobs, s.blob)
	rows = append(rows,
		procedure("blob of another", "repo.createRecord", raw("Bearer "+s.bob.Token), blob),
		procedure("handle taken", "server.createAccount", nobody, `{"handle":"bob.test","email":"new@example.com","password":"correct-horse"}`),
		procedure("handle taken in capitals", "server.createAccount", nobody, `{"handle":"BOB.test","email":"new2@example.com","password":"correct-horse"}`),
		procedure("mail taken", "server.createAccount", nobody, `{"handle":"new.test","email":"bob@example.com","password":"correct-horse"}`),
		procedure("did of another", "server.createAccount", nobody, fmt.Sprintf(`{"handle":"new3.test","did":%q,"email":"new3@example.com","password":"correct-horse"}`, bobs)),
		procedure("did of another, signed in", "server.createAccount", alice, fmt.Sprintf(`{"handle":"new4.test","did":%q,"email":"new4@example.com","password":"correct-horse"}`, bobs)),
		procedure("reserved handle", "server.createAccount", nobody, `{"handle":"admin.test","email":"new5@example.com","password":"correct-horse"}`),
		procedure("foreign handle", "server.createAccount", nobody, `{"handle":"new.example.com","email":"new6@example.com","password":"correct-horse"}`),
		procedure("long password", "server.createAccount", nobody, `{"handle":"new7.test","email":"new7@example.com","password":"`+strings.Repeat("p", 3000)+`"}`),
		procedure("no mail", "server.createAccount", nobody, `{"handle":"new8.test","password":"correct-horse"}`),
		procedure("bad mail", "server.createAccount", nobody, `{"handle":"new9.test","email":"nobody","password":"correct-horse"}`),
		procedure("plc operation", "server.createAccount", nobody, `{"handle":"newa.test","email":"newa@example.com","password":"correct-horse","plcOp":{}}`),
		procedure("bad recovery key", "server.createAccount", nobody, `{"handle":"newb.test","email":"newb@example.com","password":"correct-horse","recoveryKey":"did:key:zzz"}`),
		procedure("wrong password", "server.createSession", nobody, `{"identifier":"bob.test","password":"wrong"}`),
		procedure("long password at sign-in", "server.createSession", nobody, `{"identifier":"bob.test","password":"`+strings.Repeat("p", 50000)+`"}`),
		procedure("invite codes", "server.createInviteCode", alice, `{"useCount":1}`),
		procedure("invite codes of many", "server.createInviteCodes", admin, `{"codeCount":1000000000,"useCount":1}`),
		procedure("negative invite", "server.createInviteCode", admin, `{"useCount":-5}`),
	)
	return rows
}
