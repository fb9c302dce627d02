package adopt

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"perch/testdata/peers/peertest"
)

// dump gives all rows of Perch's database, by table.
func (w *world) dump(dir string) map[string]string {
	w.t.Helper()
	db := open(w.t, filepath.Join(dir, "perch.db"))
	defer db.Close()
	tables, err := db.Query("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
	peertest.Must(w.t, err)
	var names []string
	for tables.Next() {
		var name string
		peertest.Must(w.t, tables.Scan(&name))
		names = append(names, name)
	}
	peertest.Must(w.t, tables.Close())
	all := map[string]string{}
	for _, name := range names {
		all[name] = dumpTable(w.t, db, name)
	}
	return all
}

func dumpTable(t *testing.T, db *sql.DB, name string) string {
	t.Helper()
	rows, err := db.Query("SELECT * FROM " + name)
	peertest.Must(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	peertest.Must(t, err)
	hash, n := sha256.New(), 0
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		peertest.Must(t, rows.Scan(values...))
		for _, v := range values {
			fmt.Fprintf(hash, "%v|", *v.(*any))
		}
		n++
	}
	peertest.Must(t, rows.Err())
	return fmt.Sprintf("%d rows, %x", n, hash.Sum(nil))
}

func open(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	peertest.Must(t, err)
	return db
}

// files gives the hash and the time of each file below folders; "" is none.
func files(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, dir := range dirs {
		if dir != "" {
			addFiles(t, all, dir)
		}
	}
	return all
}

func addFiles(t *testing.T, all map[string]string, dir string) {
	t.Helper()
	peertest.Must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			all[path] = "folder"
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		sum := sha256.Sum256(b)
		all[path] = info.ModTime().String() + info.Mode().String() + hex.EncodeToString(sum[:])
		return err
	}))
}

func unchanged[K comparable](t *testing.T, what string, before, after map[K]string) {
	t.Helper()
	for k, v := range before {
		if after[k] != v {
			t.Errorf("%s: %v has changed or gone", what, k)
		}
	}
	for k := range after {
		if _, ok := before[k]; !ok {
			t.Errorf("%s: %v is new", what, k)
		}
	}
}
