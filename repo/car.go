package repo

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"

	"perch/repo/mst"
)

// Block is a piece of DAG-CBOR and the CID it hashes to.
type Block = mst.Block

// carBuffer is how many bytes of a CAR are put together for one write.
const carBuffer = 64 << 10

// CARWriter writes a CAR (version 1) file as a stream. Errors stick: the one of
// Flush tells all.
type CARWriter struct {
	w   *bufio.Writer
	buf []byte
}

// NewCARWriter starts a CAR with the given roots, for a repository the commit.
func NewCARWriter(w io.Writer, roots ...cid.Cid) (*CARWriter, error) {
	c := &CARWriter{w: bufio.NewWriterSize(w, carBuffer)}
	_, err := c.w.Write(appendCARHeader(nil, roots...))
	return c, err
}

// Put appends a block. It does not check the hash.
func (c *CARWriter) Put(id cid.Cid, data []byte) error {
	c.buf = appendSectionHead(c.buf[:0], id, len(data))
	if _, err := c.w.Write(c.buf); err != nil {
		return err
	}
	_, err := c.w.Write(data)
	return err
}

// Flush writes what is still buffered.
func (c *CARWriter) Flush() error { return c.w.Flush() }

func appendCARHeader(b []byte, roots ...cid.Cid) []byte {
	h := append(make([]byte, 0, 96), majorMap|2)
	h = appendHead(appendText(h, "roots"), majorArray, uint64(len(roots)))
	for _, c := range roots {
		h = appendCID(h, c)
	}
	h = appendInt(appendText(h, "version"), 1)
	return append(binary.AppendUvarint(b, uint64(len(h))), h...)
}

func appendSectionHead(b []byte, id cid.Cid, size int) []byte {
	b = binary.AppendUvarint(b, uint64(id.ByteLen()+size))
	return append(b, id.KeyString()...)
}

func appendSection(b []byte, id cid.Cid, data []byte) []byte {
	return append(appendSectionHead(b, id, len(data)), data...)
}

// CARLimits bounds what a CAR from outside may hold.
type CARLimits struct {
	Header int   // bytes of the header
	Block  int   // bytes of one block
	Blocks int   // number of blocks
	Total  int64 // bytes of the whole file
}

// EventCARLimits are the limits for the CAR slice of a #commit.
func EventCARLimits() CARLimits {
	return CARLimits{Header: 4096, Block: MaxRecord, Blocks: 20_000, Total: MaxEventCAR}
}

// ReadCAR reads a CAR as a stream, one block at a time, and gives each block whose hash is
// right to yield. Data is the block's own memory. Only CIDs of the data model are accepted
// (version 1, SHA-256, dag-cbor or raw); order and duplicates are up to the caller.
// It returns the roots, of which the first is a repository's commit. An error of
// yield is returned as it is, faults of the file are [ErrCAR].
func ReadCAR(r io.Reader, lim CARLimits, yield func(Block) error) ([]cid.Cid, error) {
	c := carReader{r: bufio.NewReaderSize(r, carBuffer), left: lim.Total}
	roots, err := c.header(lim.Header)
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		b, err := c.block(lim.Block)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return nil, err
		}
		if n >= lim.Blocks {
			return nil, fmt.Errorf("%w: more than %d blocks", ErrCAR, lim.Blocks)
		}
		if err := yield(b); err != nil {
			return nil, err
		}
	}
}

type carReader struct {
	r    *bufio.Reader
	left int64
}

// size reads a varint in its shortest form; io.EOF before its first byte.
func (c *carReader) size(limit int) (int, error) {
	var v uint64
	for shift := 0; ; shift += 7 {
		x, err := c.r.ReadByte()
		if err == io.EOF && shift == 0 {
			return 0, io.EOF
		}
		if err == io.EOF {
			return 0, fmt.Errorf("%w: cut short", ErrCAR)
		}
		if err != nil {
			return 0, fmt.Errorf("read CAR: %w", err)
		}
		c.left--
		v |= uint64(x&0x7f) << shift
		if x < 0x80 {
			if x == 0 && shift > 0 {
				return 0, fmt.Errorf("%w: length not in shortest form", ErrCAR)
			}
			break
		}
		if shift >= 28 {
			return 0, fmt.Errorf("%w: length too large", ErrCAR)
		}
	}
	if v == 0 || v > uint64(limit) {
		return 0, fmt.Errorf("%w: section of %d bytes, at most %d", ErrCAR, v, limit)
	}
	if c.left -= int64(v); c.left < 0 {
		return 0, fmt.Errorf("%w: file too large", ErrCAR)
	}
	return int(v), nil
}

func (c *carReader) take(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, fmt.Errorf("%w: cut short", ErrCAR)
		}
		return nil, fmt.Errorf("read CAR: %w", err)
	}
	return b, nil
}

func (c *carReader) block(limit int) (Block, error) {
	n, err := c.size(limit + cidLen)
	if err != nil {
		return Block{}, err
	}
	b, err := c.take(n)
	if err != nil {
		return Block{}, err
	}
	id, err := castCID(b[:min(n, cidLen)])
	if err != nil {
		return Block{}, fmt.Errorf("%w: %w", ErrCAR, err)
	}
	if !hashes(id, b[cidLen:]) {
		return Block{}, fmt.Errorf("%w: block does not hash to %s", ErrCAR, id)
	}
	return Block{CID: id, Data: b[cidLen:]}, nil
}
