package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"

	"perch/pds"
	"perch/pds/migrate/batch"
)

const bulkRedraw = 500 * time.Millisecond

// watch shows how the rows go on until stop is called: a table on a terminal, else a line whenever a row comes into another state.
func (b *bulk) watch() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		lines, tick := 0, time.NewTicker(bulkRedraw)
		defer tick.Stop()
		for {
			lines = b.draw(lines)
			select {
			case <-tick.C:
			case <-end:
				b.draw(lines)
				return
			}
		}
	}()
	return func() { close(end); <-ended }
}

// draw draws the table in place of the one before, which had so many lines.
func (b *bulk) draw(before int) (lines int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.p.onTerminal() {
		for _, r := range b.rows {
			if text := r.account() + ": " + r.state(); (r.busy || r.shown != "") && text != r.shown {
				fmt.Fprintln(b.p.stderr, text)
				r.shown = text
			}
		}
		return 0
	}
	var out strings.Builder
	if before > 0 {
		fmt.Fprintf(&out, "\033[%dA", before)
	}
	done, waiting := 0, 0
	width, height := b.window()
	for _, r := range b.rows {
		switch {
		case r.done:
			done++
		case r.waits != "" || r.err != "" && !r.busy:
			waiting++
		case r.busy && lines < height-2:
			text := fmt.Sprintf("%-32s %-24s %9d records %6d/%d blobs  %s", r.account(), r.state(), r.st.Records, r.st.BlobsHere, r.st.Blobs, r.err)
			fmt.Fprintf(&out, "\033[K%.*s\n", width-1, text)
			lines++
		}
	}
	fmt.Fprintf(&out, "\033[K%d of %d done, %d wait or have failed\n\033[J", done, len(b.rows), waiting)
	fmt.Fprint(b.p.stderr, out.String())
	return lines + 1
}

func (b *bulk) window() (width, height int) {
	if f, ok := b.p.stderr.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 3 {
			return w, h
		}
	}
	return 80, 24
}

func (r *bulkRow) account() string {
	if r.st.Handle != "" {
		return r.st.Handle.String()
	}
	return r.Account.String()
}

// state is how a row stands, in a word or two.
func (r *bulkRow) state() string {
	switch {
	case r.done:
		return "done"
	case r.waits != "":
		return "waits for " + r.waits
	case r.err != "" && !r.busy:
		return "failed: " + r.err
	case r.st.State != "":
		return string(r.st.State)
	}
	return "begins"
}

// printable keeps what a stranger's server has said from steering the terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, s)
}

func (b *bulk) showResults() error {
	w := b.p.table()
	for _, r := range b.rows {
		state, why := r.state(), r.err
		if r.waits == "" && !r.done && r.err != "" {
			state = "failed"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d records\t%d blobs\t%s\n", r.account(), r.st.DID, state, r.st.Records, r.st.BlobsHere, why)
	}
	return w.Flush()
}

// showPlan shows what a run would do.
func (b *bulk) showPlan() error {
	w := b.p.table()
	for _, r := range b.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Account, r.st.DID, r.st.Host, r.account(), b.would(r))
	}
	return w.Flush()
}

// would says what a run would do with a row, and what it lacks.
func (b *bulk) would(r *bulkRow) string {
	switch {
	case r.err != "":
		return "cannot move: " + r.err
	case r.st.Report != nil:
		return "is done"
	case r.st.Needs != pds.MigrationNeedsBegin:
		return "is under way: " + r.state()
	}
	signature := "needs a code by mail"
	switch {
	case r.st.DID.Method() != "plc":
		signature = "needs its DID document changed"
	case b.key != "":
		signature = "is signed with the rotation key"
	}
	if r.Password == "" {
		return "needs the password of the old server; " + signature
	}
	return "would begin; " + signature
}

// advise says what to do about the rows that wait.
func (b *bulk) advise() {
	waiting := map[string][]string{}
	for _, r := range b.rows {
		if r.waits != "" {
			waiting[r.waits] = append(waiting[r.waits], r.account())
		}
	}
	for _, a := range []struct{ waits, text string }{
		{pds.MigrationNeedsCode, "wait for the code that the old server has mailed to their owners: write it into the column \"code\" and call this again"},
		{pds.MigrationNeedsKey, "wait for the rotation key: call this again with --rotation-key-file"},
		{pds.MigrationNeedsFactor, "wait for the code of a second factor: write it into the column \"factor\" and call this again at once"},
		{waitsPassword, "wait for the password of the old server: write it into the column \"password\" and call this again"},
		{pds.MigrationNeedsSignIn, "must sign in at the old server again: call this again with the password in the list"},
		{pds.MigrationNeedsDocument, "wait for their owners to change the DID document: `perch migrate in DID` shows what it must name"},
		{waitsRetry, "have met trouble and are tried again by the server: call this again later"},
	} {
		if names := waiting[a.waits]; len(names) > 0 {
			slices.Sort(names)
			fmt.Fprintf(b.p.stderr, "%d %s: %s\n", len(names), a.text, strings.Join(names, ", "))
		}
	}
	fmt.Fprintln(b.p.stderr, "results:", b.results)
}

// write puts the results in place of those of the last run.
func (b *bulk) write() (err error) {
	results := make([]batch.Result, len(b.rows))
	for i, r := range b.rows {
		results[i] = batch.Result{
			DID: r.st.DID.String(), Handle: r.account(), State: string(r.st.State), Records: r.st.Records, Blobs: r.st.BlobsHere, Waits: r.waits, Error: r.err,
		}
		if r.done && r.st.Report != nil {
			var notes []string
			for _, n := range r.st.Report.Notes {
				notes = append(notes, n.Text)
			}
			results[i].Error = strings.Join(notes, " ")
			for _, l := range r.st.Report.Lost {
				results[i].Error += fmt.Sprintf(" lost blob %s: %s", l.CID, l.Reason)
			}
			results[i].Error = strings.TrimSpace(results[i].Error)
		}
	}
	f, err := os.CreateTemp(filepath.Dir(b.results), ".results-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = batch.Write(f, results)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), b.results)
}
