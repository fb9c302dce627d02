package web

import (
	"encoding/json"
	"strings"
	"testing"

	"perch/identity/plc"
	"perch/pds/migrate"
)

// Everything that a move leaves to be read, and every change of a DID, has words in all languages.
func TestMoveAndChangeHaveWords(t *testing.T) {
	notes := []string{
		migrate.NoteStays, migrate.NoteKey, migrate.NoteNoPrefsOld, migrate.NoteNoPrefsNew, migrate.NoteBirth, migrate.NoteAsked, migrate.NoteLast, migrate.NoteElsewhere,
		migrate.NoteActive, migrate.NoteNoReset, migrate.NoteLate, migrate.NoteDeactivated, migrate.NoteLeft,
	}
	lost := []string{migrate.LostMissing, migrate.LostLarge, migrate.LostOther, migrate.LostRefused, migrate.LostFaulty}
	changes := []plc.Change{
		{What: plc.ChangeEnded}, {What: plc.ChangeOrder}, {What: plc.ChangeHandle, How: plc.Changed, Is: "a.test"}, {What: plc.ChangeAlias, How: plc.Added, Is: "at://b"},
		{What: plc.ChangeServer, How: plc.Changed, Is: "https://a", Was: "https://b"}, {What: plc.ChangeService, How: plc.Removed, Name: "labeler", Was: "https://b"},
		{What: plc.ChangeSigning, How: plc.Changed}, {What: plc.ChangeKey, How: plc.Added, Name: "x", Is: "did:key:z"},
		{What: plc.ChangeRotation, How: plc.Added, Is: "did:key:z", Holder: "owner", Number: 1, Of: 2}, {What: plc.ChangeRotation, How: plc.Removed, Was: "did:key:z", Holder: "server"},
	}
	for tag, w := range languages() {
		for _, code := range notes {
			if !w.has("move.note-" + code) {
				t.Errorf("%s: no words for the remark %s", tag, code)
			}
		}
		for _, code := range lost {
			if !w.has("move.why-" + code) {
				t.Errorf("%s: no words for a blob that is lost because of %s", tag, code)
			}
		}
		for _, c := range changes {
			if text := w.change(c); strings.Contains(text, "change.") || strings.Contains(text, "{") || text == "" {
				t.Errorf("%s: %+v is said as %q", tag, c, text)
			}
		}
	}
}

// What was kept as text once is shown as it is.
func TestMoveShowsOldRemarks(t *testing.T) {
	var notes []migrate.Note
	var changes []plc.Change
	if err := json.Unmarshal([]byte(`["an old remark", {"code":"late","with":"bafy","text":"in English"}]`), &notes); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`["rotation key removed: did:key:z"]`), &changes); err != nil {
		t.Fatal(err)
	}
	r := &request{words: languages()["de"]}
	all := r.remarks(notes, "old.example")
	if all[0] != (remark{"an old remark", "en"}) || all[1].Lang != "" || !strings.Contains(all[1].Text, "old.example") || !strings.Contains(all[1].Text, "bafy") {
		t.Errorf("%+v", all)
	}
	if text := r.words.change(changes[0]); text != "rotation key removed: did:key:z" || changes[0].String() != text {
		t.Errorf("%q", text)
	}
}
