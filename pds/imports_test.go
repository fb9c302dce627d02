package pds

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowedImports is the architecture: which of our packages each package may import. ARCHITECTURE.md shows it as a picture.
var allowedImports = map[string][]string{
	"cmd/perch":               {"pds", "pds/adopt", "pds/migrate/batch", "pds/store"},
	"pds":                     {"identity", "identity/plc", "lexicons", "pds/account", "pds/adopt", "pds/auth", "pds/blob", "pds/event", "pds/firehose", "pds/mail", "pds/meter", "pds/migrate", "pds/oauth", "pds/oauth/dpop", "pds/oauthclient", "pds/proxy", "pds/readafter", "pds/relay", "pds/seal", "pds/store", "pds/thumbnail", "pds/web", "repo", "xrpc"},
	"pds/store":               {"pds/event", "repo", "repo/mst"},
	"pds/event":               {"repo"},
	"pds/firehose":            {"pds/event", "pds/store"},
	"pds/mail":                {},
	"pds/mail/mailtest":       {},
	"pds/meter":               {},
	"pds/thumbnail":           {},
	"pds/migrate":             {"identity", "identity/plc", "pds/oauthclient", "pds/seal", "pds/store", "repo"},
	"pds/migrate/batch":       {},
	"pds/oauthclient":         {},
	"pds/adopt":               {"pds/blob", "pds/event", "pds/store", "repo", "repo/mst"},
	"pds/account":             {"pds/passkey", "pds/seal", "pds/store"},
	"pds/auth":                {"pds/account", "pds/oauth/dpop", "pds/oauth/scope", "pds/store", "repo"},
	"pds/oauth":               {"identity", "pds/auth", "pds/oauth/dpop", "pds/oauth/scope", "pds/store"},
	"pds/oauth/dpop":          {"pds/oauth/dpop/es256"},
	"pds/oauth/dpop/es256":    {},
	"pds/oauth/oauthtest":     {},
	"pds/oauth/scope":         {},
	"pds/web":                 {"identity", "identity/plc", "pds/account", "pds/meter", "pds/migrate", "pds/oauth", "pds/oauth/scope", "pds/oauthclient", "pds/passkey", "pds/store"},
	"pds/passkey":             {},
	"pds/passkey/passkeytest": {},
	"pds/seal":                {},
	"pds/blob":                {},
	"pds/proxy":               {"identity"},
	"pds/readafter":           {},
	"pds/relay":               {"identity"},
	"repo":                    {"repo/mst"},
	"repo/mst":                {},
	"identity":                {"identity/plc"},
	"identity/plc":            {},
	"xrpc":                    {"lexicons"},
	"lexicons":                {},
}

// forbiddenDeps must not be linked into the program at all: they would bring cgo, global side effects or known defects.
var forbiddenDeps = []string{
	"github.com/golang-jwt/jwt",
	"github.com/bluesky-social/indigo/atproto/auth",
	"github.com/bluesky-social/indigo/atproto/repo",
	"github.com/bluesky-social/indigo/events",
	"github.com/bluesky-social/indigo/carstore",
	"github.com/bluesky-social/indigo/repomgr",
	"github.com/bluesky-social/indigo/xrpc",
	"github.com/mattn/go-sqlite3",
}

func TestImportsFollowTheArchitecture(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "perch/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&pkg); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(pkg.ImportPath, "perch/")
		allowed, known := allowedImports[name]
		if !known && !strings.HasPrefix(name, "lexicons/") {
			t.Errorf("package %s is not in the table of allowed imports: say here what it may import", name)
			continue
		}
		for _, imp := range pkg.Imports {
			if dep, ours := strings.CutPrefix(imp, "perch/"); ours && !slices.Contains(allowed, dep) {
				t.Errorf("%s imports %s, which the architecture does not allow", name, dep)
			}
		}
		for _, dep := range allowed {
			if !slices.Contains(pkg.Imports, "perch/"+dep) {
				t.Errorf("%s does not import %s any more: take it out of the table", name, dep)
			}
		}
	}
}

func TestForbiddenDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "perch/cmd/perch").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dep := range strings.Lines(string(out)) {
		for _, bad := range forbiddenDeps {
			if dep = strings.TrimSpace(dep); dep == bad || strings.HasPrefix(dep, bad+"/") {
				t.Errorf("the program links %s", dep)
			}
		}
	}
}
