package pds

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"perch/pds/account"
	"perch/pds/adopt"
	"perch/pds/blob"
	"perch/pds/store"
)

// AdoptOptions say what Adopt takes over, and how.
type AdoptOptions struct {
	Dir     string   // the reference PDS's data directory
	Into    string   // Perch's data folder; it is made when it is missing
	EnvFile string   // the reference's settings; "" for pds.env in Dir
	Blobs   string   // folder of the blobs, when it is not the one that the settings name
	Environ []string // KEY=value; only the master key's settings count
	DryRun  bool     // look, and write nothing; the reference PDS may be running
	// SkipBroken takes over what can be, when there are accounts that cannot.
	SkipBroken bool
	// Copy makes copies of blobs where they could be hard links.
	Copy bool
	// Progress, unless nil, is told how far a step is.
	Progress func(done, total int, what string)
}

// AdoptReport is what Adopt found and did.
type AdoptReport struct {
	Into     string
	Settings string // file with the settings for Perch; "" while there is none
	Notes    []string
	Bucket   string // where the blobs are, unless they are in a folder
	Running  bool   // the reference PDS was running
	Plan     *adopt.Plan
	Result   *adopt.Result // nil when nothing was written
}

// ErrBroken says that some accounts cannot be taken over, and so none was.
var ErrBroken = errors.New("some accounts cannot be taken over as they are")

// Adopt takes over the data directory of a reference PDS: everything is looked at first, then stored in Perch's own data folder. The directory is only read. It may
// be called again, and then does what is left to do. The report is returned with an error too, as far as it goes. Errors: adopt.ErrNoReference, adopt.ErrRunning,
// ErrBroken, store.ErrLocked, a *ConfigError.
func Adopt(ctx context.Context, opt AdoptOptions) (*AdoptReport, error) {
	if opt.Progress == nil {
		opt.Progress = func(int, int, string) {}
	}
	a := &adoption{opt: opt, report: &AdoptReport{Into: opt.Into}, now: time.Now()}
	return a.report, a.run(ctx)
}

// adoption is one Adopt under way.
type adoption struct {
	opt    AdoptOptions
	cfg    *Config
	env    *adoptedEnv
	report *AdoptReport
	now    time.Time
}

func (a *adoption) run(ctx context.Context) (err error) {
	if err := a.settings(); err != nil {
		return err
	}
	layout, err := a.layout()
	if err != nil {
		return err
	}
	if a.report.Running, err = adopt.Running(layout); err != nil {
		return err
	}
	if a.report.Running && !a.opt.DryRun {
		return adopt.ErrRunning
	}
	if !a.opt.DryRun {
		if err := makeDataFolder(a.cfg); err != nil {
			return err
		}
		layout.Scratch = a.cfg.DataDirectory // it has room, which a folder for temporary files may not have
	}
	src, err := adopt.Open(ctx, layout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if a.report.Plan, err = src.Check(ctx, a.now, a.now.Add(-a.cfg.BackfillWindow), a.opt.Progress); err != nil {
		return err
	}
	switch {
	case a.opt.DryRun:
		return nil
	case a.report.Plan.Broken() > 0 && !a.opt.SkipBroken:
		return ErrBroken
	}
	if err := a.store(ctx, src, layout); err != nil {
		return err
	}
	if err := a.env.write(); err != nil {
		return err
	}
	a.report.Settings = a.env.path
	// Last, when nothing is read from them any more.
	defer func() { err = errors.Join(err, adopt.RemoveScratch(a.cfg.DataDirectory)) }()
	return giveTo(a.cfg.DataDirectory)
}

// store opens Perch's own data, making what is missing, and has everything put there.
func (a *adoption) store(ctx context.Context, src *adopt.Source, layout adopt.Layout) (err error) {
	box, err := OpenSeal(a.cfg)
	if err != nil {
		return err
	}
	st, err := store.Open(ctx, store.Options{Path: a.cfg.DatabasePath()})
	if err != nil {
		return writableHint(a.cfg, err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	blobs, err := blob.Open(a.cfg.BlobDirectory())
	if err != nil {
		return writableHint(a.cfg, err)
	}
	defer func() { err = errors.Join(err, blobs.Close()) }()
	accounts := account.New(account.Options{Store: st, Seal: box})
	a.report.Result, err = src.Import(ctx, a.report.Plan, adopt.Target{
		Store:   st,
		Blobs:   blobs,
		SealKey: accounts.SealSigningKey,
		Link:    !a.opt.Copy && canLink(layout.Blobs, a.cfg.DataDirectory),
	}, a.opt.Progress)
	if r := a.report.Result; err == nil && r.Adopted == 0 && r.Renewed == 0 && r.Events == 0 && r.Linked+r.Copied+r.Fetched == 0 {
		return nil // all was here already, and nothing has changed
	}
	line := store.Audit{Kind: auditCommandLine, Action: "adopt", Detail: auditText(a.opt.Dir), Result: auditResult(err)}
	return errors.Join(err, st.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { return tx.AddAudit(ctx, line) }))
}

// layout finds the reference's files.
func (a *adoption) layout() (l adopt.Layout, err error) {
	if info, err := os.Stat(a.opt.Dir); err != nil || !info.IsDir() {
		return l, fmt.Errorf("%w: %s is no folder", adopt.ErrNoReference, a.opt.Dir)
	}
	l = adopt.Layout{
		AccountDB:   a.place("PDS_ACCOUNT_DB_LOCATION", referenceDatabase),
		SequencerDB: a.place("PDS_SEQUENCER_DB_LOCATION", "sequencer.sqlite"),
		Actors:      a.place("PDS_ACTOR_STORE_DIRECTORY", "actors"),
		Blobs:       a.opt.Blobs,
	}
	if l.Blobs == "" && a.env.values[s3Bucket] != "" {
		a.report.Bucket = a.env.values[s3Bucket]
		l.Bucket, err = a.bucket()
		return l, err
	}
	if l.Blobs == "" {
		l.Blobs = a.place("PDS_BLOBSTORE_DISK_LOCATION", "blocks")
	}
	l.Quarantine = filepath.Join(l.Blobs, "quarantine")
	return l, nil
}

// place finds a file of the reference's: where its settings say, or, when the directory is not where they expect it to be, as in a copy or outside of a container, at the
// same place below it.
func (a *adoption) place(name, otherwise string) string {
	base := filepath.Clean(given(a.env.values["PDS_DATA_DIRECTORY"], func() string { return "." }))
	path := given(a.env.values[name], func() string { return filepath.Join(base, otherwise) })
	if !filepath.IsAbs(path) && !filepath.IsAbs(base) {
		return filepath.Join(a.opt.Dir, path)
	}
	if rel, err := filepath.Rel(base, path); err == nil && filepath.IsLocal(rel) {
		return filepath.Join(a.opt.Dir, rel)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return filepath.Join(a.opt.Dir, filepath.Base(path))
	}
	return path
}
