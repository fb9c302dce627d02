package web

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"time"
)

const (
	// maxFile bounds a file that is kept of a form, in bytes: as much as the lexicon of profiles allows for a picture.
	maxFile = 1_000_000
	// maxFileForm bounds a form with files, in bytes. What is too large for a file is read all the same and thrown away, because browsers show no answer
	// to a form that they could not send to its end.
	maxFileForm = 32 << 20
	// maxParts bounds the fields of such a form, and maxFiles those of them whose file is kept: as many as a profile has pictures.
	maxParts = 64
	maxFiles = 2
)

// file is a file that came with a form.
type file struct {
	bytes    []byte
	tooLarge bool // there was more than maxFile of it
}

// plainForm reads what came with the request.
func (r *request) plainForm() error {
	r.Body = http.MaxBytesReader(r.w, r.Body, maxForm)
	return r.ParseForm()
}

// fileForm reads a form that may hold files. It holds them in memory, so nothing is read for those who were never signed in; the rules of the page answer them.
func (r *request) fileForm() error {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "multipart/form-data" || !r.site.opts.Accounts.IsDeviceCookie(r.cookie(deviceCookie)) {
		return r.plainForm()
	}
	if err := r.take(Limit{Name: "web files", Points: 60, Window: time.Hour}); err != nil {
		return err
	}
	r.Body = http.MaxBytesReader(r.w, r.Body, maxFileForm)
	if err := r.ParseForm(); err != nil { // what stands in the address
		return err
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return err
	}
	return r.readParts(parts)
}

func (r *request) readParts(parts *multipart.Reader) (err error) {
	r.files = map[string]file{}
	room := maxForm
	for range maxParts {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if room, err = r.takePart(part, room); err != nil {
			return err
		}
	}
	return errLongForm
}

// takePart adds a part of a form to its files or values, and returns how much room there still is for values.
func (r *request) takePart(part *multipart.Part, room int) (int, error) {
	name := part.FormName()
	if part.FileName() != "" {
		return room, r.takeFile(name, part)
	}
	text, err := io.ReadAll(io.LimitReader(part, int64(room)+1))
	if room -= len(name) + len(text); err == nil && room < 0 {
		err = errLongForm
	}
	r.Form.Add(name, string(text))
	r.PostForm.Add(name, string(text))
	return room, err
}

// takeFile keeps a file that came with a form. What is more than maxFiles or maxFile is read and thrown away.
func (r *request) takeFile(name string, from io.Reader) error {
	if _, again := r.files[name]; again || len(r.files) >= maxFiles {
		_, err := io.Copy(io.Discard, from)
		return err
	}
	text, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err == nil && len(text) > maxFile {
		text = nil
		_, err = io.Copy(io.Discard, from)
	}
	r.files[name] = file{text, text == nil}
	return err
}
