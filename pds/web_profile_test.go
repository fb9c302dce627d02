package pds

import (
	"bytes"
	"image"
	"image/jpeg"
	pngfile "image/png"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
)

// sendFiles sends a form of the page that is open as browsers send one with files: fields in pairs, then files by their fields.
func (v *visitor) sendFiles(path string, files map[string][]byte, fields ...string) *visitor {
	v.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if m := tokenInPage.FindSubmatch(v.page.body); m != nil {
		fields = append([]string{"token", string(m[1])}, fields...)
	}
	for i := 0; i < len(fields); i += 2 {
		_ = form.WriteField(fields[i], fields[i+1])
	}
	for name, text := range files {
		part, err := form.CreateFormFile(name, "picture")
		if err != nil {
			v.t.Fatal(err)
		}
		_, _ = part.Write(text)
	}
	form.Close()
	return v.ask(http.MethodPost, path, form.FormDataContentType(), &body)
}

// paint makes a real picture.
func paint(t *testing.T, kind string, width, height int) []byte {
	t.Helper()
	var out bytes.Buffer
	picture := image.NewGray(image.Rect(0, 0, width, height))
	err := pngfile.Encode(&out, picture)
	if kind == "jpeg" {
		out.Reset()
		err = jpeg.Encode(&out, picture, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestProfilePage(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	alice.post("com.atproto.repo.putRecord", map[string]any{
		"repo": alice.did, "collection": "app.bsky.actor.profile", "rkey": "self",
		"record": map[string]any{"displayName": "Old", "pronouns": "she/her", "createdAt": "2026-01-01T00:00:00Z"},
	}).ok()
	v := n.visitor(t).signIn("alice.test", "alice-password")
	v.open("/account/profile").shows(200, "/account/profile", `value="Old"`)
	n.wantEvents(t, func() {
		v.send("/account/profile", "name", " Alice ", "description", "First\r\nsecond <b>").shows(200, "/account/profile", "is saved", `value="Alice"`, "second &lt;b&gt;")
	}, "commit")
	record := alice.get("com.atproto.repo.getRecord", "repo", alice.did, "collection", "app.bsky.actor.profile", "rkey", "self").ok()
	if record.str("value.displayName") != "Alice" || record.str("value.description") != "First\nsecond <b>" || record.str("value.pronouns") != "she/her" {
		t.Errorf("%v", record)
	}
	v.send("/account/profile", "name", strings.Repeat("x", 65)).shows(422, "/account/profile", "at most 64")
	alice.deactivate()
	v.open("/account/profile").send("/account/profile", "name", "Bob").shows(422, "/account/profile")
}

func TestProfilePictures(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	get := func() object {
		t.Helper()
		return alice.get("com.atproto.repo.getRecord", "repo", alice.did, "collection", "app.bsky.actor.profile", "rkey", "self").ok()
	}
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/profile").shows(200, "/account/profile", `type="file"`)
	v.saysNot(`src="/account/profile/`)
	v.open("/account/profile/avatar").shows(404, "/account/profile/avatar")
	face, wide := paint(t, "png", 40, 40), paint(t, "jpeg", 90, 30)
	n.wantEvents(t, func() {
		v.open("/account/profile").sendFiles("/account/profile", map[string][]byte{"avatar": face, "banner": wide}, "name", "Alice", "avatar-remove", "on")
	}, "commit")
	v.shows(200, "/account/profile", "is saved", `src="/account/profile/avatar?`, `src="/account/profile/banner?`, `value="Alice"`)
	record := get()
	if record.str("value.avatar.mimeType") != "image/png" || record.str("value.banner.mimeType") != "image/jpeg" {
		t.Errorf("%v", record)
	}
	if got := alice.get("com.atproto.sync.getBlob", "did", alice.did, "cid", record.str("value.avatar.ref.$link")); !bytes.Equal(got.body, face) {
		t.Error("the blob is another picture")
	}
	for kind, want := range map[string][]byte{"avatar": face, "banner": wide} {
		v.open("/account/profile/" + kind)
		h := v.page.header
		if v.page.status != 200 || !bytes.Equal(v.page.body, want) || !strings.HasPrefix(h.Get("Content-Type"), "image/") || h.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.Contains(h.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s: %d %v", kind, v.page.status, h)
		}
	}

	// A form without files, and one with a file for one picture, leave the others.
	v.open("/account/profile").send("/account/profile", "name", "Alice").shows(200, "/account/profile", "is saved", `src="/account/profile/avatar?`)
	v.sendFiles("/account/profile", nil, "name", "Alice", "banner-remove", "on").shows(200, "/account/profile", `src="/account/profile/avatar?`).saysNot(`src="/account/profile/banner?`)
	if record := get(); record.str("value.avatar.mimeType") != "image/png" || record.at("value.banner") != nil {
		t.Errorf("%v", record)
	}
	alice.deactivate()
	v.open("/account/profile").shows(200, "/account/profile", `src="/account/profile/avatar?`)
	v.open("/account/profile/avatar").shows(200, "/account/profile/avatar")
	v.open("/account/profile").sendFiles("/account/profile", map[string][]byte{"avatar": wide}).shows(422, "/account/profile")
}

func TestProfileRefusesWhatIsNoPicture(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/profile")
	apng := bytes.Replace(paint(t, "png", 4, 4), []byte("IDAT"), []byte("acTL"), 1)
	for name, text := range map[string][]byte{
		"nothing": {}, "text": []byte("hello"), "a page": []byte("<!doctype html><script>alert(1)</script>"), "a drawing": []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`),
		"a GIF": []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;"), "half a head": paint(t, "png", 4, 4)[:20], "a long one": paint(t, "png", 8193, 1), "a moving one": apng,
	} {
		v.sendFiles("/account/profile", map[string][]byte{"avatar": text}, "name", "Alice").shows(422, "/account/profile", `id="avatar-error"`, "no picture that can be used", `value="Alice"`)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	large := append(paint(t, "png", 4, 4), make([]byte, 1_000_000)...)
	v.sendFiles("/account/profile", map[string][]byte{"banner": large}).shows(422, "/account/profile", `id="banner-error"`, "more than 1 MB")
	v.sendFiles("/account/profile", map[string][]byte{"avatar": large[:1_000_000]}).shows(200, "/account/profile", "is saved")
	if out := alice.get("com.atproto.sync.listBlobs", "did", alice.did); !strings.Contains(string(out.body), "bafk") {
		t.Errorf("the largest that may be is lost: %s", out.body)
	}

	v.sendFiles("/account/profile", nil, "description", strings.Repeat("x", 70<<10)).shows(413, "/account/profile", "did not arrive")
	v.open("/account/profile").sendFiles("/account/profile", map[string][]byte{"other": make([]byte, 33<<20)}).shows(413, "/account/profile", "did not arrive")
	many := make([]string, 200)
	v.open("/account/profile").sendFiles("/account/profile", nil, many...).shows(413, "/account/profile", "did not arrive")
	v.open("/account/profile").ask(http.MethodPost, "/account/profile", "multipart/form-data", strings.NewReader("x")).shows(400, "/account/profile", "did not arrive")
}

func TestProfileFilesOfStrangersAreNotRead(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	v := n.visitor(t).open("/account/sign-in")
	v.sendFiles("/account/profile", map[string][]byte{"avatar": make([]byte, 5<<20)}).shows(403, "/account/profile", "send that again")
	v.signIn("alice.test", "alice-password").open("/account/profile")
	v.page.body = bytes.ReplaceAll(v.page.body, []byte(`name="token"`), []byte(`name="no"`))
	v.sendFiles("/account/profile", map[string][]byte{"avatar": paint(t, "png", 4, 4)}, "name", "Mallory").shows(403, "/account/profile")
	v.open("/account/profile").saysNot("Mallory")
}

func TestProfileGoesOnBesideAnApp(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/profile")
	done := make(chan struct{})
	go func() { // an app writes what it has, again and again
		defer close(done)
		for i := range 20 {
			alice.post("com.atproto.repo.putRecord", map[string]any{
				"repo": alice.did, "collection": "app.bsky.actor.profile", "rkey": "self", "record": map[string]any{"website": "https://example.com/" + strings.Repeat("x", i)},
			})
		}
	}()
	for range 5 {
		v.send("/account/profile", "name", "Alice").shows(200, "/account/profile", "is saved")
	}
	<-done
	v.send("/account/profile", "name", "Alice")
	record := alice.get("com.atproto.repo.getRecord", "repo", alice.did, "collection", "app.bsky.actor.profile", "rkey", "self").ok()
	if !strings.HasPrefix(record.str("value.website"), "https://example.com/x") || record.str("value.displayName") != "Alice" {
		t.Errorf("%v", record)
	}
}
