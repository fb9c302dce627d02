package oauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/internet"
	"perch/testdata/peers/peertest"
)

const (
	plcName = "plc.directory"
	pdsName = "alpha-pds.net"
	goName  = "go-app.net" // the app that is made with indigo

	setAuthority = "perch-club.net"          // publishes permission sets
	setName      = "net.perch-club.authPost" // the name of one
)

// nodeNames are those of the apps that the Node program serves.
var nodeNames = []string{"node-app.net", "browser-app.net", "trusted-app.net", longName}

// longName is a host as long as one may be, but for some letters.
var longName = "login." + strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + ".long-app.net"

// people have accounts, or make them on the way.
var people = []string{"clubauthor", "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory", "newcomer", "walter"}

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // indigo tells of every refusal
	names := append([]string{plcName, pdsName, goName}, nodeNames...)
	for _, name := range people {
		names = append(names, name+"."+pdsName)
	}
	os.Exit(internet.Main(m, names...))
}

// world is a server with its directory, reachable as https://alpha-pds.net.
type world struct {
	peers, dir, caFile string
	nodePort           int
	pds                *server.Process
	dns                *internet.TXT
}

func newWorld(t *testing.T) *world {
	t.Helper()
	peers, err := server.PeersDir()
	peertest.Must(t, err)
	w := &world{peers: peers, dir: t.TempDir(), dns: internet.ServeTXT(t)}
	w.caFile = filepath.Join(w.dir, "ca.pem")
	bin, err := server.BuildPerch(w.dir)
	peertest.Must(t, err)
	ports := map[string]int{}
	for _, name := range append([]string{plcName, pdsName, goName}, nodeNames[0]) {
		ports[name], err = server.FreePort()
		peertest.Must(t, err)
	}
	w.nodePort = ports[nodeNames[0]]
	for _, name := range nodeNames {
		ports[name] = w.nodePort
	}
	internet.StartFront(t, ports, w.caFile)
	for _, setting := range internet.Trust(w.caFile) { // indigo runs in this process
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	peertest.Start(t, server.PLC(peers, filepath.Join(w.dir, "plc"), ports[plcName]))
	w.pds = peertest.Start(t, w.pdsSpec(bin, ports[pdsName]))
	startGoApp(t, ports[goName])
	return w
}

func (w *world) pdsSpec(bin string, port int) server.Spec {
	spec := server.Perch(bin, filepath.Join(w.dir, "pds"), port, "https://"+plcName)
	spec.Env = append(spec.Env,
		"PDS_HOSTNAME="+pdsName,
		"PDS_SERVICE_DID=did:web:"+pdsName,
		"PDS_SERVICE_HANDLE_DOMAINS=."+pdsName,
		"PDS_DISABLE_SSRF_PROTECTION=false",
		"PDS_TRUSTED_PROXIES=127.0.0.0/8",
		"PDS_INVITE_REQUIRED=true",
		"PDS_OAUTH_TRUSTED_CLIENTS=https://trusted-app.net/client-metadata.json,https://trusted-app.net/long.json,https://trusted-app.net/rtl.json,https://trusted-app.net/emoji.json,https://trusted-app.net/turned.json",
		"PDS_CRAWLERS=",
		"PDS_LOG_LEVEL=info",
	)
	spec.Env = append(spec.Env, internet.Trust(w.caFile)...)
	return spec
}

// publishSet has an account publish a permission set, and DNS say that it may.
func (w *world) publishSet(t *testing.T) {
	t.Helper()
	var invite struct{ Code string }
	w.post(t, "com.atproto.server.createInviteCode", "Basic YWRtaW46YWRtaW4=", `{"useCount":1}`, &invite)
	var author struct{ DID, AccessJwt string }
	w.post(t, "com.atproto.server.createAccount", "",
		`{"handle":"clubauthor.`+pdsName+`","email":"clubauthor@example.com","password":"correct horse","inviteCode":"`+invite.Code+`"}`, &author)
	w.post(t, "com.atproto.repo.putRecord", "Bearer "+author.AccessJwt, fmt.Sprintf(
		`{"repo":%q,"collection":"com.atproto.lexicon.schema","rkey":%q,"record":{"$type":"com.atproto.lexicon.schema","lexicon":1,"id":%[2]q,"defs":{"main":{
			"type":"permission-set","title":"Write to the club","detail":"Posts in the club of the perches",
			"permissions":[{"type":"permission","resource":"repo","collection":["net.perch-club.post"],"action":["create"]}]}}}}`,
		author.DID, setName), nil)
	w.dns.Set("_lexicon."+setAuthority, "did="+author.DID)
}

func (w *world) post(t *testing.T, method, authorization, body string, out any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.pds.URL()+"/xrpc/"+method, strings.NewReader(body))
	peertest.Must(t, err)
	req.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := http.DefaultClient.Do(req)
	peertest.Must(t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	peertest.Must(t, err)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", method, res.Status, answer)
	}
	if out != nil {
		peertest.Must(t, json.NewDecoder(bytes.NewReader(answer)).Decode(out))
	}
}
