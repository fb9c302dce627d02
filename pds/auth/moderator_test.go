package auth

import (
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"
)

const subjectStatus = "com.atproto.admin.updateSubjectStatus"

// modWorld is a world whose moderation service has two keys.
func modWorld(t *testing.T) (w *world, token func(key string, change map[string]any) string) {
	w = newWorld(t)
	keys := map[string]interface {
		HashAndSign([]byte) ([]byte, error)
	}{}
	own, label := newKey(t), newKey(t)
	keys["atproto"], keys["label"], keys["none"] = own, label, newKey(t)
	w.keys[modDID] = public(t, own)
	w.keys[modDID+"#atproto_label"] = public(t, label)
	return w, func(key string, change map[string]any) string {
		c := map[string]any{"iss": modDID, "aud": serviceDID, "lxm": subjectStatus, "iat": w.exp(0), "exp": w.exp(time.Minute)}
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		claims, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		b64 := base64.RawURLEncoding
		input := b64.EncodeToString([]byte(`{"typ":"JWT","alg":"ES256K"}`)) + "." + b64.EncodeToString(claims)
		sig, err := keys[key].HashAndSign([]byte(input))
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + input + "." + b64.EncodeToString(sig)
	}
}

func TestModeratorRefuses(t *testing.T) {
	w, token := modWorld(t)
	acct, session := w.person()
	key, err := w.accounts.SigningKey(acct)
	if err != nil {
		t.Fatal(err)
	}
	w.keys[acct.DID] = public(t, key)
	own, err := ServiceToken(key, ServiceClaims{Issuer: acct.DID, Audience: serviceDID, Method: subjectStatus, IssuedAt: w.clock()})
	if err != nil {
		t.Fatal(err)
	}
	labeler := modDID + "#atproto_labeler"
	cases := []struct {
		name, header string
		want         *Error
	}{
		{"nothing", "", ErrAuthRequired},
		{"wrong password", "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:guess")), ErrAuthRequired},
		{"a session", "Bearer " + session.Access, ErrUntrustedIss},
		{"a refresh token", "Bearer " + session.Refresh, ErrUntrustedIss},
		{"garbage", "Bearer garbage", ErrBadJWT},
		{"another account", "Bearer " + own, ErrUntrustedIss},
		{"no issuer", token("atproto", map[string]any{"iss": nil}), ErrUntrustedIss},
		{"another service of the moderators", token("atproto", map[string]any{"iss": modDID + "#atproto_pds"}), ErrUntrustedIss},
		{"empty fragment", token("atproto", map[string]any{"iss": modDID + "#"}), ErrUntrustedIss},
		{"labeler with the account's key", token("atproto", map[string]any{"iss": labeler}), ErrBadSignature},
		{"account with the labeler's key", token("label", nil), ErrBadSignature},
		{"unknown key", token("none", nil), ErrBadSignature},
		{"another method", token("atproto", map[string]any{"lxm": "com.atproto.admin.deleteAccount"}), ErrBadMethod},
		{"no method", token("atproto", map[string]any{"lxm": nil}), ErrBadMethod},
		{"another server", token("atproto", map[string]any{"aud": "did:web:other.example.com"}), ErrBadAudience},
		{"expired", token("atproto", map[string]any{"exp": w.exp(-time.Second)}), ErrJWTExpired},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var headers []string
			if c.header != "" {
				headers = append(headers, c.header)
			}
			p, err := try(w.v.Moderator(subjectStatus), headers...)
			wantError(t, c.want, p, err)
		})
	}
	again := token("atproto", nil)
	if _, err := try(w.v.Moderator(subjectStatus), again); err != nil {
		t.Fatal(err)
	}
	p, err := try(w.v.Moderator(subjectStatus), again)
	wantError(t, ErrBadJWT, p, err)

	w.v.opts.ModServiceDID = ""
	p, err = try(w.v.Moderator(subjectStatus), token("atproto", map[string]any{"jti": "x"}))
	wantError(t, ErrUntrustedIss, p, err)
	p, err = try(w.v.Moderator(subjectStatus), token("atproto", map[string]any{"iss": "", "jti": "y"}))
	wantError(t, ErrUntrustedIss, p, err)
}

func TestModerator(t *testing.T) {
	w, token := modWorld(t)
	for name, header := range map[string]string{
		"as itself":    token("atproto", nil),
		"as labeler":   token("label", map[string]any{"iss": modDID + "#atproto_labeler"}),
		"to a service": token("atproto", map[string]any{"aud": serviceDID + "#atproto_pds"}),
	} {
		p, err := try(w.v.Moderator(subjectStatus), header)
		if err != nil || p.Kind != Moderator || p.DID != modDID || p.MaySee("did:plc:x") {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	p, err := try(w.v.Moderator(subjectStatus), "Basic "+base64.StdEncoding.EncodeToString([]byte("admin:"+adminPassword)))
	if err != nil || p.Kind != Admin {
		t.Errorf("admin: %+v, %v", p, err)
	}
	if _, err := try(w.v.Admin(), token("atproto", map[string]any{"jti": "z"})); err == nil {
		t.Error("a moderator's token opens what is the admin's")
	}
}
