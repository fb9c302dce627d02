package repo

import (
	"bufio"
	"bytes"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// The index of an archive says where the block of each hash lies. Hashes can be made to come in any pattern, and there may be tens of millions of them, so it is an
// ordinary external sort: runs of a fixed size are sorted in memory, written out, and merged into one sorted file, of which memory
// holds the first hash of each page.
const (
	indexEntry = sha256.Size + 12 // hash, offset, size
	indexPage  = 256              // entries
	indexRun   = 1 << 16          // entries sorted in memory
)

type indexKey [sha256.Size]byte

type entryBytes [indexEntry]byte

func (e *entryBytes) key() []byte { return e[:sha256.Size] }

func compareEntries(a, b entryBytes) int { return bytes.Compare(a.key(), b.key()) }

type indexWriter struct {
	spools func() (Spool, error)
	run    []entryBytes
	runs   Spool
	counts []int // entries of each run in the file
}

func newIndexWriter(spools func() (Spool, error)) *indexWriter { return &indexWriter{spools: spools} }

func (w *indexWriter) add(hash indexKey, at int64, size int) error {
	var e entryBytes
	copy(e[:], hash[:])
	binary.BigEndian.PutUint64(e[sha256.Size:], uint64(at))
	binary.BigEndian.PutUint32(e[sha256.Size+8:], uint32(size))
	if w.run = append(w.run, e); len(w.run) < indexRun {
		return nil
	}
	return w.spill()
}

// spill writes the run out.
func (w *indexWriter) spill() (err error) {
	if w.runs == nil {
		if w.runs, err = w.spools(); err != nil {
			return err
		}
	}
	slices.SortFunc(w.run, compareEntries)
	out := bufio.NewWriterSize(w.runs, carBuffer)
	for i := range w.run {
		if _, err := out.Write(w.run[i][:]); err != nil {
			return fmt.Errorf("write index: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	w.counts, w.run = append(w.counts, len(w.run)), w.run[:0]
	return nil
}

// finish returns the index of all that was added. A single run stays in memory.
func (w *indexWriter) finish() (*blockIndex, error) {
	if w.runs == nil {
		slices.SortFunc(w.run, compareEntries)
		return &blockIndex{entries: w.run}, nil
	}
	if err := w.spill(); err != nil {
		return nil, err
	}
	w.run = nil
	file, err := w.spools()
	if err != nil {
		return nil, err
	}
	x := &blockIndex{file: file}
	out := bufio.NewWriterSize(file, carBuffer)
	err = w.merge(func(e *entryBytes) error {
		if x.count%indexPage == 0 {
			x.first = append(x.first, indexKey(e.key()))
		}
		x.count++
		_, err := out.Write(e[:])
		return err
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return nil, fmt.Errorf("write index: %w", err)
	}
	return x, nil
}

// merge gives the entries of all runs in order, one for each hash.
func (w *indexWriter) merge(yield func(*entryBytes) error) error {
	var h runHeap
	start := int64(0)
	for _, n := range w.counts {
		size := int64(n) * indexEntry
		r := &indexRunReader{r: bufio.NewReaderSize(io.NewSectionReader(w.runs, start, size), 4096)}
		start += size
		if ok, err := r.next(); err != nil {
			return err
		} else if ok {
			h = append(h, r)
		}
	}
	heap.Init(&h)
	var last entryBytes
	for n := 0; len(h) > 0; n++ {
		r := h[0]
		if n == 0 || !bytes.Equal(last.key(), r.head.key()) {
			last = r.head
			if err := yield(&last); err != nil {
				return err
			}
		}
		ok, err := r.next()
		if err != nil {
			return err
		}
		if ok {
			heap.Fix(&h, 0)
		} else {
			heap.Pop(&h)
		}
	}
	return nil
}

// indexRunReader reads one sorted run.
type indexRunReader struct {
	r    *bufio.Reader
	head entryBytes
}

func (r *indexRunReader) next() (bool, error) {
	_, err := io.ReadFull(r.r, r.head[:])
	if err == io.EOF {
		return false, nil
	}
	return err == nil, err
}

type runHeap []*indexRunReader

func (h runHeap) Len() int           { return len(h) }
func (h runHeap) Less(i, j int) bool { return compareEntries(h[i].head, h[j].head) < 0 }
func (h runHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)        { *h = append(*h, x.(*indexRunReader)) }
func (h *runHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	*h = old[:len(old)-1]
	return r
}

// blockIndex finds blocks by their hash.
type blockIndex struct {
	entries []entryBytes // all of them, or

	file  io.ReaderAt // sorted
	count int
	first []indexKey // of each page

	page  []entryBytes // read last
	paged int          // its number, plus one
}

func (x *blockIndex) find(hash indexKey) (at int64, size int, ok bool, err error) {
	entries := x.entries
	if x.file != nil {
		n, found := slices.BinarySearchFunc(x.first, hash, func(a, b indexKey) int { return bytes.Compare(a[:], b[:]) })
		if !found {
			n--
		}
		if n < 0 {
			return 0, 0, false, nil
		}
		if entries, err = x.readPage(n); err != nil {
			return 0, 0, false, err
		}
	}
	i, ok := slices.BinarySearchFunc(entries, hash, func(e entryBytes, h indexKey) int { return bytes.Compare(e.key(), h[:]) })
	if !ok {
		return 0, 0, false, nil
	}
	e := &entries[i]
	return int64(binary.BigEndian.Uint64(e[sha256.Size:])), int(binary.BigEndian.Uint32(e[sha256.Size+8:])), true, nil
}

func (x *blockIndex) readPage(n int) ([]entryBytes, error) {
	if x.paged == n+1 {
		return x.page, nil
	}
	count := min(indexPage, x.count-n*indexPage)
	raw := make([]byte, count*indexEntry)
	if _, err := x.file.ReadAt(raw, int64(n)*indexPage*indexEntry); err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	x.page = slices.Grow(x.page[:0], count)[:count]
	for i := range x.page {
		copy(x.page[i][:], raw[i*indexEntry:])
	}
	x.paged = n + 1
	return x.page, nil
}
