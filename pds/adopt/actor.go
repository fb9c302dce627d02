package adopt

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/store"
	"perch/repo"
	"perch/repo/mst"
)

// actor is one account's store of the reference's.
type actor struct {
	*database
	did  syntax.DID
	key  atcrypto.PrivateKeyExportable
	head repo.Head
}

// keySize is the length of a signing key's file in bytes.
const keySize = 32

// openActor opens the store of an account and reads its key and head. Errors say what is wrong with them.
func (src *Source) openActor(ctx context.Context, did syntax.DID) (a *actor, err error) {
	if _, err := syntax.ParseDID(string(did)); err != nil {
		return nil, err
	}
	dir := src.actorDir(did)
	a = &actor{did: did}
	if a.key, err = readKey(filepath.Join(dir, "key")); err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	a.database, err = openDatabase(ctx, filepath.Join(dir, "store.sqlite"), src.layout.Scratch)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("its repository is missing: there is no %s", filepath.Join(dir, "store.sqlite"))
	}
	if err != nil {
		return nil, err
	}
	if err := a.readHead(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("head of the repository: %w", err), a.Close())
	}
	return a, nil
}

func readKey(file string) (atcrypto.PrivateKeyExportable, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(raw) != keySize {
		return nil, fmt.Errorf("%s has %d bytes, want %d", file, len(raw), keySize)
	}
	return atcrypto.ParsePrivateBytesK256(raw)
}

func (a *actor) readHead(ctx context.Context) error {
	var text string
	if err := a.QueryRowContext(ctx, "SELECT cid FROM repo_root").Scan(&text); err != nil {
		return err
	}
	var err error
	if a.head.CID, err = cid.Decode(text); err != nil {
		return err
	}
	if a.head.Block, err = a.block(ctx, text); err != nil {
		return err
	}
	if got := repo.CIDOf(a.head.Block); got != a.head.CID {
		return fmt.Errorf("the commit's bytes hash to %s, not %s", got, text)
	}
	if a.head.Commit, err = repo.ParseCommit(a.head.Block); err != nil {
		return err
	}
	if a.head.Commit.DID != a.did {
		return fmt.Errorf("the commit is of another account, %s", a.head.Commit.DID)
	}
	return nil
}

// signed tells whether the head is signed by the account's key. The reference leaves an imported head as it came, signed by the key of the server before.
func (a *actor) signed() (bool, error) {
	pub, err := a.key.PublicKey()
	if err != nil {
		return false, err
	}
	return a.head.Commit.Verify(pub) == nil, nil
}

func (a *actor) block(ctx context.Context, cid string) (b []byte, err error) {
	err = a.QueryRowContext(ctx, "SELECT content FROM repo_block WHERE cid = ?", cid).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("block %s is missing", cid)
	}
	return b, err
}

// entry is a record as it is stored there.
type entry struct {
	path     string
	cid      cid.Cid
	rev      syntax.TID
	takedown string
	body     []byte
}

// errIndex says that the index of the records cannot be right.
var errIndex = errors.New("the index of the records does not fit the repository")

// indexed gives the records by the index, in the order of their paths. uri begins alike in all of them, so its order is theirs.
func (a *actor) indexed(ctx context.Context, yield func(*entry) error) error {
	const query = `SELECT r.uri, r.cid, r.repoRev, r.takedownRef, b.content FROM record r LEFT JOIN repo_block b ON b.cid = r.cid ORDER BY r.uri`
	prefix := "at://" + string(a.did) + "/"
	return a.each(ctx, query, func(rows *sql.Rows) error {
		var uri, link, rev string
		var takedown sql.NullString
		var e entry
		if err := rows.Scan(&uri, &link, &rev, &takedown, &e.body); err != nil {
			return err
		}
		ours := strings.HasPrefix(uri, prefix)
		if e.path = strings.TrimPrefix(uri, prefix); !ours || e.body == nil || strings.Count(e.path, "/") != 1 {
			return fmt.Errorf("%w: %s", errIndex, uri)
		}
		var err error
		if e.cid, err = cid.Decode(link); err != nil {
			return fmt.Errorf("%w: %s: %w", errIndex, uri, err)
		}
		e.rev, e.takedown = a.revision(rev), takedown.String
		return yield(&e)
	})
}

// revision is the one of the commit that wrote a record. After an import the reference's index names one that no commit has; then the head's is the best that is known.
func (a *actor) revision(indexed string) syntax.TID {
	rev, err := syntax.ParseTID(indexed)
	if err != nil || rev > a.head.Commit.Rev {
		return a.head.Commit.Rev
	}
	return rev
}

// walked gives the records by the tree that the head names, which is the truth when the index is not. It takes memory for the whole tree.
func (a *actor) walked(ctx context.Context, yield func(*entry) error) error {
	var blockErr error
	tree, err := mst.Load(a.head.Commit.Data, func(c cid.Cid) ([]byte, bool) {
		b, err := a.block(ctx, c.String())
		if err == nil && repo.CIDOf(b) != c {
			err = fmt.Errorf("block %s is damaged", c)
		}
		if err != nil && blockErr == nil {
			blockErr = err
		}
		return b, err == nil
	})
	if err == nil {
		err = blockErr
	}
	if err != nil {
		return err
	}
	return tree.Outline(0, func(row mst.OutlineRow) error {
		if row.Key == "" {
			return nil
		}
		e, err := a.walkedEntry(ctx, row)
		if err != nil {
			return err
		}
		return yield(e)
	})
}

func (a *actor) walkedEntry(ctx context.Context, row mst.OutlineRow) (*entry, error) {
	e := &entry{path: row.Key, cid: row.Value, rev: a.head.Commit.Rev}
	var err error
	if e.body, err = a.block(ctx, row.Value.String()); err != nil {
		return nil, fmt.Errorf("record %s: %w", row.Key, err)
	}
	var rev string
	var takedown sql.NullString
	err = a.QueryRowContext(ctx, "SELECT repoRev, takedownRef FROM record WHERE uri = ?", "at://"+string(a.did)+"/"+row.Key).Scan(&rev, &takedown)
	if err == nil {
		e.rev, e.takedown = a.revision(rev), takedown.String
	} else if !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	return e, nil
}

// storedBlob is a row of the blob table.
type storedBlob struct {
	store.Blob
	text      string // its CID as written, which is the name of its file
	temporary bool   // uploaded, and not referred to by a record yet
}

func (a *actor) blobs(ctx context.Context, yield func(*storedBlob) error) error {
	const query = "SELECT cid, mimeType, size, tempKey, createdAt, takedownRef FROM blob ORDER BY cid"
	return a.each(ctx, query, func(rows *sql.Rows) error {
		var b storedBlob
		var temp, takedown sql.NullString
		var created string
		if err := rows.Scan(&b.text, &b.MimeType, &b.Size, &temp, &created, &takedown); err != nil {
			return err
		}
		b.CreatedAt, b.TakedownRef, b.temporary = parseTime(created), takedown.String, temp.Valid
		b.CID, _ = cid.Decode(b.text) // what is none stays undefined, and is told of
		return yield(&b)
	})
}

// hasBlobs tells whether the account has a blob that a record refers to.
func (a *actor) hasBlobs(ctx context.Context) (has bool, err error) {
	err = a.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM blob WHERE tempKey IS NULL)").Scan(&has)
	return has, err
}

// preferences reads the account's preferences in their order. Those that are no JSON objects, which nobody could be answered with, are only counted.
func (a *actor) preferences(ctx context.Context) (all []store.Preference, faulty int, err error) {
	err = a.each(ctx, "SELECT name, valueJson FROM account_pref ORDER BY id", func(rows *sql.Rows) error {
		var p store.Preference
		err := rows.Scan(&p.Name, &p.JSON)
		if json.Unmarshal([]byte(p.JSON), &map[string]json.RawMessage{}) != nil {
			faulty++
			return err
		}
		all = append(all, p)
		return err
	})
	return all, faulty, err
}
