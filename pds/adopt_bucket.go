package pds

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"perch/pds/blob"
)

// The reference's settings of a bucket for blobs.
const (
	s3Settings = "PDS_BLOBSTORE_S3_"
	s3Bucket   = s3Settings + "BUCKET"
	s3Secret   = s3Settings + "SECRET_ACCESS_KEY"
)

// The reference ends a request after the time that an upload may take, but within these.
const (
	s3UploadTimeout = 20 * time.Second
	s3LeastRequest  = 6 * time.Second
	s3MostRequest   = 15 * time.Second
)

// bucket opens the bucket that the reference keeps its blobs in. What its AWS library would have found in its environment is taken from its settings, too.
func (a *adoption) bucket() (*blob.Bucket, error) {
	v := a.env.values
	c := blob.BucketConfig{
		Name: v[s3Bucket], Region: cmp.Or(v[s3Settings+"REGION"], v["AWS_REGION"]), Endpoint: v[s3Settings+"ENDPOINT"],
		AccessKey: v[s3Settings+"ACCESS_KEY_ID"], SecretKey: v[s3Secret],
	}
	if c.AccessKey == "" && c.SecretKey == "" {
		c.AccessKey, c.SecretKey = v["AWS_ACCESS_KEY_ID"], v["AWS_SECRET_ACCESS_KEY"]
	}
	var err error
	if c.PathStyle, err = s3Bool(v[s3Settings+"FORCE_PATH_STYLE"]); err != nil {
		return nil, &ConfigError{[]string{fmt.Sprintf("%sFORCE_PATH_STYLE: %v", s3Settings, err)}}
	}
	upload, err := s3Milliseconds(v[s3Settings+"UPLOAD_TIMEOUT_MS"], s3UploadTimeout)
	if err != nil {
		return nil, &ConfigError{[]string{fmt.Sprintf("%sUPLOAD_TIMEOUT_MS: %v", s3Settings, err)}}
	}
	c.RequestTimeout, err = s3Milliseconds(v[s3Settings+"REQUEST_TIMEOUT_MS"], max(min(upload, s3MostRequest), s3LeastRequest))
	if err != nil {
		return nil, &ConfigError{[]string{fmt.Sprintf("%sREQUEST_TIMEOUT_MS: %v", s3Settings, err)}}
	}
	b, err := blob.OpenBucket(c)
	if err != nil {
		return nil, &ConfigError{[]string{fmt.Sprintf("%s*: %v", s3Settings, err)}}
	}
	return b, nil
}

func s3Bool(s string) (bool, error) {
	if s == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", s)
	}
	return b, nil
}

func s3Milliseconds(s string, otherwise time.Duration) (time.Duration, error) {
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is no number of milliseconds", s)
	}
	return cmp.Or(time.Duration(n)*time.Millisecond, otherwise), nil
}
