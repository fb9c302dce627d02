package event

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/bluesky-social/indigo/api/atproto"
	cbg "github.com/whyrusleeping/cbor-gen"
)

// Restore makes the frame of a message that another server has sent. payload is its CBOR as the reference PDS keeps it, without seq and time, which is a datetime as sent.
// seq may be any from 1 to MaxSeq.
func Restore(kind Kind, payload []byte, seq int64, time string) ([]byte, error) {
	if seq < 1 || seq > MaxSeq {
		return nil, fmt.Errorf("seq %d is out of range", seq)
	}
	msg, err := message(kind)
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
	fields, err := readFields(payload)
	if err != nil {
		return nil, fmt.Errorf("read #%s: %w", kind, err)
	}
	b := bytes.NewBuffer(make([]byte, 0, 64+len(payload)))
	b.Write(Header(kind))
	if err := fields.write(b, seq, time); err != nil {
		return nil, fmt.Errorf("encode #%s: %w", kind, err)
	}
	return b.Bytes(), nil
}

// fields are a message as it was written, with those fields, too, that are no more in the lexicon: early releases sent prev.
type fields map[string][]byte

// maxFields is more than any message has.
const maxFields = 64

func readFields(payload []byte) (fields, error) {
	r := cbg.NewCborReader(bytes.NewReader(payload))
	major, n, err := r.ReadHeader()
	if err != nil {
		return nil, err
	}
	if major != cbg.MajMap || n > maxFields {
		return nil, errors.New("it is no map of a message's size")
	}
	f := fields{}
	for range n {
		name, err := cbg.ReadString(r)
		if err != nil {
			return nil, err
		}
		if _, twice := f[name]; twice {
			return nil, fmt.Errorf("field %q is there twice", name)
		}
		var value cbg.Deferred
		if err := value.UnmarshalCBOR(r); err != nil {
			return nil, err
		}
		f[name] = value.Raw
	}
	return f, nil
}

// write encodes the message with seq and time.
func (f fields) write(b *bytes.Buffer, seq int64, time string) error {
	w := cbg.NewCborWriter(b)
	names := slices.Collect(maps.Keys(f))
	for _, name := range []string{"seq", "time"} {
		if _, there := f[name]; !there {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(x, y string) int { return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)) }) // as DAG-CBOR has it
	if err := w.WriteMajorTypeHeader(cbg.MajMap, uint64(len(names))); err != nil {
		return err
	}
	for _, name := range names {
		if err := writeText(w, name); err != nil {
			return err
		}
		var err error
		switch name {
		case "seq":
			err = w.WriteMajorTypeHeader(cbg.MajUnsignedInt, uint64(seq))
		case "time":
			err = writeText(w, time)
		default:
			_, err = w.Write(f[name])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func writeText(w *cbg.CborWriter, s string) error {
	if err := w.WriteMajorTypeHeader(cbg.MajTextString, uint64(len(s))); err != nil {
		return err
	}
	_, err := w.WriteString(s)
	return err
}

// message returns an empty message of the kind.
func message(kind Kind) (cbg.CBORUnmarshaler, error) {
	switch kind {
	case Commit:
		return &atproto.SyncSubscribeRepos_Commit{}, nil
	case Sync:
		return &atproto.SyncSubscribeRepos_Sync{}, nil
	case Identity:
		return &atproto.SyncSubscribeRepos_Identity{}, nil
	case Account:
		return &atproto.SyncSubscribeRepos_Account{}, nil
	}
	return nil, fmt.Errorf("kind %q is unknown", kind)
}
