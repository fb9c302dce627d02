package repo

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo/mst"
)

// What can be wrong with a repository that is brought from elsewhere, beside [ErrCAR], [ErrCommit] and [ErrSignature].
var (
	// ErrMissingBlock says that a commit, a tree node or a record is linked but not in the file.
	ErrMissingBlock = errors.New("missing block")
	// ErrTree says that the nodes do not form the one tree that the records have.
	ErrTree = errors.New("invalid tree")
	// ErrRecord says that a record of the tree cannot be taken: its path, its CID or its data break the rules.
	ErrRecord = errors.New("invalid record in the repository")
)

// Spool is a file that is written once and read at any place.
type Spool interface {
	io.Writer
	io.ReaderAt
}

// ArchiveLimits bound what a repository from elsewhere may hold.
type ArchiveLimits struct {
	Header int   // bytes of the CAR's header
	Block  int64 // bytes of a block; one that is a commit, node or record may have MaxRecord
	Total  int64 // bytes of the file
}

// Archive is the CAR of a whole repository, from whoever: its blocks in any order, some of them twice or not needed, in a file. Memory stays flat
// whatever the size: where each block lies is sorted out in a second file.
type Archive struct {
	roots []cid.Cid
	file  io.ReaderAt
	index *blockIndex
}

// ReadArchive reads a CAR once, checks the hash of every block, and returns the archive. car is where the same bytes can be read again later, and is not
// touched before; spools makes the files for the index, of which a small archive needs none. Errors are [ErrCAR], or those of reading and writing.
func ReadArchive(r io.Reader, car io.ReaderAt, spools func() (Spool, error), lim ArchiveLimits) (*Archive, error) {
	b := archiveReader{
		carReader: carReader{r: bufio.NewReaderSize(r, carBuffer), left: lim.Total},
		lim:       lim, total: lim.Total,
		buf: make([]byte, carBuffer),
	}
	roots, err := b.header(lim.Header)
	if err != nil {
		return nil, err
	}
	index := newIndexWriter(spools)
	for {
		err := b.next(index)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	a := &Archive{roots: roots, file: car}
	a.index, err = index.finish()
	return a, err
}

// archiveReader reads the blocks of a CAR without keeping them.
type archiveReader struct {
	carReader
	lim   ArchiveLimits
	total int64
	buf   []byte
}

// next reads one block and notes where it is.
func (r *archiveReader) next(index *indexWriter) error {
	n, err := r.size(int(r.lim.Block) + cidLen)
	if err != nil {
		return err
	}
	if n < cidLen {
		return fmt.Errorf("%w: section of %d bytes", ErrCAR, n)
	}
	at := r.total - r.left - int64(n) + cidLen // of the data, in the file
	var raw [cidLen]byte
	if err := r.full(raw[:]); err != nil {
		return err
	}
	id, err := castCID(raw[:])
	if err != nil {
		return fmt.Errorf("%w: block at byte %d: %w", ErrCAR, at, err)
	}
	h := sha256.New()
	for left := n - cidLen; left > 0; {
		part := r.buf[:min(left, len(r.buf))]
		if err := r.full(part); err != nil {
			return err
		}
		h.Write(part)
		left -= len(part)
	}
	if string(h.Sum(nil)) != string(raw[4:]) {
		return fmt.Errorf("%w: block does not hash to %s", ErrCAR, id)
	}
	if codecOf(id) != codecDagCBOR {
		return nil // nothing of a repository
	}
	return index.add([sha256.Size]byte(raw[4:]), at, n-cidLen)
}

func (r *archiveReader) full(b []byte) error {
	_, err := io.ReadFull(r.r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: cut short", ErrCAR)
	}
	if err != nil {
		return fmt.Errorf("read CAR: %w", err)
	}
	return nil
}

// block returns the bytes of a block, checked once more against their hash. They are the caller's.
func (a *Archive) block(c cid.Cid) ([]byte, error) {
	at, size, ok, err := a.index.find([sha256.Size]byte([]byte(c.KeyString()[4:])))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrMissingBlock, c)
	}
	if size > MaxRecord {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d", ErrSize, c, size, MaxRecord)
	}
	b := make([]byte, size)
	if _, err := a.file.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("read block %s: %w", c, err)
	}
	if !hashes(c, b) {
		return nil, fmt.Errorf("%w: block %s changed on disk", ErrCAR, c)
	}
	return b, nil
}

// Head returns the commit that the first root names. Its signature is not checked. Errors are [ErrCommit] and [ErrMissingBlock].
func (a *Archive) Head() (Head, error) {
	root := a.roots[0]
	if codecOf(root) != codecDagCBOR {
		return Head{}, fmt.Errorf("%w: the first root is %s", ErrCommit, root)
	}
	b, err := a.block(root)
	if err != nil {
		return Head{}, fmt.Errorf("commit: %w", err)
	}
	c, err := ParseCommit(b)
	if err != nil {
		return Head{}, err
	}
	return Head{CID: root, Block: b, Commit: c}, nil
}

// ArchiveRecord is a record of an archive.
type ArchiveRecord struct {
	Path string // collection/rkey
	CID  cid.Cid
	Body []byte         // canonical CBOR; the receiver's
	Data map[string]any // the same, decoded
}

// Records goes through the tree of the given root in key order, strictly (see [mst.Walk]), and gives every record to yield, whose error ends it
// and is returned as it is. Errors name the node or record they are about: [ErrTree], [ErrRecord], [ErrMissingBlock].
func (a *Archive) Records(data cid.Cid, yield func(ArchiveRecord) error) error {
	err := mst.Walk(data, func(c cid.Cid) ([]byte, error) {
		b, err := a.block(c)
		if err != nil {
			return nil, fmt.Errorf("tree node: %w", err)
		}
		return b, nil
	}, func(e mst.Entry) error {
		r, err := a.record(e)
		if err != nil {
			return err
		}
		return yield(r)
	})
	if errors.Is(err, mst.ErrNode) {
		return fmt.Errorf("%w: %w", ErrTree, err)
	}
	return err
}

func (a *Archive) record(e mst.Entry) (ArchiveRecord, error) {
	fault := func(err error) (ArchiveRecord, error) {
		return ArchiveRecord{}, fmt.Errorf("%w: %s: %w", ErrRecord, e.Key, err)
	}
	if _, _, err := syntax.ParseRepoPath(e.Key); err != nil {
		return fault(err)
	}
	if e.Value.ByteLen() != cidLen || !blessed(e.Value.Bytes()) || codecOf(e.Value) != codecDagCBOR {
		return fault(fmt.Errorf("%w: %s", ErrCID, e.Value))
	}
	body, err := a.block(e.Value)
	if errors.Is(err, ErrMissingBlock) {
		return ArchiveRecord{}, fmt.Errorf("record %s: %w", e.Key, err)
	}
	if err != nil {
		return fault(err)
	}
	data, err := DecodeRecord(body)
	if err != nil {
		return fault(err)
	}
	return ArchiveRecord{Path: e.Key, CID: e.Value, Body: body, Data: data}, nil
}
