package adopt

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// BenchmarkAdopt takes over accounts with 100 records and 100 blobs each: 20 accounts, or as many as PERCH_ADOPT_ACCOUNTS says, and blobs of 10 kB, or of
// PERCH_ADOPT_BLOB_BYTES. 1,000 accounts make 1 GB. With PERCH_ADOPT_KEEP the directory is made there, with a pds.env, and only made, so that the program itself can be
// measured on it:
//
//	PERCH_ADOPT_ACCOUNTS=1000 PERCH_ADOPT_KEEP=/tmp/pds go test ./pds/adopt -run - -bench Adopt -benchtime 1x
//	command time -v perch adopt /tmp/pds --into /tmp/ours
func BenchmarkAdopt(b *testing.B) {
	accounts, blobSize := number(b, "PERCH_ADOPT_ACCOUNTS", 20), number(b, "PERCH_ADOPT_BLOB_BYTES", 10_000)
	r := newReference(b)
	for i := range accounts {
		r.account(syntax.DID(fmt.Sprintf("did:plc:%024d", i)), fmt.Sprintf("a%d.test", i), 100, blobSize, nil)
	}
	r.stop()
	if dir := os.Getenv("PERCH_ADOPT_KEEP"); dir != "" {
		must(b, os.WriteFile(filepath.Join(r.dir, "pds.env"), []byte(benchSettings), 0o600))
		must(b, os.Rename(r.dir, dir))
		b.Skip("made ", dir)
	}
	for b.Loop() {
		tg := newTarget(b)
		_, result := tg.adopt(r)
		if result.Adopted != accounts || result.Linked != int64(accounts)*100 {
			b.Fatalf("%+v", result)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*accounts), "µs/account")
}

// benchSettings are those of a reference PDS, with secrets of no worth.
const benchSettings = `PDS_HOSTNAME=pds.test
PDS_JWT_SECRET=0123456789abcdef0123456789abcdef
PDS_ADMIN_PASSWORD=admin
PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX=2222222222222222222222222222222222222222222222222222222222222222
PDS_BLOBSTORE_DISK_LOCATION=./blocks
`

func number(t testing.TB, variable string, otherwise int) int {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	must(t, err)
	return n
}
