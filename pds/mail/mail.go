// Package mail writes the messages that the server sends to people, and hands them to an SMTP server.
//
// A Message is ready to be sent: text and HTML with the same words. Letters writes those that carry a code. A Server is one SMTP server with
// a sender's address; it sends one message per connection and keeps nothing. What to do when that fails is the caller's to decide: whoever
// wants a message to survive a restart keeps it and tries again.
package mail

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
)

var (
	// ErrRefused: the server will never take this message for this recipient, so that there is no use in trying again.
	ErrRefused = errors.New("recipient refused")
	// ErrAddress: the text is no e-mail address.
	ErrAddress = errors.New("not an e-mail address")
)

// Message is a mail to one person.
type Message struct {
	To      string `json:"to"` // bare address
	Subject string `json:"subject"`
	Text    string `json:"text"`
	HTML    string `json:"html,omitempty"` // "" for none
	// ID makes two deliveries of the same message recognizable as such; "" for a random one.
	ID string `json:"id,omitempty"`
}

// ParseSender reads a sender's address, bare or with a name: "Example PDS <pds@example.com>". The error is ErrAddress.
func ParseSender(s string) (name, address string, err error) {
	a, err := mail.ParseAddress(s)
	if err != nil || !strings.Contains(a.Address, "@") {
		return "", "", fmt.Errorf("%w: %q", ErrAddress, s)
	}
	return a.Name, a.Address, nil
}
