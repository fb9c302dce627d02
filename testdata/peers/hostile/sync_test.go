package hostile

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// syncRows ask for things that are not there, in ways that are.
func (s *target) syncRows(t *testing.T) []row {
	var rows []row
	const stranger = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	add := func(name, path, want string, lenient bool) {
		rows = append(rows, row{name: name, path: "/xrpc/com.atproto." + path, want: want, lenient: lenient})
	}
	for _, m := range []string{"getRepo", "getLatestCommit", "getRepoStatus", "listBlobs", "getCheckout"} {
		add(m+" of a stranger", "sync."+m+"?did="+stranger, "RepoNotFound", false)
	}
	add("getHead of a stranger", "sync.getHead?did="+stranger, "RepoNotFound|HeadNotFound", false)
	add("getRecord of a stranger", "sync.getRecord?did="+stranger+"&collection=a.b.c&rkey=x", "RepoNotFound", false)
	add("getBlocks of a stranger", "sync.getBlocks?did="+stranger+"&cids="+unknown, "RepoNotFound", false)
	add("getBlob of a stranger", "sync.getBlob?did="+stranger+"&cid="+unknown, "RepoNotFound|BlobNotFound", false)
	add("getBlob unknown", "sync.getBlob?did="+s.alice.DID+"&cid="+unknown, "", false)
	add("getBlob private", "sync.getBlob?did="+s.alice.DID+"&cid="+s.blobCID(), "", false)
	add("getBlocks unknown", "sync.getBlocks?did="+s.alice.DID+"&cids="+unknown, "", false)
	add("getBlocks many", "sync.getBlocks?did="+s.alice.DID+strings.Repeat("&cids="+unknown, 150), "", false)
	add("getBlocks half", "sync.getBlocks?did="+s.alice.DID+"&cids="+s.record.CID+"&cids="+unknown, "", false)
	add("getRecord with a key that is none", "sync.getRecord?did="+s.alice.DID+"&collection=app.bsky.feed.post&rkey=..", "InvalidRequest", false)
	add("getRecord unknown", "repo.getRecord?repo="+s.alice.DID+"&collection=app.bsky.feed.post&rkey=3jzfcijpj2zzz", "RecordNotFound", false)
	add("getRecord of another cid", "repo.getRecord?repo="+strings.TrimPrefix(s.record.URI[:strings.Index(s.record.URI, "/app.")], "at://")+"&collection=app.bsky.feed.post&rkey="+s.record.URI[strings.LastIndexByte(s.record.URI, '/')+1:]+"&cid="+unknown, "RecordNotFound", false)
	add("getRecord of a stranger here", "repo.getRecord?repo="+stranger+"&collection=app.bsky.feed.post&rkey=x", "", false)
	add("listRecords of a stranger", "repo.listRecords?repo="+stranger+"&collection=app.bsky.feed.post", "", false)
	add("describeRepo of a stranger", "repo.describeRepo?repo="+stranger, "", false)
	add("resolveHandle unknown", "identity.resolveHandle?handle=nobody.test", "", false)
	add("resolveDid unknown", "identity.resolveDid?did="+stranger, "", false)
	add("resolveDid inside", "identity.resolveDid?did=did:web:127.0.0.1%253A22", "", false)
	add("resolveIdentity unknown", "identity.resolveIdentity?identifier=nobody.test", "", false)
	for i, v := range lines(t, filepath.Join(s.vectors, "atproto", "syntax", "testdata", "tid_syntax_invalid.txt")) {
		add("getRepo since "+strconv.Itoa(i), "sync.getRepo?did="+s.alice.DID+"&since="+escape(v), "", true)
		add("listBlobs since "+strconv.Itoa(i), "sync.listBlobs?did="+s.alice.DID+"&since="+escape(v), "", true)
	}
	for i, v := range []string{"", "x", "-1", "0", "99999999999999999999", "../..", "a::b", "2026-01-01T00:00:00Z::did", "%00", "null", "1.5", strings.Repeat("c", 5000), "::", "did:plc:x", "' or 1=1 --", "\xff", "💩"} {
		for _, m := range []string{"sync.listRepos?cursor=", "sync.listBlobs?did=" + s.alice.DID + "&cursor=", "sync.listReposByCollection?collection=app.bsky.feed.post&cursor=",
			"repo.listRecords?repo=" + s.alice.DID + "&collection=app.bsky.feed.post&cursor="} {
			add(fmt.Sprintf("cursor %d at %s", i, m[:strings.IndexByte(m, '?')]), m+escape(v), "", true)
		}
	}
	return rows
}

func (s *target) blobCID() string {
	_, rest, _ := strings.Cut(s.blob, `"$link":"`)
	link, _, _ := strings.Cut(rest, `"`)
	return link
}

// escape writes every byte as %xx.
func escape(v string) string {
	var b strings.Builder
	for i := range len(v) {
		fmt.Fprintf(&b, "%%%02x", v[i])
	}
	return b.String()
}

// carRows are broken repositories for import. A server without import refuses the method itself, which will do as well.
func (s *target) carRows() []row {
	header := "\x3a\xa2eroots\x81\xd8\x2a\x58\x25\x00\x01\x71\x12\x20" + strings.Repeat("\x01", 32) + "gversion\x01"
	block := "\x25\x01\x71\x12\x20" + strings.Repeat("\x01", 32) + "\xa0"
	var rows []row
	for name, car := range map[string]string{
		"empty": "", "zero": "\x00", "huge length": "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "length past the end": "\x80\x80\x80\x80\x08abc", "length without end": strings.Repeat("\x80", 100),
		"no map": "\x01\x80", "version 2": "\x0b\xa1gversion\x02", "no roots": "\x11\xa2eroots\x80gversion\x01", "header only": header, "wrong hash": header + block, "cut block": header + block[:20],
		"cut length": header + "\xff", "block without cid": header + "\x01\xa0", "zero block": header + "\x00", "indefinite": "\x0d\xbfgversion\x01\xff", "deep cbor": "\xff\x7f" + strings.Repeat("\x81", 16383),
		"cid version 0": header + "\x23\x12\x20" + strings.Repeat("\x01", 32) + "\xa0", "identity hash": header + "\x06\x01\x71\x00\x01\xa0\xa0", "text": "hello", "json": "{}", "zeros": strings.Repeat("\x00", 100000),
	} {
		rows = append(rows, row{name: name, method: "POST", path: "/xrpc/com.atproto.repo.importRepo", as: victim, kind: "application/vnd.ipld.car", body: []byte(car)})
	}
	return rows
}
