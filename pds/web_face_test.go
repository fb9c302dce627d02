package pds

import (
	"bytes"
	"image"
	"image/jpeg"
	"regexp"
	"testing"
)

func TestHomeShowsFaces(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.PublicAccounts = true })
	put := func(c *client, avatar []byte, more map[string]any) {
		record := map[string]any{"avatar": c.upload("image/png", avatar)}
		for k, v := range more {
			record[k] = v
		}
		c.post("com.atproto.repo.putRecord", map[string]any{"repo": c.did, "collection": "app.bsky.actor.profile", "rkey": "self", "record": record}).ok()
	}
	alice, bob, shy, gone, plain := n.signUp(t, "alice"), n.signUp(t, "bob"), n.signUp(t, "shy"), n.signUp(t, "gone"), n.signUp(t, "plain")
	put(alice, paint(t, "png", 900, 600), nil)
	put(bob, png("a head and nothing after it"), nil)
	put(gone, paint(t, "jpeg", 300, 300), nil)
	put(shy, paint(t, "png", 30, 30), map[string]any{"labels": map[string]any{"$type": "com.atproto.label.defs#selfLabels", "values": []any{map[string]any{"val": "!no-unauthenticated"}}}})
	gone.deactivate()

	v := n.visitor(t).open("/")
	faces := regexp.MustCompile(`src="(/faces/[^"]+)"`).FindAllStringSubmatch(string(v.page.body), -1)
	if len(faces) != 2 {
		t.Fatalf("%q", faces)
	}
	v.open(faces[1][1])
	h := v.page.header
	if v.page.status != 200 || h.Get("Content-Type") != "image/jpeg" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "public, max-age=86400" || h.Get("Set-Cookie") != "" {
		t.Errorf("%d %v", v.page.status, h)
	}
	if size, err := jpeg.DecodeConfig(bytes.NewReader(v.page.body)); err != nil || size.Width != faceSide || size.Height != faceSide || len(v.page.body) > 8<<10 {
		t.Errorf("%+v %v, %d bytes", size, err, len(v.page.body))
	}
	if _, kind, err := image.DecodeConfig(bytes.NewReader(v.page.body)); err != nil || kind != "jpeg" {
		t.Errorf("%s %v", kind, err)
	}
	for _, path := range []string{"/faces/" + bob.did, "/faces/" + bob.did, "/faces/" + shy.did, "/faces/" + gone.did, "/faces/" + plain.did, "/faces/did:web:nobody.example", "/faces/x"} {
		if v.open(path); v.page.status != 404 {
			t.Errorf("%s: %d", path, v.page.status)
		}
	}
}

func TestNoFacesUnlessTheOperatorWants(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/profile").sendFiles("/account/profile", map[string][]byte{"avatar": paint(t, "png", 9, 9)})
	v.shows(200, "/account/profile", "is saved")
	if v.open("/faces/" + alice.did); v.page.status != 404 {
		t.Errorf("%d", v.page.status)
	}
}
