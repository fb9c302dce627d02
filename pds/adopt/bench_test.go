package adopt

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// BenchmarkAdopt takes over accounts with 100 records and 100 blobs of 10 kB each: 20 of them, or as many as PERCH_ADOPT_ACCOUNTS says. 1,000 make 1 GB.
func BenchmarkAdopt(b *testing.B) {
	accounts := 20
	if s := os.Getenv("PERCH_ADOPT_ACCOUNTS"); s != "" {
		var err error
		accounts, err = strconv.Atoi(s)
		must(b, err)
	}
	r := newReference(b)
	for i := range accounts {
		r.account(syntax.DID(fmt.Sprintf("did:plc:%024d", i)), fmt.Sprintf("a%d.test", i), 100, 10_000, nil)
	}
	r.stop()
	for b.Loop() {
		tg := newTarget(b)
		_, result := tg.adopt(r)
		if result.Adopted != accounts || result.Linked != int64(accounts)*100 {
			b.Fatalf("%+v", result)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*accounts), "µs/account")
}
