package adopt

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

// database is one SQLite file of the reference's, open for reading.
type database struct {
	*sql.DB
	scratch string // folder of the copy; "" when the file itself is read
}

// openDatabase opens a file without ever writing to it or beside it. If it has a log, which SQLite would fold in, a copy of both in the scratch folder is opened instead.
func openDatabase(ctx context.Context, file, scratch string) (*database, error) {
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	d := &database{}
	// immutable: no locks and no shared memory file, which SQLite would otherwise make beside it.
	pragmas := "mode=ro&immutable=1"
	logged, err := hasLog(file)
	if err != nil {
		return nil, err
	}
	if logged {
		if d.scratch, err = os.MkdirTemp(scratch, scratchName); err != nil {
			return nil, err
		}
		if err := copyStable(ctx, file, filepath.Join(d.scratch, filepath.Base(file))); err != nil {
			return nil, errors.Join(err, d.Close())
		}
		file, pragmas = filepath.Join(d.scratch, filepath.Base(file)), "mode=rw"
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: pragmas}
	if d.DB, err = sql.Open("sqlite", u.String()); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	d.SetMaxOpenConns(2) // one for a pass over the records, one to look things up beside it
	return d, nil
}

// Close closes the database and removes the copy, if there is one.
func (d *database) Close() error {
	var errs []error
	if d.DB != nil {
		errs = append(errs, d.DB.Close())
	}
	if d.scratch != "" {
		errs = append(errs, os.RemoveAll(d.scratch))
	}
	return errors.Join(errs...)
}

// scratchName is the pattern of the folders for copies.
const scratchName = "perch-adopt-*"

// RemoveScratch removes the copies that runs have left in a folder when they were killed. They hold what the reference's databases do.
func RemoveScratch(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, scratchName))
	for _, d := range left {
		err = errors.Join(err, os.RemoveAll(d))
	}
	return err
}

// logs are the files beside a database that hold a part of it: the write-ahead log, and the rollback journal of a database that uses none.
var logs = []string{"-wal", "-journal"}

func hasLog(file string) (bool, error) {
	for _, suffix := range logs {
		info, err := os.Stat(file + suffix)
		if err == nil && info.Size() > 0 {
			return true, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

const copyTries = 10

// copyStable copies a database with its logs. When they change meanwhile, for the reference still runs, it tries again.
func copyStable(ctx context.Context, from, to string) error {
	for try := 1; ; try++ {
		before, err := fingerprint(from)
		if err != nil {
			return err
		}
		for _, suffix := range append([]string{""}, logs...) {
			if err := copyFile(from+suffix, to+suffix); err != nil && (suffix == "" || !errors.Is(err, fs.ErrNotExist)) {
				return err
			}
		}
		after, err := fingerprint(from)
		if err != nil || after == before {
			return err
		}
		if try == copyTries {
			return fmt.Errorf("%s changes all the time: %w", from, ErrRunning)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// fingerprint changes when one of the files does.
func fingerprint(file string) (sum string, err error) {
	for _, suffix := range append([]string{""}, logs...) {
		info, err := os.Stat(file + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		sum += fmt.Sprint(suffix, info.Size(), info.ModTime().UnixNano(), " ")
	}
	return sum, nil
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// column returns the name of a column if the table has it, else the value to read in its place: older releases lack some.
func (d *database) column(ctx context.Context, table, name, otherwise string) (string, error) {
	var n int
	err := d.QueryRowContext(ctx, "SELECT count(*) FROM pragma_table_info(?) WHERE name = ?", table, name).Scan(&n)
	if err != nil || n == 0 {
		return otherwise, err
	}
	return `"` + name + `"`, nil
}

// each runs a query and calls scan for each row.
func (d *database) each(ctx context.Context, query string, scan func(*sql.Rows) error, args ...any) error {
	rows, err := d.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// parseTime reads a datetime of the reference's, the zero time for "" and for what is none.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t
}
