package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets/*
var assetFiles embed.FS

const assetPath = "/assets/"

// assets are the files that pages load. Each is found under a name that holds the hash of what is in it, and so may be kept for ever.
type assets struct {
	urls  map[string]string
	files map[string]asset
}

type asset struct {
	name string
	text []byte
}

func newAssets(b brand) *assets {
	a := &assets{urls: map[string]string{}, files: map[string]asset{}}
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err) // embedded
	}
	for _, e := range entries {
		text, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err)
		}
		if e.Name() == "style.css" {
			text = append(text, b.css()...)
		}
		a.add(e.Name(), text)
	}
	return a
}

func (a *assets) add(name string, text []byte) {
	sum := sha256.Sum256(text)
	ext := path.Ext(name)
	hashed := strings.TrimSuffix(name, ext) + "." + base64.RawURLEncoding.EncodeToString(sum[:9]) + ext
	a.urls[name] = assetPath + hashed
	a.files[hashed] = asset{name, text}
}

func (a *assets) url(name string) string { return a.urls[name] }

func (s *Site) asset(r *request) error {
	f, ok := s.assets.files[r.PathValue("name")]
	if !ok {
		return problem(http.StatusNotFound, "missing")
	}
	h := r.w.Header()
	h.Set("Content-Type", mime.TypeByExtension(path.Ext(f.name)))
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(r.w, r.Request, f.name, time.Time{}, bytes.NewReader(f.text))
	return nil
}
