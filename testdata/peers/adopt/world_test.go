package adopt

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/peertest"
)

// release is a reference PDS with a way to keep blobs.
type release struct {
	pkg     string // its name in package.json
	untyped bool   // its tokens have no type
	s3      bool   // blobs are in a bucket
}

// world is one server's life, first as the reference, then as Perch.
type world struct {
	*pds
	release
	bin, theirs, ours string // program, data folders
	peers, bucketDir  string // bucketDir: where the S3 server has its objects; "" without
	plc, server       *server.Process
	reference         server.Spec
	port              int

	alice, bob, carol, dave, erin *person
	photo                         []byte
	blob, hidden, temporary       object
	posts                         []object
	like, takendown               object
	invites                       []string
	preferences                   string
	repos                         map[string]map[cid.Cid]string // blocks, by DID
	heads                         map[string]object
	stream                        []frame
}

func newWorld(t *testing.T, r release) *world {
	t.Helper()
	peers, err := server.PeersDir()
	peertest.Must(t, err)
	dir := t.TempDir()
	bin, err := server.BuildPerch(dir)
	peertest.Must(t, err)
	w := &world{pds: &pds{t: t}, release: r, bin: bin, peers: peers, theirs: filepath.Join(dir, "reference"), ours: filepath.Join(dir, "ours")}
	w.port, err = server.FreePort()
	peertest.Must(t, err)
	plcPort, err := server.FreePort()
	peertest.Must(t, err)
	w.plc = w.start(server.PLC(peers, filepath.Join(dir, "plc"), plcPort))
	w.pds.url = "http://127.0.0.1:" + strconv.Itoa(w.port)
	return w
}

func (w *world) start(spec server.Spec) *server.Process {
	w.t.Helper()
	return peertest.Start(w.t, spec)
}

// startReference starts it with its settings in pds.env, as its installer would leave them.
func (w *world) startReference() {
	spec := server.Reference(w.peers, w.theirs, w.port, w.plc.URL())
	spec.Command = append(spec.Command, "--package", w.pkg)
	spec.Env = append(spec.Env, "PDS_INVITE_REQUIRED=true", "PDS_DPOP_SECRET="+strings.Repeat("11", 32))
	if w.s3 {
		spec.Env = append(withoutDisk(spec.Env), w.startBucket()...)
	} else {
		spec.Env = append(spec.Env, "PDS_BLOBSTORE_DISK_LOCATION="+filepath.Join(w.theirs, "blocks"), "PDS_BLOBSTORE_DISK_TMP_LOCATION="+filepath.Join(w.theirs, "blocks", "tempt"))
	}
	peertest.Must(w.t, os.MkdirAll(w.theirs, 0o700))
	peertest.Must(w.t, os.WriteFile(filepath.Join(w.theirs, "pds.env"), []byte(strings.Join(spec.Env, "\n")+"\n"), 0o600))
	w.reference = spec
	w.server = w.start(spec)
}

// startPerch starts it with nothing but the folder that adopt has made.
func (w *world) startPerch() {
	w.server = w.start(server.Spec{
		Name: "perch", Command: []string{w.bin, "serve"}, Env: []string{"PDS_DATA_DIRECTORY=" + w.ours},
		Dir: filepath.Dir(w.bin), Log: w.ours + ".log", Port: w.port,
	})
}

// perch runs a command and wants an exit code.
func (w *world) perch(code int, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(w.bin, args...)
	cmd.Env = append(os.Environ(), "PDS_DATA_DIRECTORY="+w.ours)
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		w.t.Fatalf("perch %v: exit code %d, want %d (%v)\n%s", args, got, code, err, out)
	}
	return string(out)
}

// inner runs a part as a test of its own.
func (w *world) inner(part func(*world)) func(*testing.T) {
	return func(t *testing.T) {
		outer := w.pds.t
		w.pds.t = t
		defer func() { w.pds.t = outer }()
		part(w)
	}
}
