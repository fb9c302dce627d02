package web

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"testing"
)

// Forms are held in memory until their end has come, so one that is full of files must not be kept whole.
func TestFormsKeepFewFiles(t *testing.T) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for i := range maxParts - 2 {
		part, err := form.CreateFormFile(fmt.Sprint("file", i/2), "picture")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(make([]byte, maxFile/2))
	}
	_ = form.WriteField("name", "Alice")
	form.Close()
	r := &request{Request: &http.Request{Form: url.Values{}, PostForm: url.Values{}}}
	if err := r.readParts(multipart.NewReader(&body, form.Boundary())); err != nil || r.PostForm.Get("name") != "Alice" {
		t.Fatalf("%v, %v", err, r.PostForm)
	}
	kept := 0
	for _, f := range r.files {
		kept += len(f.bytes)
	}
	if kept > maxFiles*maxFile || len(r.files) != len(pictureKinds) {
		t.Errorf("%d bytes of %d files are kept", kept, len(r.files))
	}
}
