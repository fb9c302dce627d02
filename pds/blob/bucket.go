package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// BucketConfig says where a bucket is, and who may read it. The fields are the reference PDS's PDS_BLOBSTORE_S3_* settings.
type BucketConfig struct {
	Name      string
	Region    string
	Endpoint  string // URL of the service; "" for Amazon's
	PathStyle bool   // the bucket is in the path, not in the host's name
	// AccessKey and SecretKey may both be "": then they are looked for where Amazon's tools look, in AWS_* variables, ~/.aws and the machine's role.
	AccessKey, SecretKey string
	// RequestTimeout ends a request to which nothing comes for so long, and is not for the whole of it. Zero is for defaultStall.
	RequestTimeout time.Duration
}

const (
	defaultStall   = 15 * time.Second
	connectTimeout = 5 * time.Second
	bucketConns    = 64 // idle connections kept to the service
	bucketTries    = 6
	firstWait      = 500 * time.Millisecond // before the second try; doubled for each one after
	longestWait    = 15 * time.Second
)

// ErrBucket says that a bucket cannot be read at all: wrong settings, credentials or rights.
var ErrBucket = errors.New("the bucket cannot be read")

// Bucket reads the objects of a bucket in an S3 service, and never writes to it. It is safe for use by several goroutines.
type Bucket struct {
	client *minio.Client
	name   string
	stall  time.Duration
	wait   time.Duration // firstWait, but for tests
}

// OpenBucket makes the client of a bucket. Nothing is sent yet.
func OpenBucket(c BucketConfig) (*Bucket, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	return &Bucket{client: client, name: c.Name, stall: cmp.Or(c.RequestTimeout, defaultStall), wait: firstWait}, nil
}

// client is the connection to the service, for whoever uses buckets.
func (c BucketConfig) client() (*minio.Client, error) {
	if err := s3utils.CheckValidBucketName(c.Name); err != nil {
		return nil, fmt.Errorf("bucket %q: %w", c.Name, err)
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		return nil, errors.New("one of the access key's id and its secret is given without the other")
	}
	service, err := serviceURL(c.Endpoint)
	if err != nil {
		return nil, err
	}
	creds := credentials.NewStaticV4(c.AccessKey, c.SecretKey, "")
	if c.AccessKey == "" {
		creds = credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}})
	}
	return minio.New(service.Host, &minio.Options{
		Creds: creds, Secure: service.Scheme == "https", Region: c.Region, BucketLookup: c.lookup(service), Transport: c.transport(),
		MaxRetries: 1, // tries are counted here, where those that break amid the bytes are seen too
	})
}

const amazon = "https://s3.amazonaws.com"

func serviceURL(endpoint string) (*url.URL, error) {
	u, err := url.Parse(cmp.Or(endpoint, amazon))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the endpoint is no URL such as https://s3.example.com")
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("endpoint %s://%s…: only a host and a port can be in it", u.Scheme, u.Host)
	}
	return u, nil
}

// lookup chooses between bucket.host/key and host/bucket/key as Amazon's own client does.
func (c BucketConfig) lookup(service *url.URL) minio.BucketLookupType {
	switch {
	case c.PathStyle, net.ParseIP(service.Hostname()) != nil, strings.Contains(c.Name, ".") && service.Scheme == "https":
		return minio.BucketLookupPath
	case c.Endpoint == "":
		return minio.BucketLookupAuto
	}
	return minio.BucketLookupDNS
}

func (c BucketConfig) transport() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: cmp.Or(c.RequestTimeout, defaultStall),
		MaxIdleConnsPerHost:   bucketConns,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true, // the bytes as they are stored
	}
}

// List calls fn with the key and size of every object whose key begins with prefix. Errors: ErrBucket, ctx's, fn's.
func (b *Bucket) List(ctx context.Context, prefix string, fn func(key string, size int64) error) error {
	after := "" // a new try goes on behind what was listed
	return b.try(ctx, func(ctx context.Context, _ func()) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the goroutine that lists
		for o := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix, Recursive: true, StartAfter: after}) {
			if o.Err != nil {
				return o.Err
			}
			if err := fn(o.Key, o.Size); err != nil {
				return &callerError{err}
			}
			after = o.Key
		}
		return ctx.Err()
	})
}

// Fetch gives read the bytes of an object. When they break off, it does so again with a new reader. Errors: ErrNotFound, ErrBucket, ctx's, and those of read that are not the
// reader's.
func (b *Bucket) Fetch(ctx context.Context, key string, read func(io.Reader) error) error {
	return b.try(ctx, func(ctx context.Context, alive func()) error {
		// GetObject's own reader would ask twice: once for the size.
		body, _, _, err := (minio.Core{Client: b.client}).GetObject(ctx, b.name, key, minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer body.Close()
		r := &bucketReader{r: body, alive: alive}
		if err := read(r); err != nil && r.err == nil {
			return &callerError{err}
		}
		return r.err
	})
}

// bucketReader tells of each piece that has come, and keeps what has gone wrong.
type bucketReader struct {
	r     io.Reader
	alive func()
	err   error
}

// Read implements io.Reader.
func (b *bucketReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.alive()
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// callerError is an error of a function that was given; it is not tried again.
type callerError struct{ error }

// Unwrap gives the function's error.
func (e *callerError) Unwrap() error { return e.error }

var errStalled = errors.New("nothing came from the service any more")

// try calls do until it succeeds, fails for good, or has failed too often. do calls alive when something has come; when it does not for too long, its context ends.
func (b *Bucket) try(ctx context.Context, do func(ctx context.Context, alive func()) error) error {
	for n := 1; ; n++ {
		attempt, cancel := context.WithCancelCause(ctx)
		timer := time.AfterFunc(2*b.stall, func() { cancel(errStalled) }) // the answer's beginning has a limit of its own
		err := do(attempt, func() { timer.Reset(b.stall) })
		timer.Stop()
		if err != nil && ctx.Err() == nil && attempt.Err() != nil {
			err = context.Cause(attempt)
		}
		cancel(nil)
		if err == nil || ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if final := b.final(err, n); final != nil {
			return final
		}
		wait := min(b.wait<<(n-1), longestWait)
		select {
		case <-time.After(wait/2 + rand.N(wait/2+1)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// final is the error to give up with, nil when another try may help.
func (b *Bucket) final(err error, tries int) error {
	var caller *callerError
	if errors.As(err, &caller) {
		return caller.error
	}
	var answer minio.ErrorResponse
	if errors.As(err, &answer) {
		switch status := answer.StatusCode; {
		case answer.Code == "NoSuchKey":
			return ErrNotFound
		case status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests:
			return fmt.Errorf("%w: %s: the service answers %d %s: %s", ErrBucket, b.name, status, answer.Code, answer.Message)
		}
	}
	if tries < bucketTries {
		return nil
	}
	return fmt.Errorf("%w: %s: after %d tries: %w", ErrBucket, b.name, tries, err)
}
