package relay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"testing"

	"perch/testdata/peers/peertest"
)

// TestRelayFollowsKeyRotation gives accounts other signing keys while they write at full speed. Commits by the old key are on their way then, and the DID
// document has the new one already; the relay has to be in sync afterwards, with every account.
func TestRelayFollowsKeyRotation(t *testing.T) {
	if testing.Short() {
		t.Skip("starts several servers")
	}
	if os.Getenv("PERCH_RELAY_TARGET") == "reference" {
		t.Skip("the reference PDS has no updateAccountSigningKey")
	}
	commits := setting(t, "PERCH_RELAY_COMMITS", 1000) / 2
	w := newWorld(t)
	w.crawl(t, pdsName)
	direct := follow(t, localAddress(pdsPort), newHistory(nil), fromNow)
	relayed := follow(t, localAddress(relayPort), newHistory(nil), fromNow)
	waitFor(t, "both followers", func() bool { return direct.live() && relayed.live() })
	l, err := newLoad(4, 4, 7)
	peertest.Must(t, err)
	peertest.Must(t, l.run(t.Context(), commits/5, nil))
	peertest.Must(t, l.run(t.Context(), commits*4/5, func() error {
		for range 3 {
			for _, writer := range l.writers {
				if err := rotateKey(writer.DID); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	for _, writer := range l.writers {
		peertest.Must(t, writer.create())
	}
	direct.caughtUp(t, "the server's firehose", l)
	relayed.caughtUp(t, "the relay's firehose", l)
	checkDirect(t, direct.history, l)
	for _, writer := range l.writers {
		if got, want := relayHead(t, writer.DID), writer.commits[len(writer.commits)-1]; got != want {
			t.Errorf("%s: the relay is at %v, the server at %v", writer.DID, got, want)
		}
		passed := relayed.history.stories[writer.DID].commits
		missing := slices.DeleteFunc(slices.Clone(direct.history.stories[writer.DID].commits), func(r revision) bool { return slices.Contains(passed, r) })
		t.Logf("%s: the relay passed on %d commits, %d it did not take", writer.DID, len(passed), len(missing))
	}
}

// rotateKey has the server reserve a key for an account and give it to it.
func rotateKey(did string) error {
	var key struct{ SigningKey string }
	if err := operate("com.atproto.server.reserveSigningKey", map[string]any{"did": did}, &key); err != nil {
		return err
	}
	return operate("com.atproto.admin.updateAccountSigningKey", map[string]any{"did": did, "signingKey": key.SigningKey}, nil)
}

// operate calls the server as its administrator.
func operate(nsid string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+localAddress(pdsPort)+"/xrpc/"+nsid, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.SetBasicAuth("admin", "admin")
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", nsid, res.Status, b)
	}
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(b, out)
}

// relayHead is where the relay thinks that a repository stands.
func relayHead(t *testing.T, did string) revision {
	t.Helper()
	res, err := http.Get("http://" + localAddress(relayPort) + "/xrpc/com.atproto.sync.getLatestCommit?did=" + did)
	peertest.Must(t, err)
	defer res.Body.Close()
	var head revision
	peertest.Must(t, json.NewDecoder(res.Body).Decode(&head))
	return head
}
