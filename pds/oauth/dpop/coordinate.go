package dpop

import (
	"encoding/base64"
	"encoding/json"
)

// coordinateSize is the size of a coordinate on P-256 in bytes.
const coordinateSize = 32

// FillCoordinates gives the coordinates of a key on P-256 the zeros at their head that RFC 7518 section 6.2.1.2 asks for. indigo's client leaves them out,
// which makes one key in 128 too short. Members of other keys, and what is malformed, stay as they are.
func FillCoordinates(members map[string]json.RawMessage) {
	var curve string
	if json.Unmarshal(members["crv"], &curve) != nil || curve != "P-256" {
		return
	}
	for _, name := range []string{"x", "y"} {
		var text string
		if json.Unmarshal(members[name], &text) != nil {
			continue
		}
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(raw) == 0 || len(raw) >= coordinateSize {
			continue
		}
		full := make([]byte, coordinateSize)
		copy(full[coordinateSize-len(raw):], raw)
		members[name] = json.RawMessage(`"` + base64.RawURLEncoding.EncodeToString(full) + `"`)
	}
}
