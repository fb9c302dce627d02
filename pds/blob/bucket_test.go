package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const objectText = "the bytes of an object, which come in two pieces"

// flawed is a service that fails in the ways given, one for each request, and works after them.
type flawed struct {
	*Bucket
	requests atomic.Int32
}

func newFlawed(t *testing.T, flaws ...http.HandlerFunc) *flawed {
	t.Helper()
	f := &flawed{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := int(f.requests.Add(1)); n <= len(flaws) && flaws[n-1] != nil {
			flaws[n-1](w, r)
			return
		}
		serveObject(w, r)
	}))
	t.Cleanup(srv.Close)
	var err error
	f.Bucket, err = OpenBucket(BucketConfig{
		Name: "blobs", Region: "us-east-1", Endpoint: srv.URL, PathStyle: true, AccessKey: "key", SecretKey: "very-secret", RequestTimeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.wait = time.Millisecond
	return f
}

func serveObject(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/blobs/" {
		list(w, r)
		return
	}
	w.Header().Set("Last-Modified", time.Unix(1, 0).UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Length", fmt.Sprint(len(objectText)))
	_, _ = io.WriteString(w, objectText)
}

// list answers two keys a page.
func list(w http.ResponseWriter, r *http.Request) {
	keys := []string{"blocks/a", "blocks/b", "blocks/c", "blocks/d", "blocks/e"}
	after := max(r.FormValue("start-after"), r.FormValue("continuation-token"))
	keys = slices.DeleteFunc(keys, func(k string) bool { return k <= after })
	page := keys[:min(2, len(keys))]
	var b strings.Builder
	fmt.Fprintf(&b, "<ListBucketResult><IsTruncated>%v</IsTruncated><NextContinuationToken>%s</NextContinuationToken>", len(keys) > 2, page[len(page)-1])
	for _, k := range page {
		fmt.Fprintf(&b, "<Contents><Key>%s</Key><Size>7</Size></Contents>", k)
	}
	_, _ = io.WriteString(w, b.String()+"</ListBucketResult>")
}

func breakOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Last-Modified", time.Unix(1, 0).UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Length", fmt.Sprint(len(objectText)))
	_, _ = io.WriteString(w, objectText[:10])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// stall sends a part and then nothing more.
func stall(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Last-Modified", time.Unix(1, 0).UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Length", fmt.Sprint(len(objectText)))
	_, _ = io.WriteString(w, objectText[:10])
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func refuse(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
	}
}

func TestBucketFetch(t *testing.T) {
	busy := refuse(503, "SlowDown")
	for name, tt := range map[string]struct {
		flaws    []http.HandlerFunc
		want     error
		requests int32
	}{
		"at once":        {requests: 1},
		"breaks off":     {flaws: []http.HandlerFunc{breakOff, breakOff}, requests: 3},
		"stalls":         {flaws: []http.HandlerFunc{stall}, requests: 2},
		"busy":           {flaws: []http.HandlerFunc{busy, busy, busy}, requests: 4},
		"busy for ever":  {flaws: slices.Repeat([]http.HandlerFunc{busy}, 20), want: ErrBucket, requests: bucketTries},
		"not there":      {flaws: []http.HandlerFunc{refuse(404, "NoSuchKey")}, want: ErrNotFound, requests: 1},
		"no such bucket": {flaws: []http.HandlerFunc{refuse(404, "NoSuchBucket")}, want: ErrBucket, requests: 1},
		"forbidden":      {flaws: []http.HandlerFunc{refuse(403, "AccessDenied")}, want: ErrBucket, requests: 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFlawed(t, tt.flaws...)
			if name == "stalls" {
				f.stall = time.Second
			}
			var got []byte
			err := f.Fetch(t.Context(), "blocks/x", func(r io.Reader) (err error) {
				got, err = io.ReadAll(r)
				return err
			})
			if !errors.Is(err, tt.want) || tt.want == nil && string(got) != objectText {
				t.Errorf("%q, %v; want %v", got, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "very-secret") {
				t.Error(err)
			}
			if n := f.requests.Load(); n != tt.requests {
				t.Errorf("%d requests, want %d", n, tt.requests)
			}
		})
	}
}

// What the caller does not like is not asked for again, and a caller who leaves is let go.
func TestBucketEndsWithItsCaller(t *testing.T) {
	f := newFlawed(t)
	mine := errors.New("mine")
	if err := f.Fetch(t.Context(), "blocks/x", func(io.Reader) error { return mine }); err != mine || f.requests.Load() != 1 {
		t.Errorf("%v after %d requests", err, f.requests.Load())
	}
	if err := f.List(t.Context(), "blocks/", func(string, int64) error { return mine }); err != mine {
		t.Error(err)
	}
	f = newFlawed(t, stall)
	ctx, cancel := context.WithCancel(t.Context())
	err := f.Fetch(ctx, "blocks/x", func(r io.Reader) error {
		cancel()
		_, err := io.ReadAll(r)
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A page that fails is asked for again, and no key comes twice.
func TestBucketList(t *testing.T) {
	f := newFlawed(t, nil, refuse(500, "InternalError"), nil, refuse(503, "SlowDown"))
	var got []string
	err := f.List(t.Context(), "blocks/", func(key string, size int64) error {
		got = append(got, fmt.Sprint(key, size))
		return nil
	})
	if want := []string{"blocks/a7", "blocks/b7", "blocks/c7", "blocks/d7", "blocks/e7"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}
