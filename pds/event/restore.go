package event

import (
	"bytes"
	"fmt"

	"github.com/bluesky-social/indigo/api/atproto"
	cbg "github.com/whyrusleeping/cbor-gen"
)

// Restore makes the frame of a message that another server has sent. payload is its CBOR as the reference PDS keeps it, without seq and time, which is a datetime as sent.
// seq may be any from 1 to MaxSeq.
func Restore(kind Kind, payload []byte, seq int64, time string) ([]byte, error) {
	if seq < 1 || seq > MaxSeq {
		return nil, fmt.Errorf("seq %d is out of range", seq)
	}
	msg, set, err := message(kind)
	if err != nil {
		return nil, err
	}
	r := bytes.NewReader(payload)
	if err := msg.UnmarshalCBOR(r); err != nil {
		return nil, fmt.Errorf("read #%s: %w", kind, err)
	}
	if r.Len() > 0 {
		return nil, fmt.Errorf("read #%s: %d bytes too many", kind, r.Len())
	}
	set(seq, time)
	b := bytes.NewBuffer(make([]byte, 0, 64+len(payload)))
	b.Write(Header(kind))
	if err := msg.MarshalCBOR(b); err != nil {
		return nil, fmt.Errorf("encode #%s: %w", kind, err)
	}
	return b.Bytes(), nil
}

// payloadType is a message as generated.
type payloadType interface {
	cbg.CBORMarshaler
	cbg.CBORUnmarshaler
}

// message returns an empty message of the kind, and how to set its place and time.
func message(kind Kind) (payloadType, func(int64, string), error) {
	switch kind {
	case Commit:
		m := &atproto.SyncSubscribeRepos_Commit{}
		return m, func(seq int64, time string) { m.Seq, m.Time = seq, time }, nil
	case Sync:
		m := &atproto.SyncSubscribeRepos_Sync{}
		return m, func(seq int64, time string) { m.Seq, m.Time = seq, time }, nil
	case Identity:
		m := &atproto.SyncSubscribeRepos_Identity{}
		return m, func(seq int64, time string) { m.Seq, m.Time = seq, time }, nil
	case Account:
		m := &atproto.SyncSubscribeRepos_Account{}
		return m, func(seq int64, time string) { m.Seq, m.Time = seq, time }, nil
	}
	return nil, nil, fmt.Errorf("kind %q is unknown", kind)
}
