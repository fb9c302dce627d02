package move

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/repo"
	"github.com/bluesky-social/indigo/atproto/syntax"
	cbg "github.com/whyrusleeping/cbor-gen"

	"perch/identity/plc"
	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/bench/wire"
	"perch/testdata/peers/mailbox"
)

// world is an old host, a Perch that fetches accounts from it, and a PLC directory, with something between all of them that can spoil requests.
type world struct {
	t         *testing.T
	dir       string
	bin       string
	mail      *mailbox.Mailbox
	directory string   // the PLC directory itself
	toPLC     *between // as the new host sees it

	old, here *host
	names     atomic.Int64
}

// host is a server that can be killed and started again on its data.
type host struct {
	*server.Process
	spec     server.Spec
	rotation string // private key, hexadecimal
}

func newWorld(t *testing.T, oldKind string) *world {
	t.Helper()
	w := emptyWorld(t)
	w.old = w.open(oldKind, filepath.Join(w.dir, "old"), w.directory, 1)
	w.here = w.open("perch", filepath.Join(w.dir, "here"), w.toPLC.URL, 2)
	return w
}

// emptyWorld has no host yet.
func emptyWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("starts several servers")
	}
	dir := t.TempDir()
	bin, err := server.BuildPerch(dir)
	must(t, err)
	directory, err := plc.OpenDirectory(filepath.Join(dir, "plc.jsonl"), plc.DirectoryOptions{})
	must(t, err)
	t.Cleanup(func() { directory.Close() })
	plcServer := httptest.NewServer(directory)
	t.Cleanup(plcServer.Close)
	w := &world{t: t, dir: dir, bin: bin, mail: mailbox.Open(t), directory: plcServer.URL}
	w.toPLC = standBetween(t, w.directory)
	return w
}

func (w *world) open(kind, data, plcURL string, key int, env ...string) *host {
	w.t.Helper()
	peers, err := server.PeersDir()
	must(w.t, err)
	port, err := server.FreePort()
	must(w.t, err)
	spec := server.Perch(w.bin, data, port, plcURL)
	if kind == "reference" {
		spec = server.Reference(peers, data, port, plcURL)
	}
	h := &host{rotation: strings.Repeat(strconv.Itoa(key), 64)}
	spec.Env = append(spec.Env,
		"PDS_HOSTNAME=localhost", "PDS_SERVICE_DID=did:web:localhost%3A"+strconv.Itoa(port), "PDS_DEV_MODE=true",
		"PDS_EMAIL_SMTP_URL="+w.mail.SMTP, "PDS_EMAIL_FROM_ADDRESS=pds@example.com",
		"PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX="+h.rotation,
	)
	spec.Env = append(spec.Env, env...)
	h.spec = spec
	h.start(w.t)
	w.t.Cleanup(func() {
		h.Kill()
		if w.t.Failed() {
			w.t.Logf("the log of %s ends:\n%s", data, h.LogTail())
		}
	})
	return h
}

func (h *host) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := server.Start(ctx, h.spec)
	must(t, err)
	h.Process = p
}

func (h *host) origin() string { return localURL(h.spec.Port) }

// mover is an account that moves from the old host to the new one.
type mover struct {
	*world
	t         *testing.T
	did, name string
	from      *caller // at the old host, past what stands between
	worker    *host   // that does the move
	other     string  // password of the other one
	begin     string  // how the worker is asked to
	begins    map[string]any
	door      *between
	records   int
}

const (
	moverRecords = 24
	moverBlobs   = 6
)

// settle makes an account at the old host, whose DID document leads others there by way of a between.
func (w *world) settle(t *testing.T) *mover {
	t.Helper()
	m := w.join(t)
	m.door = standBetween(t, w.old.origin())
	m.redirect()
	return m
}

// join makes an account at the old host.
func (w *world) join(t *testing.T) *mover {
	t.Helper()
	m := &mover{world: w, t: t, worker: w.here, name: fmt.Sprint("mover", w.names.Add(1)), from: &caller{t: t, origin: w.old.origin()}, other: "mover-password"}
	m.begin, m.begins = "begin", map[string]any{"password": m.other, "newPassword": "here-password"}
	made := m.from.post("com.atproto.server.createAccount", map[string]any{
		"handle": m.name + ".test", "email": m.name + "@example.com", "password": "mover-password",
	})
	m.did, _ = made["did"].(string)
	m.from.auth = "Bearer " + made["accessJwt"].(string)
	m.fill()
	return m
}

func (m *mover) fill() {
	m.t.Helper()
	writes := make([]any, moverRecords)
	for i := range writes {
		value := map[string]any{"$type": "app.bsky.feed.post", "text": fmt.Sprint("post ", i), "createdAt": "2026-11-23T12:00:00.000Z"}
		if i < moverBlobs {
			png := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"), bytes.Repeat([]byte{byte(i)}, 100+i*3000)...)
			value["embed"] = map[string]any{"$type": "app.bsky.embed.images", "images": []any{map[string]any{"alt": "", "image": m.from.upload(png)["blob"]}}}
		}
		writes[i] = map[string]any{"$type": "com.atproto.repo.applyWrites#create", "collection": "app.bsky.feed.post", "value": value}
	}
	m.from.post("com.atproto.repo.applyWrites", map[string]any{"repo": m.did, "writes": writes})
	m.records = moverRecords
	m.from.post("app.bsky.actor.putPreferences", map[string]any{"preferences": []any{
		map[string]any{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": true},
	}})
}

// redirect puts the between into the DID document in the place of the old host.
func (m *mover) redirect() {
	m.t.Helper()
	raw, err := hex.DecodeString(m.old.rotation)
	must(m.t, err)
	key, err := atcrypto.ParsePrivateBytesK256(raw)
	must(m.t, err)
	client := plc.NewClient(m.directory, nil)
	last, err := client.Last(m.t.Context(), syntax.DID(m.did))
	must(m.t, err)
	op, err := plc.Update(last, func(op *plc.Operation) { op.SetPDS(m.door.URL) })
	must(m.t, err)
	op, err = plc.Sign(op, key)
	must(m.t, err)
	must(m.t, client.Submit(m.t.Context(), syntax.DID(m.did), op))
}

// endpoint is the server that the DID names now.
func (m *mover) endpoint() string {
	m.t.Helper()
	data, err := plc.NewClient(m.directory, nil).Data(m.t.Context(), syntax.DID(m.did))
	must(m.t, err)
	return data.Services[plc.PDSServiceName].Endpoint
}

// ask is the command line. An error is a refusal, or that the server is gone.
func (m *mover) ask(action string, more map[string]any) (map[string]any, error) {
	in := map[string]any{"account": m.did, "action": action}
	for k, v := range more {
		in[k] = v
	}
	out, err := (&caller{t: m.t, origin: m.worker.origin()}).try("/perch/migrate", in)
	st, _ := out["migration"].(map[string]any)
	return st, err
}

// lead does what a person does: begins, enters codes, and tries again when told of a fault, until the move is done. revive is called whenever the host
// that does the move does not answer.
func (m *mover) lead(revive func()) {
	m.t.Helper()
	var last any
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		st, err := m.ask("show", nil)
		switch {
		case err != nil && isRefusal(err):
			m.t.Fatal(err)
		case err != nil:
			revive()
			continue
		case st == nil || st["needs"] == "begin":
			_, err = m.ask(m.begin, m.begins)
		case st["needs"] == "sign-in":
			_, err = m.ask("sign-in", map[string]any{"password": m.other})
		case st["needs"] == "code":
			err = m.enterCode()
		case st["state"] == "done":
			if report, _ := st["report"].(map[string]any); report["lost"] != nil || report["notes"] != nil || report["records"] != float64(m.records) {
				m.t.Errorf("report: %v", report)
			}
			return
		default:
			time.Sleep(20 * time.Millisecond)
		}
		if last = st; err != nil {
			last = err
			if here := m.endpoint() == m.here.origin(); here && st != nil && st["needs"] == "begin" {
				m.t.Fatalf("the DID has changed, and %v", err)
			}
		}
	}
	m.t.Fatalf("it stands at %v", last)
}

// enterCode enters the code of the mail, and asks for another when that does not do.
func (m *mover) enterCode() error {
	code := m.mail.Code(m.name+"@example.com", 2*time.Second)
	if code == "" {
		_, err := m.ask("resend", nil)
		return err
	}
	_, err := m.ask("code", map[string]any{"code": code})
	return err
}

// check wants everything to be at the new host, once, and the old one left.
func (m *mover) check() {
	m.t.Helper()
	if got := m.endpoint(); got != m.here.origin() {
		m.t.Errorf("the DID names %s", got)
	}
	there := &caller{t: m.t, origin: m.here.origin()}
	there.auth = "Bearer " + there.post("com.atproto.server.createSession", map[string]any{"identifier": m.did, "password": "here-password"})["accessJwt"].(string)
	q := "?did=" + url.QueryEscape(m.did)
	if a, b := m.from.tree(q), there.tree(q); a != b {
		m.t.Errorf("tree %s, want %s", b, a)
	}
	blobs, missing := there.get("com.atproto.sync.listBlobs"+q), there.get("com.atproto.repo.listMissingBlobs")
	if cids, _ := blobs["cids"].([]any); len(cids) != moverBlobs || len(missing["blobs"].([]any)) != 0 {
		m.t.Errorf("blobs: %v, missing %v", blobs, missing)
	}
	if a, b := m.from.get("app.bsky.actor.getPreferences"), there.get("app.bsky.actor.getPreferences"); !reflect.DeepEqual(a, b) {
		m.t.Errorf("preferences: %v, want %v", b, a)
	}
	there.post("com.atproto.repo.createRecord", map[string]any{
		"repo": m.did, "collection": "app.bsky.feed.post",
		"record": map[string]any{"$type": "app.bsky.feed.post", "text": "moved", "createdAt": "2026-11-23T12:00:00.000Z"},
	})
	if st := m.from.get("com.atproto.server.getSession"); st["active"] != false {
		m.t.Errorf("at the old host: %v", st)
	}
	if got, want := m.events(m.here), []string{"account active", "identity", "sync", "commit"}; !slices.Equal(got, want) {
		m.t.Errorf("events here: %v, want %v", got, want)
	}
	if got := m.events(m.old); m.oldIsPerch() && (got[len(got)-1] != "account deactivated" || count(got, "account deactivated") != 1) {
		m.t.Errorf("events at the old host: %v", got)
	}
}

func (w *world) oldIsPerch() bool { return w.old.Name == "perch" }

func count(all []string, what string) (n int) {
	for _, s := range all {
		if s == what {
			n++
		}
	}
	return n
}

// tree is the root of the tree that a host gives out for an account.
func (c *caller) tree(q string) string {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.origin+"/xrpc/com.atproto.sync.getRepo"+q, nil)
	must(c.t, err)
	req.Header.Set("Authorization", c.auth)
	res, err := http.DefaultClient.Do(req)
	must(c.t, err)
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		c.t.Fatal("getRepo: ", res.Status)
	}
	commit, _, err := repo.LoadCommitFromCAR(c.t.Context(), res.Body)
	must(c.t, err)
	return commit.Data.String()
}

// events are those of the account on a host's firehose, from the beginning up to one that is made for the purpose.
func (m *mover) events(h *host) (kinds []string) {
	m.t.Helper()
	last := (&caller{t: m.t, origin: h.origin()}).post("com.atproto.server.createAccount", map[string]any{
		"handle": fmt.Sprintf("mark%d.test", m.names.Add(1)), "email": fmt.Sprintf("mark%d@example.com", m.names.Load()), "password": "mark-password",
	})["did"]
	stream, err := wire.Subscribe(h.Addr, "0")
	must(m.t, err)
	defer stream.Close()
	for {
		frame, err := stream.Next()
		must(m.t, err)
		kind, did := parseEvent(m.t, frame)
		switch did {
		case last:
			return kinds
		case m.did:
			kinds = append(kinds, kind)
		}
	}
}

// parseEvent reads what a frame is and whom it is about.
func parseEvent(t *testing.T, frame []byte) (kind, did string) {
	t.Helper()
	r := bytes.NewReader(frame)
	var raw cbg.Deferred
	must(t, raw.UnmarshalCBOR(r))
	header, err := atdata.UnmarshalCBOR(raw.Raw)
	must(t, err)
	kind, _ = header["t"].(string)
	kind = strings.TrimPrefix(kind, "#")
	body, err := io.ReadAll(r)
	must(t, err)
	payload, err := atdata.UnmarshalCBOR(body)
	must(t, err)
	did, _ = payload["did"].(string)
	if did == "" {
		did, _ = payload["repo"].(string)
	}
	if kind == "account" {
		status, _ := payload["status"].(string)
		if payload["active"] == true {
			status = "active"
		}
		kind += " " + status
	}
	return kind, did
}
