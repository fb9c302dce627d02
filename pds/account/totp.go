package account

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"time"
)

// The parameters that every authenticator app knows; many ignore others.
const (
	totpPeriod      = 30 * time.Second
	totpDigits      = 6
	totpSecretBytes = 20
	// totpDrift is how many steps a phone's clock may be ahead or behind (RFC 6238 section 5.2 recommends one).
	totpDrift = 1
)

// hotp is the code of a counter (RFC 4226 section 5.3).
func hotp(secret []byte, counter uint64, digits int) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, counter))
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	code := binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff
	mod := uint32(1)
	for range digits {
		mod *= 10
	}
	return fmt.Sprintf("%0*d", digits, code%mod)
}

// totpStep is the counter of a time (RFC 6238 section 4.2).
func totpStep(t time.Time) int64 { return t.Unix() / int64(totpPeriod/time.Second) }

// matchTOTP returns the step of the code given, if it is of now or a neighbour of now, and later than the step used last.
func matchTOTP(secret []byte, code string, now time.Time, used int64) (step int64, ok bool) {
	for s := totpStep(now) - totpDrift; s <= totpStep(now)+totpDrift; s++ {
		if s > used && subtle.ConstantTimeCompare([]byte(hotp(secret, uint64(s), totpDigits)), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

func isTOTP(code string) bool {
	if len(code) != totpDigits {
		return false
	}
	for _, c := range code {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// totpURL is what an authenticator app reads from a QR code (the Key Uri Format that all of them take).
func totpURL(issuer, account string, secret []byte) string {
	q := url.Values{"secret": {encodeTOTP(secret)}, "issuer": {issuer}}
	u := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + issuer + ":" + account, RawQuery: q.Encode()}
	return u.String()
}

func encodeTOTP(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}
