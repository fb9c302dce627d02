package repo

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hexLink is a link of the data model in CBOR.
const hexLink = "d82a 5825 00 0171 1220 0000000000000000000000000000000000000000000000000000000000000000"

func TestCheckDRISLRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		want      error
	}{
		{"nothing", "", ErrSyntax},
		{"trailing byte", "a0 00", ErrSyntax},
		{"head cut short", "18", ErrSyntax},
		{"text cut short", "63 6162", ErrSyntax},
		{"bytes beyond the end", "5b 7fffffffffffffff 00", ErrSyntax},
		{"bytes beyond all", "5b ffffffffffffffff 00", ErrSyntax},
		{"array cut short", "83 01 02", ErrSyntax},
		{"array of more than there is", "9a 0001ffff", ErrSyntax},
		{"array of 2^64-1", "9b ffffffffffffffff", ErrSize},
		{"map of 2^64-1", "bb ffffffffffffffff", ErrSize},
		{"23 in two bytes", "18 17", ErrNotCanonical},
		{"255 in three bytes", "19 00ff", ErrNotCanonical},
		{"65535 in five bytes", "1a 0000ffff", ErrNotCanonical},
		{"2^32-1 in nine bytes", "1b 00000000ffffffff", ErrNotCanonical},
		{"long text head", "78 01 61", ErrNotCanonical},
		{"2^63", "1b 8000000000000000", ErrIntRange},
		{"-2^63-1", "3b 8000000000000000", ErrIntRange},
		{"half float", "f9 3c00", ErrFloat},
		{"single float", "fa 3f800000", ErrFloat},
		{"double float", "fb 3ff0000000000000", ErrFloat},
		{"NaN", "fb 7ff8000000000000", ErrFloat},
		{"undefined", "f7", ErrValue},
		{"simple 0", "e0", ErrValue},
		{"simple 255", "f8 ff", ErrValue},
		{"break", "ff", ErrNotCanonical},
		{"indefinite array", "9f ff", ErrNotCanonical},
		{"indefinite map", "bf ff", ErrNotCanonical},
		{"indefinite text", "7f 61 61 ff", ErrNotCanonical},
		{"reserved head", "1c", ErrSyntax},
		{"date tag", "c1 00", ErrValue},
		{"tag 43", "d82b 00", ErrValue},
		{"tag of text", "d82a 61 61", ErrCID},
		{"link without prefix", strings.Replace(hexLink, "5825 00", "5824", 1), ErrCID},
		{"link with sha-512", strings.Replace(hexLink, "1220", "1320", 1), ErrCID},
		{"link to dag-pb", strings.Replace(hexLink, "0171", "0170", 1), ErrCID},
		{"link cut short", hexLink[:22], ErrSyntax},
		{"long tag head", "d9002a" + hexLink[4:], ErrNotCanonical},
		{"key is a number", "a1 01 02", ErrValue},
		{"key is bytes", "a1 41 61 02", ErrValue},
		{"empty key", "a1 60 02", ErrEmptyKey},
		{"key twice", "a2 61 61 01 61 61 02", ErrDuplicateKey},
		{"keys not sorted", "a2 61 62 01 61 61 02", ErrKeyOrder},
		{"keys sorted by text", "a2 62 6161 01 61 62 02", ErrKeyOrder},
		{"invalid UTF-8", "62 c328", ErrUTF8},
		{"invalid UTF-8 in key", "a1 62 c328 00", ErrUTF8},
		{"surrogate", "63 eda080", ErrUTF8},
		{"too deep", strings.Repeat("81", MaxDepth+1) + "00", ErrDepth},
		{"bottomless", strings.Repeat("81", 100_000), ErrDepth},
		{"bottomless maps", strings.Repeat("a16161", 100_000), ErrDepth},
	} {
		b := unhex(t, tt.hex)
		if err := CheckDRISL(b, RecordLimits()); !errors.Is(err, tt.want) || !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if m, err := DecodeRecord(b); err == nil {
			t.Errorf("%s: decoded %v", tt.name, m)
		}
		if out, err := AppendJSON([]byte("x"), b); !errors.Is(err, tt.want) || string(out) != "x" {
			t.Errorf("%s: JSON %s, %v", tt.name, out, err)
		}
	}
	big := make([]byte, MaxRecord+1)
	if err := CheckDRISL(big, RecordLimits()); !errors.Is(err, ErrSize) {
		t.Errorf("too large: %v", err)
	}
}

func TestDecodeRecordRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		want      error
	}{
		{"no object", "80", ErrNotObject},
		{"empty $type", "a1 65 2474797065 60", ErrType},
		{"$link in CBOR", "a1 65 246c696e6b 61 61", ErrLink},
		{"$bytes in CBOR", "a1 66 246279746573 61 61", ErrBytes},
		{"blob of nothing", "a1 61 61 a1 65 2474797065 64 626c6f62", ErrBlob},
	} {
		if _, err := DecodeRecord(unhex(t, tt.hex)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestCheckDRISLAccepts(t *testing.T) {
	for _, s := range []string{
		"00", "17", "1818", "18ff", "190100", "1a00010000", "1b0000000100000000", "1b7fffffffffffffff", "3b7fffffffffffffff",
		"f4", "f5", "f6", "60", "40", "80", "a0", hexLink, "a2 61 62 01 62 6161 02", strings.Repeat("81", MaxDepth) + "00",
	} {
		if err := CheckDRISL(unhex(t, s), RecordLimits()); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}
