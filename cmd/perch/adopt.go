package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v3"

	"perch/pds"
	"perch/pds/adopt"
	"perch/pds/store"
)

// maxFindings is how many findings are printed without --all.
const maxFindings = 20

func (p *program) adoptCommand() *cli.Command {
	return &cli.Command{
		Name:      "adopt",
		Usage:     "take over the data of a reference PDS",
		ArgsUsage: "DIR",
		Description: "Takes over DIR, the data directory of a reference PDS (/pds, if its installer made it): accounts and\n" +
			"how they sign in, repositories, blobs, invite codes, settings with their secrets, and the end of the\n" +
			"event stream. People stay signed in, and the network sees no change.\n\n" +
			"DIR is only read, and so is the bucket when its blobs are in S3, from where they are fetched. Everything\n" +
			"is verified before anything is written (the bytes of blobs in a bucket as they come), and what is there\n" +
			"already is passed over, so the command can be repeated. Stop the reference PDS first; --dry-run works\n" +
			"while it runs.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "into", Usage: "the folder (`DIR`) for Perch's data (default: PDS_DATA_DIRECTORY of the environment)"},
			&cli.BoolFlag{Name: "dry-run", Usage: "look and report, and write nothing"},
			&cli.BoolFlag{Name: "skip-broken", Usage: "leave out accounts that cannot be taken over, instead of stopping"},
			&cli.BoolFlag{Name: "copy", Usage: "copy blobs, also where they could be hard links to those in DIR"},
			&cli.StringFlag{Name: "blobs", Usage: "the folder of the blobs (`DIR`), when it is not where the settings say, or was copied from S3"},
			&cli.BoolFlag{Name: "all", Usage: "print all findings, not only the first " + strconv.Itoa(maxFindings)},
		},
		Action: p.adopt,
	}
}

func (p *program) adopt(ctx context.Context, c *cli.Command) error {
	into := c.String("into")
	for _, kv := range p.environ {
		if name, value, _ := strings.Cut(kv, "="); name == "PDS_DATA_DIRECTORY" && into == "" {
			into = value
		}
	}
	if into == "" {
		return usagef("say where Perch shall keep its data: --into DIR, or PDS_DATA_DIRECTORY in the environment")
	}
	progress, done := p.progress()
	report, err := pds.Adopt(ctx, pds.AdoptOptions{
		Dir: c.Args().First(), Into: into, EnvFile: c.String("env-file"), Blobs: c.String("blobs"), Environ: p.environ,
		DryRun: c.Bool("dry-run"), SkipBroken: c.Bool("skip-broken"), Copy: c.Bool("copy"), Progress: progress,
	})
	done()
	if report.Plan != nil {
		limit := maxFindings
		if c.Bool("all") {
			limit = len(report.Plan.Findings)
		}
		printAdoption(p.stdout, report, limit)
	}
	return p.adopted(report, c, into, err)
}

// adopted says how to go on.
func (p *program) adopted(report *pds.AdoptReport, c *cli.Command, into string, err error) error {
	dir := c.Args().First()
	var bad *pds.ConfigError
	switch {
	case errors.As(err, &bad):
		return &exitError{exitUsage, fmt.Errorf("the settings of the reference PDS cannot work here:\n%w", err)}
	case errors.Is(err, pds.ErrBroken):
		return &exitError{exitProblems, fmt.Errorf("%w: %d of %d (see above). Nothing was written. Repair them there, or leave them out with --skip-broken; a later run takes them over",
			err, report.Plan.Broken(), report.Plan.Totals.Accounts)}
	case errors.Is(err, store.ErrLocked):
		return fmt.Errorf("a Perch server is running on %s: stop it first", into)
	case err != nil:
		return err
	}
	if report.Result == nil {
		fmt.Fprintf(p.stdout, "\nThis was a dry run: nothing was written.\n")
		if n := report.Plan.Broken(); n > 0 {
			return &exitError{exitProblems, fmt.Errorf("%d accounts cannot be taken over as they are", n)}
		}
		return nil
	}
	fmt.Fprintf(p.stdout, `
Next:     PDS_DATA_DIRECTORY=%[1]s perch check
          PDS_DATA_DIRECTORY=%[1]s perch serve      (settings: %[2]s)
Keep:     a copy of %[1]s/master.key apart from the copies of the data
Go back:  stop Perch and start the reference PDS again. Nothing in %[3]s was changed, and so nothing
          that was written after the change is there: go back soon, or not at all.
`, report.Into, report.Settings, dir)
	if len(report.Result.Failures) > 0 {
		return &exitError{exitProblems, fmt.Errorf("%d accounts could not be taken over", len(report.Result.Failures))}
	}
	return nil
}

func printAdoption(out io.Writer, r *pds.AdoptReport, limit int) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	t := &r.Plan.Totals
	row := func(name string, n int64, note string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\t  %s\n", name, grouped(n), fmt.Sprintf(note, args...))
	}
	row("accounts", int64(t.Accounts), "%s", statuses(t))
	row("records", t.Records, "%s%s", size(t.RecordBytes), some(t.Takedowns, ", %d taken down"))
	row("blobs", t.Blobs, "%s%s", size(t.BlobBytes), blobsDone(r))
	row("app passwords", int64(t.AppPasswords), "")
	row("sessions", int64(t.Sessions), "%s", some(int64(t.OAuth), "besides %d by OAuth, which are left out: those apps ask to sign in again"))
	row("invite codes", int64(t.Invites), "")
	row("preferences", int64(t.Preferences), "")
	row("events", int64(r.Plan.Events.Count), "%s", eventRange(r.Plan.Events))
	if t.TemporaryBlobs > 0 {
		row("left out", t.TemporaryBlobs, "uploads that no record refers to")
	}
	if res := r.Result; res != nil {
		row("taken over", int64(res.Adopted), "accounts%s%s%s", some(int64(res.Already), ", %d were here already"), some(int64(res.Left), ", %d left out"),
			some(int64(res.Renewed), ", %d with a new commit"))
	}
	_ = w.Flush()
	if r.Running {
		fmt.Fprintln(out, "\nThe reference PDS is running: these are figures of a moment.")
	}
	printFindings(out, r, limit)
}

func printFindings(out io.Writer, r *pds.AdoptReport, limit int) {
	findings := r.Plan.Findings
	if r.Result != nil {
		findings = append(findings[:len(findings):len(findings)], append(r.Result.Lost, r.Result.Failures...)...)
	}
	if len(findings) > 0 {
		fmt.Fprintln(out, "\nFound:")
	}
	// What stops an account comes first, so that it is never among those that are not shown.
	shown := 0
	for _, fatal := range []bool{true, false} {
		for _, f := range findings {
			if f.Fatal == fatal && (fatal || shown < limit) {
				fmt.Fprintf(out, "  %s%s\n", mark(f), f)
				shown++
			}
		}
	}
	if shown < len(findings) {
		fmt.Fprintf(out, "  and %d more; --all shows them\n", len(findings)-shown)
	}
	if len(r.Notes) > 0 {
		fmt.Fprintln(out, "\nSettings:")
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, " ", n)
	}
}

func mark(f adopt.Finding) string {
	if f.Fatal {
		return "BROKEN "
	}
	return ""
}

func statuses(t *adopt.Totals) string {
	var parts []string
	for _, s := range []struct{ status, name string }{{"", "active"}, {store.StatusDeactivated, "deactivated"}, {store.StatusTakendown, "taken down"}} {
		if n := t.ByStatus[s.status]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s.name))
		}
	}
	return strings.Join(parts, ", ")
}

func blobsDone(r *pds.AdoptReport) string {
	res := r.Result
	switch {
	case res == nil && r.Bucket != "":
		return " in the bucket " + r.Bucket + "; their bytes are verified when they are fetched"
	case res == nil:
		return ""
	}
	return some(res.Here, ", %d were here already") + some(res.Linked, ", %d as hard links") + some(res.Copied, ", %d copied") + some(res.Fetched, ", %d fetched")
}

func eventRange(e adopt.EventRange) string {
	if e.Count == 0 {
		return ""
	}
	return fmt.Sprintf("seq %d to %d; Perch's are greater", e.First, e.Last)
}

// some is "" for none.
func some(n int64, format string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(format, n)
}

// grouped writes a number with commas.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes a number of bytes for people.
func size(n int64) string {
	units := []string{"bytes", "kB", "MB", "GB", "TB"}
	f, u := float64(n), 0
	for f >= 1000 && u < len(units)-1 {
		f, u = f/1000, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[u])
}
