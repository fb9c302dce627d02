package plc

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

// maxLine bounds one line of the file: an operation of the largest size in JSON.
const maxLine = 1 << 20

// journal is an append-only file of log entries, one JSON object a line.
type journal struct {
	file *os.File
	size int64 // bytes that hold whole, synced lines
	bad  error // set when the file's end is in doubt: nothing is written any more
}

// openJournal opens or makes the file and gives every entry in it to replay.
func openJournal(path string, logger *slog.Logger, replay func(LogEntry) error) (*journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{file: file}
	if err := errors.Join(j.load(logger, replay), syncDir(filepath.Dir(path))); err != nil {
		file.Close()
		return nil, err
	}
	return j, nil
}

func (j *journal) load(logger *slog.Logger, replay func(LogEntry) error) error {
	r := bufio.NewReaderSize(j.file, maxLine)
	for n := 1; ; n++ {
		line, err := r.ReadSlice('\n')
		if err == io.EOF {
			return j.cutTail(logger, len(line))
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		var e LogEntry
		if err := json.Unmarshal(bytes.TrimSpace(line), &e); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := replay(e); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		j.size += int64(len(line))
	}
}

// cutTail removes the part of a line that a crash left at the end.
func (j *journal) cutTail(logger *slog.Logger, length int) error {
	if length > 0 {
		logger.Warn("PLC directory: unfinished last operation removed", "file", j.file.Name(), "bytes", length)
		if err := j.file.Truncate(j.size); err != nil {
			return err
		}
	}
	_, err := j.file.Seek(j.size, io.SeekStart)
	return err
}

// append writes e and syncs the file. After an error the file is as it was
// before, or the journal takes no more.
func (j *journal) append(e LogEntry) error {
	if j.bad != nil {
		return j.bad
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if _, err = j.file.WriteAt(line, j.size); err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		// A failed sync may or may not have reached the disk: only a
		// restart, which reads the file, can tell.
		j.bad = fmt.Errorf("PLC directory file failed: %w", err)
		return errors.Join(j.bad, j.file.Truncate(j.size))
	}
	j.size += int64(len(line))
	return nil
}

func (j *journal) close() error {
	if j.bad == nil {
		j.bad = os.ErrClosed
	}
	return j.file.Close()
}

// syncDir makes a new file's name survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
