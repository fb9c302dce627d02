package adopt

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/peertest"
)

// What the reference signs its requests to the S3 server with.
const (
	bucketName   = "blobs"
	bucketKey    = "the-key-of-the-bucket"
	bucketSecret = "a-secret-that-nobody-may-read"
	bucketRegion = "us-east-1"
)

// startBucket starts an S3 server with an empty bucket, and gives the reference's settings for it.
func (w *world) startBucket() []string {
	w.t.Helper()
	port, err := server.FreePort()
	peertest.Must(w.t, err)
	w.bucketDir = w.theirs + "-bucket"
	peertest.Must(w.t, os.MkdirAll(w.bucketDir, 0o700))
	w.start(server.Spec{
		Name:    "versitygw",
		Command: []string{filepath.Join(w.peers, ".cache", "bin", "versitygw"), "--port", "127.0.0.1:" + strconv.Itoa(port), "--health", "/health", "--quiet", "posix", w.bucketDir},
		Env:     []string{"ROOT_ACCESS_KEY=" + bucketKey, "ROOT_SECRET_KEY=" + bucketSecret},
		Dir:     w.peers, Log: w.bucketDir + ".log", Port: port, Health: "/health",
	})
	host := "127.0.0.1:" + strconv.Itoa(port)
	client, err := minio.New(host, &minio.Options{Creds: credentials.NewStaticV4(bucketKey, bucketSecret, ""), Region: bucketRegion})
	peertest.Must(w.t, err)
	peertest.Must(w.t, client.MakeBucket(w.t.Context(), bucketName, minio.MakeBucketOptions{}))
	return []string{
		"PDS_BLOBSTORE_S3_BUCKET=" + bucketName, "PDS_BLOBSTORE_S3_REGION=" + bucketRegion, "PDS_BLOBSTORE_S3_ENDPOINT=http://" + host, "PDS_BLOBSTORE_S3_FORCE_PATH_STYLE=true",
		"PDS_BLOBSTORE_S3_ACCESS_KEY_ID=" + bucketKey, "PDS_BLOBSTORE_S3_SECRET_ACCESS_KEY=" + bucketSecret, "PDS_BLOBSTORE_S3_UPLOAD_TIMEOUT_MS=30000",
	}
}

// harmedBucket: what is missing or wrong in the bucket is told of, and no harm to the rest; a wrong key is an error.
func (w *world) harmedBucket() {
	t := w.t
	t.Helper()
	elsewhere := w.ours + "-2"
	object := func(folder string, blob object) string {
		return filepath.Join(w.bucketDir, bucketName, folder, w.alice.did, cidOfBlob(blob))
	}
	missing, wrong := object("quarantine", w.hidden), object("blocks", w.blob)
	peertest.Must(t, os.Rename(missing, w.bucketDir+".kept"))
	peertest.Must(t, os.WriteFile(wrong, make([]byte, len(w.photo)), 0o600))
	out := w.perch(0, "adopt", w.theirs, "--into", elsewhere)
	for _, want := range []string{cidOfBlob(w.hidden) + ": its object is missing", cidOfBlob(w.blob) + ": blob is damaged: its object holds other bytes"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in %s", want, out)
		}
	}
	peertest.Must(t, os.Rename(w.bucketDir+".kept", missing))
	peertest.Must(t, os.WriteFile(wrong, w.photo, 0o600))

	env, err := os.ReadFile(filepath.Join(w.theirs, "pds.env"))
	peertest.Must(t, err)
	wrongKey := w.ours + ".env"
	peertest.Must(t, os.WriteFile(wrongKey, []byte(strings.Replace(string(env), bucketSecret, "another-secret", 1)), 0o600))
	if out := w.perch(1, "adopt", w.theirs, "--into", w.ours+"-3", "--env-file", wrongKey); !strings.Contains(out, "403") || strings.Contains(out, "another-secret") {
		t.Errorf("with a wrong key: %s", out)
	}
	ours, err := os.ReadFile(filepath.Join(elsewhere, "pds.env"))
	peertest.Must(t, err)
	if strings.Contains(string(ours)+out, bucketSecret) {
		t.Errorf("the bucket's secret went on: %s\n%s", ours, out)
	}
}

func withoutDisk(env []string) []string {
	return slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "PDS_BLOBSTORE_DISK_") })
}
