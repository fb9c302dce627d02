package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"perch/identity/plc"
	"perch/pds/migrate"
)

// moves are those in one direction, as their pages see them.
type moves struct {
	path string
	find func(*request) (*migrate.Status, error) // the visitor's; nil when there is none
}

var (
	hereMoves = moves{movePath, hereMove}
	awayMoves = moves{awayPath, awayMove}
)

// awayMove is the move of the account that is signed in, to another server.
func awayMove(r *request) (*migrate.Status, error) {
	st, err := r.site.opts.Host.MoveStatus(r.Context(), r.current().Account.DID)
	if problemOf(err).name == "missing" || err == nil && !st.Out {
		return nil, nil
	}
	return st, err
}

// progressPage shows how far a move has come, and asks for what it waits for.
type progressPage struct {
	*migrate.Status
	Path     string // of the pages of this move
	HostName string
	Steps    []moveStep
	Line     string // what is being done
	Trouble  string // what is in the way; "" when nothing is
	Retry    string // how long until the next attempt
	Done, Of int64
	Key      string // changes when the page has to be shown anew
	Waits    bool   // for its owner
	Document string // what a did:web's document has to name
	Unsigned string // for its owner to sign
	Size     string // of the blobs
	Took     string
	Gone     lostList
	Named    string // the server that the DID will name, when it is not the one that the owner has chosen
	Remarks  []remark
	Asked    string // why the owner is asked once more for what changes the DID; "" when it is the first time
}

// remark is a text, in Lang if that is not the page's language.
type remark struct{ Text, Lang string }

// remarks says what a move's owner should read. What other servers said about it is left to the command line.
func (r *request) remarks(notes []migrate.Note, host string) (all []remark) {
	for _, n := range notes {
		if key := "move.note-" + n.Code; r.words.has(key) {
			all = append(all, remark{Text: r.t(key, "host", host, "with", n.With)})
		} else {
			all = append(all, remark{n.Text, fallbackLanguage})
		}
	}
	return all
}

// lostList is what a page lists of the blobs that could not be brought along.
type lostList struct {
	Some []lostBlob
	N    int // of all
	More int // that are not listed
}

// maxLostShown keeps a page small: there may be thousands.
const maxLostShown = 100

// lostBlob is a blob and why it is lost.
type lostBlob struct {
	CID string
	Why remark
}

func (r *request) listLost(lost []migrate.Lost) lostList {
	list := lostList{N: len(lost), More: max(0, len(lost)-maxLostShown)}
	for _, l := range lost[:len(lost)-list.More] {
		b := lostBlob{l.CID, remark{l.Reason, fallbackLanguage}}
		if key := "move.why-" + l.Code; r.words.has(key) {
			b.Why = remark{Text: r.t(key)}
		}
		list.Some = append(list.Some, b)
	}
	return list
}

// moveStep is a line of what a move does.
type moveStep struct{ Text, State string } // State: done, now or todo

// stepOf is at which of the steps that people see a move is.
var stepOf = map[migrate.State]int{
	migrate.StateAccount: 0, migrate.StateRepo: 0, migrate.StateBlobs: 1, migrate.StatePreferences: 2, migrate.StateVerify: 2, migrate.StateReopen: 2,
	migrate.StateCode: 3, migrate.StateDocument: 3, migrate.StateSigned: 4, migrate.StateHeld: 4, migrate.StateSubmit: 4, migrate.StateMoved: 4,
	migrate.StateActive: 4, migrate.StateLeft: 4, migrate.StateDone: 5, migrate.StateAbandoned: 5,
}

var stepKeys = []string{"records", "blobs", "compare", "code", "switch"}

func (r *request) progress(st *migrate.Status) progressPage {
	p := progressPage{Status: st, Path: movePath, HostName: hostName(st.Host), Waits: st.Needs != "", Size: r.words.bytes(st.BlobBytes)}
	p.Done, p.Of, p.Gone = st.BlobsHere, st.Blobs, r.listLost(st.Lost)
	p.Remarks = r.remarks(st.Notes, p.HostName)
	if st.Out {
		p.Path, p.Done = awayPath, st.BlobsThere
		if st.Endpoint != "" && st.Endpoint != st.Host {
			p.Named = hostName(st.Endpoint)
		}
	}
	p.Steps = r.steps(st)
	p.Line = r.progressLine(st, p.Done)
	if st.Trouble != "" {
		p.Trouble = r.t("move.trouble-"+st.Trouble, "host", p.HostName)
		if wait := time.Until(st.RetryAt); wait > 0 {
			p.Retry = duration(wait)
		}
	}
	if st.Needs == migrate.NeedsDocument {
		p.Document = indented(st.Document)
	}
	if st.Operation != nil {
		p.Unsigned = indented(st.Operation)
	}
	if st.Report != nil {
		p.Gone, p.Remarks = r.listLost(st.Report.Lost), r.remarks(st.Report.Notes, p.HostName)
		p.Size, p.Took = r.words.bytes(st.Report.BlobBytes), duration(time.Duration(st.Report.Seconds)*time.Second)
	}
	if st.Needs == migrate.NeedsCode || st.Needs == migrate.NeedsKey || st.Needs == migrate.NeedsSignature {
		p.Asked = r.askedAgain(st)
	}
	p.Key = fmt.Sprint(stepOf[st.State], st.Needs, st.Trouble, st.State == migrate.StateAbandoning, st.State.Ended())
	return p
}

// steps are the lines of what a move does, with how far it is.
func (r *request) steps(st *migrate.Status) (all []moveStep) {
	at := stepOf[st.State]
	for i, key := range stepKeys {
		state := "todo"
		switch {
		case i < at:
			state = "done"
		case i == at:
			state = "now"
		}
		switch {
		case key == "code" && st.Out:
			key = "code-away"
		case key == "code" && st.DID.Method() == "web":
			key = "document" // no code is asked for
		}
		all = append(all, moveStep{r.t("move.step-" + key), state})
	}
	return all
}

// askedAgain says why what changes the DID is wanted once more.
func (r *request) askedAgain(st *migrate.Status) string {
	refused := func(n migrate.Note) bool { return n.Code == migrate.NoteAsked }
	switch {
	case st.Out && slices.ContainsFunc(st.Notes, refused):
		return r.t("away.asked")
	case !st.Out && st.Error != "":
		return r.t("move.code-stale")
	}
	return ""
}

// progressLine says in words what is being done, and how far it is.
func (r *request) progressLine(st *migrate.Status, blobs int64) string {
	switch st.State {
	case migrate.StateRepo:
		if st.RepoBytes > 0 {
			return r.t("move.line-repo", "size", r.words.bytes(st.RepoBytes))
		}
		return r.t("move.line-begin")
	case migrate.StateBlobs:
		line := r.t("move.line-blobs", "done", blobs, "all", st.Blobs)
		if st.SecondsLeft > 0 {
			line += " " + r.t("move.line-left", "time", duration(time.Duration(st.SecondsLeft)*time.Second))
		}
		return line
	case migrate.StatePreferences, migrate.StateVerify, migrate.StateReopen:
		return r.t("move.line-compare")
	case migrate.StateDocument:
		return r.t("move.line-document")
	case migrate.StateAbandoning:
		return r.t("move.line-abandon")
	}
	return r.t("move.line-switch")
}

// duration is a time in the unit that fits. The units are the same in all our languages.
func duration(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%d s", max(1, int(d.Round(time.Second)/time.Second)))
	case d < 90*time.Minute:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute)/time.Minute))
	}
	return fmt.Sprintf("%d h", int(d.Round(time.Hour)/time.Hour))
}

func indented(v any) string {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return ""
	}
	return string(text)
}

// elsewhere leads a visitor who has no such move to where one begins.
func (r *request) elsewhere(of moves) error {
	if of.path == movePath && r.cookie(moveCookie) != "" {
		r.dropCookie(moveCookie)
		r.tell("warning", "move-gone")
	}
	return r.redirect(of.path)
}

// showProgress shows how a move stands.
func (s *Site) showProgress(of moves) handler {
	return func(r *request) error {
		st, err := of.find(r)
		switch {
		case err != nil:
			return err
		case st == nil || st.State == migrate.StateAccount && st.Out:
			return r.elsewhere(of)
		case st.Needs == migrate.NeedsAccount:
			return r.redirect(movePath + "/account")
		}
		return r.renderForm("move-progress", r.form(), r.progress(st))
	}
}

// progressJSON tells the script the same.
func (s *Site) progressJSON(of moves) handler {
	return func(r *request) error {
		st, err := of.find(r)
		if err != nil {
			return err
		}
		if st == nil {
			return problem(http.StatusNotFound, "missing")
		}
		p := r.progress(st)
		r.w.Header().Set("Content-Type", "application/json; charset=utf-8")
		return json.NewEncoder(r.w).Encode(map[string]any{"key": p.Key, "line": p.Line, "done": p.Done, "of": p.Of})
	}
}

// moveDo does what the owner's form asks for about a move that waits.
func (s *Site) moveDo(of moves) handler {
	return func(r *request) error {
		st, err := of.find(r)
		if err != nil {
			return err
		}
		if st == nil {
			return r.elsewhere(of)
		}
		f := r.form()
		do, words, field, err := r.moveStep(f, st)
		if err != nil {
			return err
		}
		if f.ok() {
			var after *migrate.Status
			after, err = s.opts.Host.MoveDo(r.Context(), st.DID, do, words)
			switch {
			case errors.Is(err, migrate.ErrState):
				err = nil // it has gone on meanwhile
			case err != nil && !r.moveRefusal(f, field, err):
				return err
			case err == nil && after.Needs == migrate.NeedsFactor:
				f.add("code", r.t("error.code-missing"))
			}
		}
		if f.ok() {
			if do == MoveResend {
				r.tell("success", "move-resent")
			}
			return r.redirect(r.URL.Path)
		}
		return r.renderForm("move-progress", f, r.progress(st))
	}
}

// moveStep reads what the owner wants, and counts what must not be done too often.
func (r *request) moveStep(f *Form, st *migrate.Status) (do MoveAction, words MoveWords, field string, err error) {
	do = MoveAction(f.Value("do"))
	words = MoveWords{Code: strings.TrimSpace(f.Value("code")), Password: f.Value("password")}
	switch do {
	case MoveConfirm:
		field = "code"
		if words.Code == "" {
			f.add("code", r.t("error.code-missing"))
		}
		err = r.take(Limit{Name: "web move code", Points: 10, Window: 10 * time.Minute, Key: string(st.DID)})
	case MoveResend:
		err = r.take(Limit{Name: "web move resend", Points: 5, Window: time.Hour, Key: string(st.DID)})
	case MoveSigned:
		field = "operation"
		words.Operation = &plc.Operation{}
		if json.Unmarshal([]byte(f.Value("operation")), words.Operation) != nil {
			f.add("operation", r.t("error.move-operation"))
		}
	case MoveSignIn:
		field = "password"
		err = r.takeGuess(string(st.DID))
	case MoveAgain, MoveStay:
		err = r.take(Limit{Name: "web move again", Points: 10, Window: 10 * time.Minute, Key: string(st.DID)})
	default:
		err = problem(http.StatusBadRequest, "form")
	}
	return do, words, field, err
}

// showAbandon asks whether a move shall really be given up.
func (s *Site) showAbandon(of moves) handler {
	return func(r *request) error {
		st, err := of.find(r)
		if err != nil {
			return err
		}
		if st == nil || !st.MayEnd() {
			return r.redirect(of.path + "/progress")
		}
		return r.renderForm("move-abandon", r.form(), r.progress(st))
	}
}

// abandonMove gives a move up.
func (s *Site) abandonMove(of moves) handler {
	return func(r *request) error {
		progress := of.path + "/progress"
		st, err := of.find(r)
		if err != nil || st == nil {
			return errors.Join(err, r.redirect(progress))
		}
		_, err = s.opts.Host.MoveDo(r.Context(), st.DID, MoveAbandon, MoveWords{})
		f := r.form()
		switch {
		case err == nil, errors.Is(err, migrate.ErrState):
			return r.redirect(progress)
		case !r.moveRefusal(f, "", err):
			return err
		}
		return r.renderForm("move-abandon", f, r.progress(st))
	}
}
