package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"perch/pds/store"
)

// ProfileHost is what the server does about profiles.
type ProfileHost interface {
	// Profile returns what the account's profile record says.
	Profile(ctx context.Context, acct *store.Account) (Profile, error)
	// SetProfile changes what a Profile has, and keeps the rest of the record. Pictures that are not named stay. Errors: ErrProfile, PictureError.
	SetProfile(ctx context.Context, acct *store.Account, p Profile, pictures []NewPicture) error
	// Picture opens a picture that Profile has told of. The error is store.ErrNotFound when there is none.
	Picture(ctx context.Context, acct *store.Account, kind PictureKind) (*Picture, error)
}

// Profile is what people see beside the handle. The pictures are CIDs, and "" when there is none that can be shown.
type Profile struct {
	DisplayName, Description string
	Avatar, Banner           string
}

// PictureKind is a picture of a profile, by its name in the record.
type PictureKind string

// The pictures.
const (
	Avatar PictureKind = "avatar"
	Banner PictureKind = "banner"
)

var pictureKinds = []PictureKind{Avatar, Banner}

// Picture is a picture to be shown.
type Picture struct {
	Type    string
	Content io.ReadSeekCloser
}

// NewPicture is what is to become of a picture.
type NewPicture struct {
	Kind  PictureKind
	Bytes []byte // nil: there shall be none
}

// PictureError tells that something is no picture as profiles can have.
type PictureError struct{ Kind PictureKind }

func (e *PictureError) Error() string {
	return string(e.Kind) + " is no PNG or JPEG, or too many pixels wide or high"
}

const profilePath = "/account/profile"

func picturePath(kind PictureKind) string { return profilePath + "/" + string(kind) }

// showProfile shows what others see beside the handle.
func (s *Site) showProfile(r *request) error {
	p, err := s.opts.Host.Profile(r.Context(), r.current().Account)
	if err != nil {
		return err
	}
	return r.renderForm("profile", &Form{}, p)
}

// setProfile writes the profile record.
func (s *Site) setProfile(r *request) error {
	acct, f := r.current().Account, r.form()
	p, err := s.opts.Host.Profile(r.Context(), acct)
	if err != nil {
		return err
	}
	p.DisplayName = strings.TrimSpace(f.Value("name"))
	p.Description = strings.TrimSpace(strings.ReplaceAll(f.Value("description"), "\r\n", "\n"))
	pictures := r.newPictures(f)
	if !f.ok() {
		return r.renderForm("profile", f, p)
	}
	err = s.opts.Host.SetProfile(r.Context(), acct, p, pictures)
	var picture *PictureError
	if errors.As(err, &picture) {
		f.add(string(picture.Kind), r.t("error.picture"))
		return r.renderForm("profile", f, p)
	}
	if err != nil {
		return r.again(err, "profile", f, p)
	}
	return r.done("profile", profilePath)
}

// newPictures is what the form wants of pictures. A new one counts more than the wish to have none.
func (r *request) newPictures(f *Form) (pictures []NewPicture) {
	for _, kind := range pictureKinds {
		chosen, ok := r.files[string(kind)]
		switch {
		case ok && chosen.tooLarge:
			f.add(string(kind), r.t("error.picture-size"))
		case ok:
			pictures = append(pictures, NewPicture{kind, chosen.bytes})
		case f.Value(string(kind)+"-remove") != "":
			pictures = append(pictures, NewPicture{Kind: kind})
		}
	}
	return pictures
}

// showPicture sends a picture to its owner, so that an account that nobody else can see has it on its page, too.
func (s *Site) showPicture(kind PictureKind) handler {
	return func(r *request) error {
		picture, err := s.opts.Host.Picture(r.Context(), r.current().Account, kind)
		if err != nil {
			return err
		}
		defer picture.Content.Close()
		h := r.w.Header()
		h.Set("Content-Type", picture.Type)
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
		http.ServeContent(r.w, r.Request, "", time.Time{}, picture.Content)
		return nil
	}
}
