package account

import (
	"net/mail"
	"strings"
	"unicode"
)

const (
	maxEmail      = 254 // RFC 5321
	maxEmailLocal = 64
)

// NormalizeEmail checks the form of an e-mail address and puts it in lower case, as it is stored and compared. The error is ErrInvalidEmail.
func NormalizeEmail(raw string) (string, error) {
	email := strings.ToLower(strings.TrimSpace(raw))
	if email == "" {
		return "", refuse(ErrInvalidEmail, "Email is required")
	}
	if !validEmail(email) {
		return "", refuse(ErrInvalidEmail, "This email address is not supported, please use a different email.")
	}
	return email, nil
}

// validEmail takes what mail servers take in practice: one bare address without quotes or comments, at a domain with a dot.
func validEmail(email string) bool {
	parsed, err := mail.ParseAddress(email)
	if err != nil || parsed.Address != email || parsed.Name != "" || len(email) > maxEmail {
		return false
	}
	if strings.ContainsFunc(email, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`"(),:;<>[\]`, r)
	}) {
		return false
	}
	at := strings.LastIndexByte(email, '@')
	return at <= maxEmailLocal && validMailDomain(email[at+1:])
}

func validMailDomain(domain string) bool {
	labels := strings.Split(domain, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-") || strings.Contains(l, "_") {
			return false
		}
	}
	return len(labels) > 1
}
