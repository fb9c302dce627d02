package adopt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"

	"perch/pds/blob"
	"perch/pds/store"
	"perch/repo"
	"perch/repo/mst"
)

// Finding is something about an account that the operator should know.
type Finding struct {
	DID   syntax.DID // "" for what concerns no account
	Text  string
	Fatal bool // the account cannot be taken over as it is
}

// String is the finding on one line.
func (f Finding) String() string {
	if f.DID == "" {
		return f.Text
	}
	return string(f.DID) + ": " + f.Text
}

// Totals count what is there.
type Totals struct {
	Accounts     int
	ByStatus     map[string]int // keys as store.Account.Status gives them
	Records      int64
	RecordBytes  int64
	Takedowns    int64 // of records
	Blobs        int64
	BlobBytes    int64
	AppPasswords int
	Sessions     int
	Invites      int
	Preferences  int

	TemporaryBlobs int64 // uploads that no record refers to; left out
	OAuth          int   // sign-ins that are left out
}

// Plan is what Check found and Import would do.
type Plan struct {
	Totals   Totals
	Events   EventRange
	Findings []Finding

	accounts []*planned
	invites  []store.Invite
	now      time.Time
	since    time.Time // from when on events are taken over
}

// Broken counts the accounts that cannot be taken over.
func (p *Plan) Broken() (n int) {
	for _, a := range p.accounts {
		if a.broken() {
			n++
		}
	}
	return n
}

// planned is one account under way from there to here.
type planned struct {
	*person
	findings []Finding
	walk     bool // the index does not fit: the tree is read
	unsigned bool // the head is not signed by the account's key
	behind   bool // the last event is not of the head
	head     cid.Cid
	lost     map[string]bool // blobs by CID whose bytes are not there or wrong

	totals Totals
}

func (pl *planned) broken() bool {
	return slices.ContainsFunc(pl.findings, func(f Finding) bool { return f.Fatal })
}

func (pl *planned) note(fatal bool, format string, args ...any) {
	pl.findings = append(pl.findings, Finding{pl.account.DID, fmt.Sprintf(format, args...), fatal})
}

// Progress is told how far a step is.
type Progress func(done, total int, what string)

// Check reads everything there is and says what it found. It verifies every repository, record and blob by their hashes. now is the time of the take-over;
// events from before since are not for it. The error is for a check that could not be finished.
func (src *Source) Check(ctx context.Context, now, since time.Time, progress Progress) (*Plan, error) {
	p := &Plan{now: now, since: since}
	p.Totals.ByStatus = map[string]int{}
	people, err := src.people(ctx, now)
	if err != nil {
		return nil, err
	}
	for _, person := range people {
		p.accounts = append(p.accounts, &planned{person: person, lost: map[string]bool{}})
	}
	if p.invites, err = src.invites(ctx); err != nil {
		return nil, err
	}
	if p.Totals.OAuth, err = src.oauthSignIns(ctx); err != nil {
		return nil, err
	}
	if err := src.checkAccounts(ctx, p, progress); err != nil {
		return nil, err
	}
	if err := src.checkEvents(ctx, p); err != nil {
		return nil, err
	}
	p.sum()
	return p, src.strays(p)
}

// checkAccounts goes through all accounts on all cores.
func (src *Source) checkAccounts(ctx context.Context, p *Plan, progress Progress) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	var done atomic.Int64
	for _, a := range p.accounts {
		g.Go(func() error {
			if err := src.checkAccount(ctx, p, a); err != nil {
				return err
			}
			progress(int(done.Add(1)), len(p.accounts), "checking accounts")
			return ctx.Err()
		})
	}
	return g.Wait()
}

// checkAccount looks at one account. What is wrong with it is a finding; the error is that of ctx.
func (src *Source) checkAccount(ctx context.Context, p *Plan, pl *planned) error {
	pl.checkPerson(p.now)
	a, err := src.openActor(ctx, pl.account.DID)
	if err == nil {
		defer a.Close()
		err = pl.checkActor(ctx, src, a)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var of *sourceError
	if errors.As(err, &of) {
		return of.error
	}
	if err != nil {
		pl.note(true, "%v", err)
	}
	return nil
}

// deletionGrace is the time that accounts get whose own date of deletion has passed: the reference never kept such dates.
const deletionGrace = 30 * 24 * time.Hour

func (pl *planned) checkPerson(now time.Time) {
	a := &pl.account
	if a.CreatedAt.IsZero() {
		a.CreatedAt = now
	}
	if a.Handle != "" {
		if _, err := syntax.ParseHandle(string(a.Handle)); err != nil {
			pl.note(false, "handle %q is none; apps will show the account as handle.invalid", a.Handle)
		}
	}
	if a.PasswordHash == "" {
		pl.note(false, "has no password; nobody can sign in until one is set")
	}
	if !a.DeleteAfter.IsZero() && a.DeleteAfter.Before(now.Add(deletionGrace)) && !a.DeactivatedAt.IsZero() {
		pl.note(false, "was to be deleted after %s, which the reference PDS does not do; it will be after %s, unless its owner activates it",
			a.DeleteAfter.Format(time.DateOnly), now.Add(deletionGrace).Format(time.DateOnly))
		a.DeleteAfter = now.Add(deletionGrace)
	}
	if a.DeactivatedAt.IsZero() {
		a.DeleteAfter = time.Time{}
	}
}

func (pl *planned) checkActor(ctx context.Context, src *Source, a *actor) error {
	pl.head = a.head.CID
	ok, err := a.signed()
	if err != nil {
		return err
	}
	if pl.unsigned = !ok; pl.unsigned {
		pl.note(false, "the last commit is signed by another key, as after a move here; it gets a new commit of the same records")
	}
	if err := pl.checkRecords(ctx, a); err != nil {
		return err
	}
	prefs, faulty, err := a.preferences(ctx)
	if err != nil {
		return err
	}
	if faulty > 0 {
		pl.note(false, "%d of its preferences are not well-formed; they are left out", faulty)
	}
	pl.totals.Preferences = len(prefs)
	return pl.checkBlobs(ctx, src, a)
}

// checkRecords makes the tree out of all records, whose bytes it hashes in passing. When the index does not lead to the head's tree, the blocks of the tree do, or the
// repository is lost.
func (pl *planned) checkRecords(ctx context.Context, a *actor) error {
	err := pl.derive(ctx, a, a.indexed)
	if err == nil || ctx.Err() != nil {
		return err
	}
	indexErr := err
	if err := pl.derive(ctx, a, a.walked); err != nil {
		return fmt.Errorf("repository: %w (and by its blocks: %w)", indexErr, err)
	}
	pl.walk = true
	pl.note(false, "%v; its records are read from its tree", indexErr)
	return nil
}

// records gives the records of a repository in the order of their paths.
type records func(ctx context.Context, yield func(*entry) error) error

func (pl *planned) derive(ctx context.Context, a *actor, all records) error {
	var t Totals
	unreadable := 0
	tree, err := mst.Derive(scanner(func(yield func(string, cid.Cid) error) error {
		return all(ctx, func(e *entry) error {
			if repo.CIDOf(e.body) != e.cid {
				return fmt.Errorf("record %s is damaged", e.path)
			}
			if _, err := repo.DecodeRecord(e.body); err != nil {
				unreadable++
			}
			t.Records++
			t.RecordBytes += int64(len(e.body))
			if e.takedown != "" {
				t.Takedowns++
			}
			return yield(e.path, e.cid)
		})
	}), deriveLayer)
	switch {
	case err != nil:
		return err
	case tree.Root() != a.head.Commit.Data:
		return fmt.Errorf("%w: they make the tree %s, the commit names %s", errIndex, tree.Root(), a.head.Commit.Data)
	case unreadable > 0:
		pl.note(false, "%d of its records are not well-formed; they stay as they are", unreadable)
	}
	pl.totals.Records, pl.totals.RecordBytes, pl.totals.Takedowns = t.Records, t.RecordBytes, t.Takedowns
	return nil
}

// deriveLayer is the layer below which a tree that is only compared is forgotten at once.
const deriveLayer = 6

// scanner is a mst.Source that can only be scanned as a whole.
type scanner func(yield func(string, cid.Cid) error) error

// Scan implements mst.Source.
func (fn scanner) Scan(_, _ string, yield func(string, cid.Cid) error) error { return fn(yield) }

// checkBlobs looks at every blob's bytes.
func (pl *planned) checkBlobs(ctx context.Context, src *Source, a *actor) error {
	if src.layout.Bucket != nil {
		return pl.checkObjects(ctx, src, a)
	}
	return pl.eachBlob(ctx, a, func(b *storedBlob) error { return src.checkBlob(ctx, a.did, b) })
}

// eachBlob has every blob checked. One that is not there, or not whole, is told of and left out: the account then misses it, and may upload it again.
func (pl *planned) eachBlob(ctx context.Context, a *actor, check func(*storedBlob) error) error {
	return a.blobs(ctx, func(b *storedBlob) error {
		if b.temporary {
			pl.totals.TemporaryBlobs++
			return nil
		}
		if err := check(b); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			pl.lost[b.text] = true
			pl.note(false, "blob %s: %v", b.text, err)
			return nil
		}
		pl.totals.Blobs++
		pl.totals.BlobBytes += b.Size
		return nil
	})
}

func (src *Source) checkBlob(ctx context.Context, did syntax.DID, b *storedBlob) error {
	if !blob.IsCID(b.CID) {
		return errNoCID // and so it is no name for a file
	}
	file, size, err := src.blobFile(did, b.text, b.TakedownRef != "")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("its file is missing")
	case err != nil:
		return err
	case size != b.Size:
		return fmt.Errorf("its file has %d bytes, the database says %d", size, b.Size)
	}
	sum, err := hashFile(ctx, file)
	if err != nil {
		return err
	}
	if repo.BlobCIDOf(sum) != b.CID {
		return errors.New("its file holds other bytes")
	}
	return nil
}

var errNoCID = errors.New("its name is not the CID of a blob")

func hashFile(ctx context.Context, file string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.CopyBuffer(hash, onlyReader{f}, make([]byte, 64<<10)); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(hash.Sum(nil)), ctx.Err()
}

// onlyReader hides WriteTo, so that CopyBuffer uses its buffer.
type onlyReader struct{ io.Reader }

// sum adds up what the accounts have.
func (p *Plan) sum() {
	t := &p.Totals
	t.Accounts, t.Invites = len(p.accounts), len(p.invites)
	for _, a := range p.accounts {
		t.ByStatus[a.account.Status()]++
		t.Records += a.totals.Records
		t.RecordBytes += a.totals.RecordBytes
		t.Takedowns += a.totals.Takedowns
		t.Blobs += a.totals.Blobs
		t.BlobBytes += a.totals.BlobBytes
		t.TemporaryBlobs += a.totals.TemporaryBlobs
		t.Preferences += a.totals.Preferences
		t.AppPasswords += len(a.appPasswords)
		t.Sessions += len(a.sessions)
		p.Findings = append(p.Findings, a.findings...)
	}
}

// strays notes actor stores of no account, which the reference leaves behind.
func (src *Source) strays(p *Plan) error {
	known := map[string]bool{}
	for _, a := range p.accounts {
		known[src.actorDir(a.account.DID)] = true
	}
	dirs, err := filepath.Glob(filepath.Join(src.layout.Actors, "[0-9a-f][0-9a-f]", "did*"))
	n := 0
	for _, dir := range dirs {
		if !known[dir] {
			n++
		}
	}
	if n > 0 {
		p.Findings = append(p.Findings, Finding{Text: fmt.Sprintf("%d actor stores belong to no account; they are left out", n)})
	}
	return err
}
