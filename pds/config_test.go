package pds

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// installerEnv is what the reference's installer writes, with PDS_DATA_DIRECTORY and secrets replaced.
const installerEnv = `PDS_HOSTNAME=pds.example.com
PDS_JWT_SECRET=2d8e5b0f7a1c4e6d9b3f8a7c6e5d4c3b
PDS_ADMIN_PASSWORD=7f6e5d4c3b2a19080706050403020100
PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX=4f3edf983ac636a65a842ce7c78d9aa706d3b113bce9c46f30d7d21715b23b1d
PDS_DATA_DIRECTORY=%s
PDS_BLOBSTORE_DISK_LOCATION=%[1]s/blocks
PDS_BLOB_UPLOAD_LIMIT=314572800
PDS_DID_PLC_URL=https://plc.directory
PDS_BSKY_APP_VIEW_URL=https://api.bsky.app
PDS_BSKY_APP_VIEW_DID=did:web:api.bsky.app
PDS_REPORT_SERVICE_URL=https://mod.bsky.app
PDS_REPORT_SERVICE_DID=did:plc:ar7c4by46qjdydhdevvrndac
PDS_CRAWLERS=https://bsky.network
LOG_ENABLED=true
`

func TestReferenceSettingsFileWorksAsItIs(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pds.env")
	write(t, file, fmt.Sprintf(installerEnv, dir))
	cfg, err := LoadConfig([]string{"PDS_DATA_DIRECTORY=" + dir, "PDS_PORT=3000"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) != 1 || !strings.Contains(cfg.Warnings[0], "PDS_EMAIL_SMTP_URL is empty") {
		t.Errorf("warnings: %q", cfg.Warnings)
	}
	if cfg.EnvFile != file || cfg.Hostname != "pds.example.com" || cfg.Port != 3000 || cfg.BlobUploadLimit != 314572800 ||
		cfg.BlobDirectory() != dir+"/blocks" || fmt.Sprint(cfg.Crawlers) != "[https://bsky.network]" {
		t.Errorf("%+v", cfg)
	}
	if cfg.PublicURL() != "https://pds.example.com" || cfg.ServiceDID() != "did:web:pds.example.com" ||
		!cfg.IsServiceHandle("Alice.pds.example.com") || cfg.IsServiceHandle("alice.example.com") {
		t.Error("what follows from the host name is wrong")
	}
	origins := map[string]string{"PDS_HOSTNAME": file + ":1", "PDS_PORT": "environment", "PDS_INVITE_REQUIRED": "default", "PDS_DPOP_SECRET": "generated"}
	for _, s := range cfg.Settings() {
		if want := origins[s.Name]; want != "" && s.Origin != want {
			t.Errorf("%s comes from %q, want %q", s.Name, s.Origin, want)
		}
		if strings.Contains(s.Value, cfg.JWTSecret) || strings.Contains(s.Value, cfg.AdminPassword) || strings.Contains(s.Value, "4f3edf98") {
			t.Errorf("%s shows a secret", s.Name)
		}
		if len(s.Help) < 20 || s.Group == "" {
			t.Errorf("%s has no manual: %q", s.Name, s.Help)
		}
	}
}

func TestDefaults(t *testing.T) {
	cfg := DefaultConfig()
	if cfg.Port != 2583 || cfg.Hostname != "localhost" || cfg.PublicURL() != "http://localhost:2583" || !cfg.InviteRequired ||
		cfg.BackfillWindow != 72*time.Hour || !cfg.RateLimitsEnabled || cfg.BlobUploadLimit != 100<<20 || cfg.Addr() != ":2583" ||
		cfg.AllowPrivate() || !cfg.IsServiceHandle("alice.test") || cfg.DIDCacheStaleTTL != time.Hour {
		t.Errorf("%+v", cfg)
	}
	loaded, err := LoadConfig([]string{"PDS_DATA_DIRECTORY=" + t.TempDir()}, "")
	if err != nil || len(loaded.Warnings) > 0 {
		t.Errorf("a server told nothing: %v %q", err, loaded.Warnings)
	}
}

// Each setting is set to its default in words, and comes out the same: the tags and the parsers agree.
func TestDefaultsReadBack(t *testing.T) {
	var environ []string
	for _, s := range DefaultConfig().Settings() {
		if s.Origin == "default" && s.Value != "" && s.Name != "PDS_DATA_DIRECTORY" && s.Name != "PDS_MASTER_KEY_FILE" {
			environ = append(environ, s.Name+"="+s.Value)
		}
	}
	environ = append(environ, "PDS_DATA_DIRECTORY="+t.TempDir())
	cfg, err := LoadConfig(environ, "")
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig().Settings()
	for i, s := range cfg.Settings() {
		if s.Value != want[i].Value && !strings.Contains(s.Name, "DIRECTORY") && !strings.Contains(s.Name, "_FILE") && !strings.Contains(s.Name, "_LOCATION") {
			t.Errorf("%s: %q, want %q", s.Name, s.Value, want[i].Value)
		}
	}
}

// Every mistake is one line that begins with the setting; none hides another.
func TestMistakes(t *testing.T) {
	bad := map[string]string{
		"PDS_HOSTNAME":                              "https://pds.example.com",
		"PDS_PORT":                                  "https",
		"PDS_BIND_ADDRESS":                          "0.0.0.0:2583",
		"PDS_SERVICE_DID":                           "pds",
		"PDS_PRIVACY_POLICY_URL":                    "example.com/privacy",
		"PDS_TRUSTED_PROXIES":                       "10.0.0.0/8,proxy",
		"PDS_BLOB_UPLOAD_LIMIT":                     "50MB",
		"PDS_MASTER_KEY_HEX":                        "abc",
		"PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX": "hunter2hunter2",
		"PDS_DPOP_SECRET":                           "00",
		"PDS_SERVICE_HANDLE_DOMAINS":                "example.com",
		"PDS_INVITE_REQUIRED":                       "yes",
		"PDS_RECOVERY_DID_KEY":                      "did:plc:abc",
		"PDS_DID_PLC_URL":                           "plc.directory",
		"PDS_PLC_WATCH_INTERVAL":                    "72h",
		"PDS_DID_WEB_ACCOUNTS":                      "true",
		"PDS_DID_CACHE_MAX_TTL":                     "1000",
		"PDS_REPO_BACKFILL_LIMIT_MS":                "0",
		"PDS_FIREHOSE_MAX_SUBSCRIBERS":              "-1",
		"PDS_CRAWLERS":                              "bsky.network",
		"PDS_BSKY_APP_VIEW_URL":                     "api.bsky.app",
		"PDS_BSKY_APP_VIEW_CDN_URL_PATTERN":         "https://cdn.example.com/%s/%s",
		"PDS_MOD_SERVICE_DID":                       "did:web:mod.example.com",
		"PDS_LOG_LEVEL":                             "loud",
		"PDS_LOG_FORMAT":                            "xml",
		"PDS_BLOBSTORE_S3_BUCKET":                   "blobs",
		"PDS_ENTRYWAY_URL":                          "https://bsky.social",
		"PDS_PLC_ROTATION_KEY_KMS_KEY_ID":           "arn",
	}
	told := maps.Clone(bad)
	delete(told, "PDS_BSKY_APP_VIEW_URL")
	told["PDS_BSKY_APP_VIEW_DID"] = "" // missing beside its URL
	told["PDS_BSKY_APP_VIEW_URL"] = ""
	delete(told, "PDS_MOD_SERVICE_DID")
	told["PDS_MOD_SERVICE_URL"] = ""
	environ := []string{"PDS_DATA_DIRECTORY=" + t.TempDir()}
	for name, value := range bad {
		environ = append(environ, name+"="+value)
	}
	_, err := LoadConfig(environ, "")
	var problems *ConfigError
	if !errors.As(err, &problems) {
		t.Fatalf("got %v", err)
	}
	for name := range told {
		n := 0
		for _, line := range problems.Problems {
			if strings.HasPrefix(line, name+": ") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s is named %d times, want once", name, n)
		}
	}
	if len(problems.Problems) != len(told) {
		t.Errorf("%d problems, want %d", len(problems.Problems), len(told))
	}
	for _, line := range problems.Problems {
		if strings.Contains(line, "\n") || len(line) > 240 || !strings.ContainsAny(line, ";,") {
			t.Errorf("not one line with a cure: %s", line)
		}
		if strings.Contains(line, "hunter2") {
			t.Errorf("shows a secret: %s", line)
		}
		t.Log(line)
	}
}

func TestHostnames(t *testing.T) {
	for name, ok := range map[string]bool{
		"localhost": true, "pds.example.com": true, "pds.test": true, "xn--bcher-kva.example": true,
		"example.com:443": false, "192.0.2.1": false, "[::1]": false, "pds": false, "Pds.example.com": false, "pds_1.example.com": false,
		"pds.example.com/": false, "-a.example.com": false, "pds..com": false,
	} {
		if got := badHostname(name) == ""; got != ok {
			t.Errorf("%q: %v, want %v (%s)", name, got, ok, badHostname(name))
		}
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct{ environ, want string }{
		{"PDS_HOSTNME=x", "did you mean PDS_HOSTNAME?"},
		{"PDS_INVITES_REQUIRED=x", "did you mean PDS_INVITE_REQUIRED?"},
		{"PDS_COMPLETELY_DIFFERENT=x", "`perch config` lists all settings"},
		{"PDS_EMAIL_DISABLE_CONFIRMATION_LINK=true", "carry codes"},
		{"PDS_HOSTNAME=pds.example.com", "PDS_EMAIL_SMTP_URL is empty"},
		{"PDS_HCAPTCHA_SITE_KEY=x", "asks no captcha"},
		{"PDS_REDIS_SCRATCH_ADDRESS=x", "no Redis"},
		{"PDS_ACCOUNT_DB_LOCATION=x", "perch.db"},
		{"PDS_HOSTNAME=pds.example.com", "PDS_CRAWLERS is empty"},
		{"PDS_HOSTNAME=pds.example.com", "PDS_BSKY_APP_VIEW_URL is empty"},
		{"PDS_HOSTNAME=pds.example.com PDS_ADMIN_PASSWORD=admin", "PDS_ADMIN_PASSWORD is short"},
		{"PDS_HOSTNAME=pds.example.com PDS_DISABLE_SSRF_PROTECTION=true", "private network"},
	}
	for _, tt := range tests {
		cfg, err := LoadConfig(append(strings.Fields(tt.environ), "PDS_DATA_DIRECTORY="+t.TempDir()), "")
		if err != nil {
			t.Errorf("%s: %v", tt.environ, err)
		}
		if !slices.ContainsFunc(cfg.Warnings, func(w string) bool { return strings.Contains(w, tt.want) }) {
			t.Errorf("%s: warnings %q, want one with %q", tt.environ, cfg.Warnings, tt.want)
		}
	}
}

func TestReferenceDataIsNotOverlooked(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "account.sqlite"), "x")
	if _, err := LoadConfig([]string{"PDS_DATA_DIRECTORY=" + dir}, ""); err == nil || !strings.Contains(err.Error(), "reference PDS") {
		t.Errorf("got %v", err)
	}
	write(t, filepath.Join(dir, "perch.db"), "x")
	if _, err := LoadConfig([]string{"PDS_DATA_DIRECTORY=" + dir}, ""); err != nil {
		t.Errorf("with our own database beside it: %v", err)
	}
}

func TestEnvFile(t *testing.T) {
	text := "\ufeff# a comment\n\nA=1\nexport B = two words  # note\nC='single # $x \\n'\nD=\"double \\\"q\\\" \\n\\$\" # note\nE=\nF=a#b\r\nG==x=\nA=2\nH=#1f6b57 # note\nI= # note\nJ=\t#note\n"
	lines, problems := parseEnvFile("f", text)
	if problems != nil {
		t.Fatal(problems)
	}
	var got []string
	for _, l := range lines {
		got = append(got, fmt.Sprintf("%d %s=%s", l.line, l.name, l.value))
	}
	want := []string{"3 A=1", "4 B=two words", `5 C=single # $x \n`, "6 D=double \"q\" \n$", "7 E=", "8 F=a#b", "9 G==x=", "10 A=2", "11 H=#1f6b57", "12 I=", "13 J="}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, bad := range []string{"just words", "1A=2", "A='open", `A="x" y`, "=x"} {
		if _, problems := parseEnvFile("f", "\n"+bad); len(problems) != 1 || !strings.HasPrefix(problems[0], "f:2: ") {
			t.Errorf("%q: %q", bad, problems)
		}
	}
	if _, err := LoadConfig(nil, filepath.Join(t.TempDir(), "missing.env")); err == nil || !strings.Contains(err.Error(), "missing.env") {
		t.Errorf("a missing file that was asked for: %v", err)
	}
}

func FuzzEnvFile(f *testing.F) {
	f.Add("A=1\nB='x'\nC=\"\\")
	f.Fuzz(func(t *testing.T, text string) { parseEnvFile("f", text) })
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
