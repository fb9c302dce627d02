package migrate

import (
	"encoding/json"
	"slices"
	"strings"
)

// Note is a remark about a move that its owner should read.
type Note struct {
	Code string `json:"code,omitempty"` // see NoteLate and the rest; "" of remarks that were kept as text alone
	With string `json:"with,omitempty"` // a commit, a key, or what somebody else has said about it
	Text string `json:"text"`           // in English
}

// The codes of remarks.
const (
	NoteStays       = "stays"        // the account at the old host is still active
	NoteKey         = "key"          // With: a rotation key that the DID keeps
	NoteNoPrefsOld  = "no-prefs-old" // the old host keeps no preferences
	NoteNoPrefsNew  = "no-prefs-new" // the new host keeps none
	NoteBirth       = "birth"        // the date of birth did not come along
	NoteAsked       = "asked"        // the operation could not be used, and the owner was asked again
	NoteLast        = "last"         // what was written in the last moments could not be looked for
	NoteElsewhere   = "elsewhere"    // the DID names another server by now
	NoteActive      = "active"       // the account at the old host could not be deactivated
	NoteNoReset     = "no-reset"     // no code for a new password could be mailed
	NoteLate        = "late"         // With: the last commit of the old host, which is not here
	NoteDeactivated = "deactivated"  // the account here stays so, because its DID does not name this server
	NoteLeft        = "left"         // something may be left at the new host
)

// noteTexts say it in English; {with} stands for With, {host} for the other host.
var noteTexts = map[string]string{
	NoteStays:       "The account at the old host is still active: sign in there and deactivate it.",
	NoteKey:         "The DID keeps the rotation key {with}, which the old host recommends too: take it out if it is not yours.",
	NoteNoPrefsOld:  "The old host keeps no preferences.",
	NoteNoPrefsNew:  "The new host keeps no preferences.",
	NoteBirth:       "The old host does not give the date of birth to somebody who has signed in in a browser, so it is not here. Enter it anew in an app that asks for it.",
	NoteAsked:       "The operation could not be used any more, so nothing had changed, and the owner was asked again: {with}",
	NoteLast:        "What was written at the old host in the last moments could not be looked for: {with}",
	NoteElsewhere:   "The DID names another server by now, so the account at the old host was left as it is.",
	NoteActive:      "The account at the old host could not be deactivated; sign in there and do it. {with}",
	NoteNoReset:     "No code for a new password could be mailed: {with}",
	NoteLate:        "Something was written at the old host while the account moved and is not here. Its last commit is {with}.",
	NoteDeactivated: "The account here stays deactivated, because its DID does not name this server.",
	NoteLeft:        "A deactivated account, to which nothing refers, may be left at {host}: {with}. To have it gone at once, sign in there and delete it.",
}

func (mv *move) note(code, with string) {
	n := Note{Code: code, With: clip(with, maxError)}
	n.Text = strings.NewReplacer("{with}", n.With, "{host}", mv.Host).Replace(noteTexts[code])
	if !slices.Contains(mv.Notes, n) && len(mv.Notes) < maxNotes {
		mv.Notes = append(mv.Notes, n)
	}
}

// UnmarshalJSON implements json.Unmarshaler. It takes a text alone, too, as remarks were kept once.
func (n *Note) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &n.Text) == nil {
		return nil
	}
	type plain Note
	return json.Unmarshal(b, (*plain)(n))
}

// Why a blob is lost.
const (
	LostMissing = "missing" // the host that should have it has not
	LostLarge   = "large"   // it is larger than the new host takes
	LostOther   = "other"   // the bytes are not those that the CID says
	LostRefused = "refused" // the other host says no
	LostFaulty  = "faulty"  // it only ever answers with a fault
)

// why is why a blob is lost; the zero value: it is not.
type why struct{ code, text string }

// refusedBlob tells why a host does not give a blob, or take it.
func refusedBlob(e *HostError) why {
	code := LostRefused
	switch {
	case e.Name == "BlobNotFound", e.Status == 404:
		code = LostMissing
	case e.Status == 413, e.Name == "BlobTooLarge":
		code = LostLarge
	}
	return why{code, e.Name + ": " + e.Message}
}
