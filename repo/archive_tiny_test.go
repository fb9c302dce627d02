package repo

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

// tinyBlocks writes a CAR of n blocks of 5 bytes.
func tinyBlocks(w io.Writer, n int) error {
	first := binary.BigEndian.AppendUint32([]byte{0x1a}, 0)
	car, err := NewCARWriter(w, CIDOf(first))
	for i := 0; i < n && err == nil; i++ {
		b := binary.BigEndian.AppendUint32([]byte{0x1a}, uint32(i))
		err = car.Put(CIDOf(b), b)
	}
	if err != nil {
		return err
	}
	return car.Flush()
}

// The index of a repository of very many very small blocks takes some memory and a known multiple of the file's bytes on the disk. PERCH_TINY_BLOCKS says how many:
// with 2,000,000 the file has 84 MB and the index 176 MB.
func TestArchiveOfTinyBlocks(t *testing.T) {
	n := 300_000
	if s := os.Getenv("PERCH_TINY_BLOCKS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "car"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out := bufio.NewWriter(file)
	if err := tinyBlocks(out, n); err != nil || out.Flush() != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	size, _ := file.Seek(0, io.SeekCurrent)
	var spools []*os.File
	spool := func() (Spool, error) {
		f, err := os.CreateTemp(dir, "")
		spools = append(spools, f)
		return f, err
	}
	archive, err := ReadArchive(io.NewSectionReader(file, 0, size), file, spool, archiveLimits)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	index := int64(0)
	for _, f := range spools {
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		index += info.Size()
		f.Close()
	}
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d blocks: file %d bytes, index %d, kept in memory %d", n, size, index, kept)
	if index > 5*size/2 {
		t.Errorf("the index has %d bytes, the file %d", index, size)
	}
	if kept > 16<<20 {
		t.Errorf("%d bytes are kept in memory", kept)
	}
	runtime.KeepAlive(archive)
}
