package pds

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"perch/pds/adopt"
)

// referenceSettings is a pds.env as the reference's installer writes it.
const referenceSettings = `PDS_HOSTNAME=pds.example.com
PDS_JWT_SECRET=0123456789abcdef0123456789abcdef
PDS_ADMIN_PASSWORD=fedcba9876543210fedcba9876543210
PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX=2222222222222222222222222222222222222222222222222222222222222222
PDS_DATA_DIRECTORY=/pds
PDS_BLOBSTORE_DISK_LOCATION=/pds/blocks
PDS_BLOB_UPLOAD_LIMIT=104857600
PDS_DID_PLC_URL=https://plc.directory
PDS_BSKY_APP_VIEW_URL=https://api.bsky.app
PDS_BSKY_APP_VIEW_DID=did:web:api.bsky.app
PDS_CRAWLERS=https://bsky.network
LOG_ENABLED=true
`

func TestAdoptSettingsRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		theirs, ours string
		want         string
	}{
		"none":                {"", "", "--env-file"},
		"no session secret":   {strings.Replace(referenceSettings, "PDS_JWT_SECRET", "PDS_X", 1), "", "PDS_JWT_SECRET: it is missing"},
		"no rotation key":     {strings.Replace(referenceSettings, "PDS_PLC_ROTATION", "PDS_X", 1), "", "PRIVATE_KEY_HEX: it is missing"},
		"bucket's name":       {s3Reference(""), "", "PDS_BLOBSTORE_S3_*: bucket"},
		"half a key":          {s3Reference("blobs") + "PDS_BLOBSTORE_S3_ACCESS_KEY_ID=x\n", "", "without the other"},
		"no endpoint":         {s3Reference("blobs") + "PDS_BLOBSTORE_S3_ENDPOINT=minio:9000\n", "", "is no URL"},
		"endpoint with path":  {s3Reference("blobs") + "PDS_BLOBSTORE_S3_ENDPOINT=http://k:very-secret@x.test/y\n", "", "only a host"},
		"path style":          {s3Reference("blobs") + "PDS_BLOBSTORE_S3_FORCE_PATH_STYLE=perhaps\n", "", "neither true nor false"},
		"time limit":          {s3Reference("blobs") + "PDS_BLOBSTORE_S3_UPLOAD_TIMEOUT_MS=soon\n", "", "milliseconds"},
		"behind an entryway":  {referenceSettings + "PDS_ENTRYWAY_URL=https://x.example\n", "", "PDS_ENTRYWAY_URL"},
		"no settings":         {"just words", "", "not NAME=value"},
		"ours of another":     {referenceSettings, strings.Replace(referenceSettings, "pds.example.com", "other.example.com", 1), "another server"},
		"ours sign otherwise": {referenceSettings, strings.Replace(referenceSettings, "0123456789", "9876543210", 1), "PDS_JWT_SECRET is not the reference PDS's"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, into := t.TempDir(), t.TempDir()
			if tt.theirs != "" {
				write(t, filepath.Join(dir, "pds.env"), tt.theirs)
			}
			if tt.ours != "" {
				write(t, filepath.Join(into, "pds.env"), tt.ours)
			}
			_, err := Adopt(t.Context(), AdoptOptions{Dir: dir, Into: into, DryRun: true})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	dir := t.TempDir()
	if _, err := Adopt(t.Context(), AdoptOptions{Dir: dir, Into: dir}); err == nil || !strings.Contains(err.Error(), "another folder") {
		t.Errorf("into itself: %v", err)
	}
	write(t, filepath.Join(dir, "pds.env"), referenceSettings)
	if _, err := Adopt(t.Context(), AdoptOptions{Dir: dir, Into: filepath.Join(dir, "new")}); !errors.Is(err, adopt.ErrNoReference) {
		t.Errorf("nothing but settings: %v", err)
	}
}

// s3Reference are settings with a bucket; a name too short for one when it is "".
func s3Reference(bucket string) string {
	if bucket == "" {
		bucket = "b"
	}
	return strings.Replace(referenceSettings, "PDS_BLOBSTORE_DISK_LOCATION=/pds/blocks", "PDS_BLOBSTORE_S3_BUCKET="+bucket, 1)
}

// The bucket's settings do not come along, and least of all its secret.
func TestAdoptSettingsOfBucket(t *testing.T) {
	dir, into := t.TempDir(), filepath.Join(t.TempDir(), "ours")
	write(t, filepath.Join(dir, "pds.env"), s3Reference("blobs")+"PDS_BLOBSTORE_S3_REGION=eu-1\nPDS_BLOBSTORE_S3_ACCESS_KEY_ID=key\nPDS_BLOBSTORE_S3_SECRET_ACCESS_KEY=very-secret\n")
	a := &adoption{opt: AdoptOptions{Dir: dir, Into: into}, report: &AdoptReport{}}
	if err := a.settings(); err != nil {
		t.Fatal(err)
	}
	layout, err := a.layout()
	if err != nil || layout.Bucket == nil || layout.Blobs != "" || a.report.Bucket != "blobs" {
		t.Errorf("%+v, %v", layout, err)
	}
	if strings.Contains(a.env.text, "very-secret") || !strings.Contains(a.env.text, "# before: PDS_BLOBSTORE_S3_REGION=eu-1") {
		t.Error(a.env.text)
	}
	a.opt.Blobs = t.TempDir()
	if layout, err := a.layout(); err != nil || layout.Bucket != nil || layout.Blobs != a.opt.Blobs {
		t.Errorf("with a folder given: %+v, %v", layout, err)
	}
}

func TestAdoptSettings(t *testing.T) {
	dir, into := t.TempDir(), filepath.Join(t.TempDir(), "with space")
	write(t, filepath.Join(dir, "pds.env"), referenceSettings)
	write(t, filepath.Join(dir, "compose.yaml"), "")
	a := &adoption{opt: AdoptOptions{Dir: dir, Into: into}, report: &AdoptReport{}}
	if err := a.settings(); err != nil {
		t.Fatal(err)
	}
	layout, err := a.layout()
	if err != nil {
		t.Fatal(err)
	}
	// The settings speak of /pds, as in the container; the directory is elsewhere.
	if layout.Blobs != filepath.Join(dir, "blocks") || layout.AccountDB != filepath.Join(dir, "account.sqlite") || layout.Actors != filepath.Join(dir, "actors") {
		t.Errorf("%+v", layout)
	}
	if a.cfg.DataDirectory != into || a.cfg.Port != 3000 || a.cfg.BlobDirectory() != filepath.Join(into, "blobs") || a.cfg.JWTSecret != "0123456789abcdef0123456789abcdef" {
		t.Errorf("%s %d %s", a.cfg.DataDirectory, a.cfg.Port, a.cfg.BlobDirectory())
	}
	if err := os.Mkdir(into, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := a.env.write(); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig([]string{"PDS_DATA_DIRECTORY=" + into}, "")
	if err != nil || cfg.AdminPassword != "fedcba9876543210fedcba9876543210" || cfg.Port != 3000 || cfg.DataDirectory != into {
		t.Errorf("the file written: %+v, %v", cfg, err)
	}
	info, err := os.Stat(filepath.Join(into, "pds.env"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}
