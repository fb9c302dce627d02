// Package event makes the messages of com.atproto.sync.subscribeRepos as complete frames, ready to be stored and sent.
//
// A frame is encoded once, by whoever makes the change, before its place in the stream is known. Its seq is a placeholder of nine bytes,
// as every seq of ours takes nine in canonical CBOR, and the writer of the database sets it in place.
package event

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	cbg "github.com/whyrusleeping/cbor-gen"
)

// Kind is the type of a message without its "#".
type Kind string

// The messages that a PDS sends. The others of the past (handle, migrate, tombstone) are gone.
const (
	Commit   Kind = "commit"
	Sync     Kind = "sync"
	Identity Kind = "identity"
	Account  Kind = "account"
)

const (
	// MinSeq is the least seq a frame can hold: the first number that takes nine bytes.
	MinSeq = 1 << 32
	// MaxSeq is the greatest, so that every consumer can hold it in a double.
	MaxSeq = 1<<53 - 1
	// MaxFrame is the greatest size of a frame in bytes.
	MaxFrame = 5_000_000
)

// ErrTooLarge says that a message is larger than the stream allows.
var ErrTooLarge = errors.New("event is too large")

// Event is one message. Frame is a whole websocket message, header and payload; until SetSeq has been called its seq means nothing.
type Event struct {
	Kind  Kind
	Time  time.Time
	Frame []byte

	seqAt int // offset of the eight bytes of the seq in Frame
}

// SetSeq writes the event's seq into its frame. It returns an error when seq is not from MinSeq to MaxSeq.
func (e *Event) SetSeq(seq int64) error {
	if seq < MinSeq || seq > MaxSeq {
		return fmt.Errorf("seq %d is out of range", seq)
	}
	binary.BigEndian.PutUint64(e.Frame[e.seqAt:], uint64(seq))
	return nil
}

// NewIdentity makes an #identity message: others should look again at who did is. An empty handle is left out.
func NewIdentity(did syntax.DID, handle syntax.Handle, t time.Time) (Event, error) {
	msg := &atproto.SyncSubscribeRepos_Identity{Did: did.String(), Seq: placeholder, Time: formatTime(t)}
	if handle != "" {
		h := handle.String()
		msg.Handle = &h
	}
	return newEvent(Identity, t, msg, 256)
}

// NewAccount makes an #account message: the account's status at this host. status is "" when there is no more to say than active.
func NewAccount(did syntax.DID, active bool, status string, t time.Time) (Event, error) {
	msg := &atproto.SyncSubscribeRepos_Account{Did: did.String(), Active: active, Seq: placeholder, Time: formatTime(t)}
	if status != "" {
		msg.Status = &status
	}
	return newEvent(Account, t, msg, 256)
}

// InfoFrame makes the #info message name, such as "OutdatedCursor". It has no seq.
func InfoFrame(name, message string) []byte {
	msg := &atproto.SyncSubscribeRepos_Info{Name: name}
	if message != "" {
		msg.Message = &message
	}
	b := bytes.NewBuffer(header("#info"))
	_ = msg.MarshalCBOR(b) // fails only on strings of a megabyte
	return b.Bytes()
}

// ErrorFrame makes the error frame after which a stream ends, such as "FutureCursor" or "ConsumerTooSlow".
func ErrorFrame(name, message string) []byte {
	b := []byte{0xa1, 0x62, 'o', 'p', 0x20} // {"op": -1}
	if message == "" {
		b = append(b, 0xa1)
	} else {
		b = append(b, 0xa2)
	}
	b = appendText(appendText(b, "error"), name)
	if message != "" {
		b = appendText(appendText(b, "message"), message)
	}
	return b
}

// Header is the header with which every frame of the kind begins.
func Header(kind Kind) []byte { return header("#" + string(kind)) }

// header is {"t": kind, "op": 1} in canonical order. There is room behind it for a small payload.
func header(kind string) []byte {
	b := append(make([]byte, 0, 256), 0xa2, 0x61, 't')
	b = appendText(b, kind)
	return append(b, 0x62, 'o', 'p', 0x01)
}

func appendText(b []byte, s string) []byte {
	b = append(b, cbg.CborEncodeMajorType(cbg.MajTextString, uint64(len(s)))...)
	return append(b, s...)
}

// formatTime gives an atproto datetime in UTC with milliseconds.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// placeholder stands for the seq until that is known. It is drawn at random for each process, so that nothing a client can put into a
// commit looks like it.
var placeholder = func() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return int64(binary.BigEndian.Uint64(b[:])>>12 | 1<<51)
}()

// newEvent encodes header and msg, and finds the seq. size is an estimate of the payload's size in bytes.
func newEvent(kind Kind, t time.Time, msg cbg.CBORMarshaler, size int) (Event, error) {
	b := bytes.NewBuffer(make([]byte, 0, 32+size))
	b.Write(Header(kind))
	if err := msg.MarshalCBOR(b); err != nil {
		return Event{}, fmt.Errorf("encode #%s: %w", kind, err)
	}
	frame := b.Bytes()
	if len(frame) > MaxFrame {
		return Event{}, fmt.Errorf("%w: #%s of %d bytes", ErrTooLarge, kind, len(frame))
	}
	at := bytes.Index(frame, seqField())
	if at < 0 {
		return Event{}, fmt.Errorf("encode #%s: no seq", kind)
	}
	return Event{Kind: kind, Time: t, Frame: frame, seqAt: at + len(seqKey)}, nil
}

// seqKey is the key "seq" and the head of a nine-byte integer.
const seqKey = "\x63seq\x1b"

func seqField() []byte { return binary.BigEndian.AppendUint64([]byte(seqKey), uint64(placeholder)) }
