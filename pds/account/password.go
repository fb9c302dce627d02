package account

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"runtime"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/scrypt"

	"perch/pds/store"
)

// Lengths of passwords in bytes. The reference asks for no minimum over XRPC; Perch does, because that is the door that guessing comes
// through. Passwords that exist already are never measured.
const (
	MinPassword    = 8
	MaxPassword    = 256
	MaxOldPassword = 512 // at sign-in
)

// argon2id as OWASP advises. Of the settings that it calls equally strong this is one that takes less memory: 9 MiB, four passes, one lane. About 24 ms.
const (
	argonMemory = 9 * 1024 // KiB
	argonPasses = 4
	argonLanes  = 1
	argonSalt   = 16
	argonKey    = 32
)

// What a stored hash may ask for.
const (
	maxArgonMemory = 64 * 1024 // KiB
	maxArgonPasses = 16
)

// scrypt as the reference uses it.
const (
	scryptN   = 16384
	scryptR   = 8
	scryptP   = 1
	scryptKey = 64
)

const (
	argonPrefix = "$argon2id$"
	appPrefix   = "s256:"
)

// checkNewPassword applies the policy for passwords that are being set.
func checkNewPassword(password string) error {
	switch {
	case len(password) < MinPassword:
		return refuse(ErrInvalidPassword, "Password must have at least %d characters.", MinPassword)
	case len(password) > MaxPassword:
		return refuse(ErrInvalidPassword, "Password too long. Maximum length is %d characters.", MaxPassword)
	}
	return nil
}

// hasher runs the slow functions, at most one for every two processors: each takes 9 MiB, and a crowd that signs in shall not hold up everybody else.
type hasher struct {
	slots chan struct{}
	dummy string // hash of a password that nobody knows
}

func newHasher() *hasher {
	h := &hasher{slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
	h.dummy = encodeArgon(make([]byte, argonSalt), bytes.Repeat([]byte{0xff}, argonKey))
	return h
}

// run waits for a slot, or for the end of ctx.
func (h *hasher) run(ctx context.Context, fn func()) error {
	if err := ctx.Err(); err != nil {
		return err // select would choose at random when a slot is free too
	}
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-h.slots }()
	fn()
	return nil
}

// hash returns the stored form of a password: "$argon2id$v=19$m=9216,t=4,p=1$<salt>$<key>".
func (h *hasher) hash(ctx context.Context, password string) (out string, err error) {
	salt := make([]byte, argonSalt)
	rand.Read(salt)
	err = h.run(ctx, func() { out = encodeArgon(salt, argonID(password, salt)) })
	return out, err
}

func argonID(password string, salt []byte) []byte {
	return argonWith(password, salt, argonMemory, argonPasses)
}

func argonWith(password string, salt []byte, memory, passes uint32) []byte {
	return argon2.IDKey([]byte(password), salt, passes, memory, argonLanes, argonKey)
}

func argonSettings(memory, passes uint32) string {
	return fmt.Sprintf("m=%d,t=%d,p=%d", memory, passes, argonLanes)
}

func encodeArgon(salt, key []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("%sv=%d$%s$%s$%s", argonPrefix, argon2.Version, argonSettings(argonMemory, argonPasses),
		b64.EncodeToString(salt), b64.EncodeToString(key))
}

// verify compares a password with a stored hash, ours or the reference's. "" is compared with a hash that no password has, which takes as long.
func (h *hasher) verify(ctx context.Context, stored, password string) (ok bool, err error) {
	if stored == "" {
		stored = h.dummy
	}
	err = h.run(ctx, func() {
		if strings.HasPrefix(stored, argonPrefix) {
			ok = verifyArgon(stored, password)
		} else {
			ok = verifyScrypt(stored, password)
		}
	})
	return ok, err
}

// outdated tells whether a hash that has just been verified should be replaced by a new one.
func outdated(stored string) bool { return !strings.HasPrefix(stored, argonPrefix) }

func verifyArgon(stored, password string) bool {
	parts := strings.Split(stored, "$") // "", argon2id, v, parameters, salt, key
	if len(parts) != 6 {
		return false
	}
	var memory, passes uint32
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,", &memory, &passes); err != nil || parts[3] != argonSettings(memory, passes) {
		return false
	}
	if passes == 0 || passes > maxArgonPasses || memory > maxArgonMemory {
		return false
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	return err == nil && subtle.ConstantTimeCompare(argonWith(password, salt, memory, passes), want) == 1
}

// verifyScrypt checks a hash of the reference: "salt:key" in hexadecimal, of which the salt is used as the text it is.
func verifyScrypt(stored, password string) bool {
	salt, want, ok := strings.Cut(stored, ":")
	return ok && sameHash(scryptHex(password, salt), want)
}

func scryptHex(password, salt string) string {
	key, err := scrypt.Key([]byte(password), []byte(salt), scryptN, scryptR, scryptP, scryptKey)
	if err != nil {
		panic("scrypt: " + err.Error()) // only for bad parameters, and ours are constants
	}
	return hex.EncodeToString(key)
}

// verifyFirst returns the index of the app password of the reference that was given, or -1. All of an account have the same salt there, made
// from its DID, so that one computation serves for all.
func (h *hasher) verifyFirst(ctx context.Context, all []store.AppPassword, password string) (int, error) {
	bySalt := map[string]string{}
	for i, p := range all {
		salt, want, ok := strings.Cut(p.Hash, ":")
		if !ok {
			continue
		}
		if bySalt[salt] == "" {
			if err := h.run(ctx, func() { bySalt[salt] = scryptHex(password, salt) }); err != nil {
				return -1, err
			}
		}
		if sameHash(bySalt[salt], want) {
			return i, nil
		}
	}
	return -1, nil
}

// hashAppPassword returns the stored form of an app password. The server makes these passwords, of 80 random bits, so a fast hash is as
// hard to undo as a slow one, and bots that sign in often cost nothing; the DID in it keeps equal passwords and one search for all apart. It
// is not keyed with the master key, so that rotating or losing that key does not end every app password.
func hashAppPassword(did syntax.DID, password string) string {
	mac := hmac.New(sha256.New, []byte("perch app password\x00"+string(did)))
	mac.Write([]byte(password))
	return appPrefix + hex.EncodeToString(mac.Sum(nil))
}

// sameHash compares two stored forms in constant time.
func sameHash(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
