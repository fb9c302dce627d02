package lexicons

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/lexicon"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

const vectors = "../testdata/interop"

type fixture struct {
	Name string
	RKey string `json:"rkey"`
	Data json.RawMessage
	Lex  json.RawMessage `json:"lexicon"`
}

func readJSON[T any](t testing.TB, parts ...string) T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{vectors}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func exampleCatalog(t testing.TB) *Catalog {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(vectors, "lexicon/catalog/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no catalog", err)
	}
	var docs [][]byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, b)
	}
	c, err := New(docs...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The vectors say "demo" as the record key where they give none.
func (f fixture) rkey() syntax.RecordKey {
	if f.RKey == "" {
		return "demo"
	}
	return syntax.RecordKey(f.RKey)
}

func TestRecordVectors(t *testing.T) {
	cat := exampleCatalog(t)
	judge := lexicon.NewBaseCatalog()
	if err := judge.LoadDirectory(filepath.Join(vectors, "lexicon/catalog")); err != nil {
		t.Fatal(err)
	}
	for file, valid := range map[string]bool{"record-data-valid.json": true, "record-data-invalid.json": false} {
		for _, f := range readJSON[[]fixture](t, "lexicon", file) {
			t.Run(file+"/"+f.Name, func(t *testing.T) {
				data, err := atdata.UnmarshalJSON(f.Data)
				if err != nil {
					if valid {
						t.Fatal(err)
					}
					return // refused one step earlier
				}
				known, err := cat.ValidateRecord("example.lexicon.record", f.rkey(), data)
				if !known || (err == nil) != valid {
					t.Errorf("known %v, err %v", known, err)
				}
				if err != nil && !strings.HasPrefix(err.Error(), "Record") {
					t.Errorf("error without a path: %v", err)
				}
				if theirs := lexicon.ValidateRecord(judge, data, "example.lexicon.record", 0); (theirs == nil) != (err == nil) {
					t.Errorf("indigo says %v, we say %v", theirs, err)
				}
			})
		}
	}
}

// The same vectors as the body of a procedure take the other way through the package.
func TestRecordVectorsAsJSON(t *testing.T) {
	cat := exampleCatalog(t)
	n, err := cat.definition("example.lexicon.record")
	if err != nil {
		t.Fatal(err)
	}
	for file, valid := range map[string]bool{"record-data-valid.json": true, "record-data-invalid.json": false} {
		for _, f := range readJSON[[]fixture](t, "lexicon", file) {
			t.Run(file+"/"+f.Name, func(t *testing.T) {
				err := cat.validateJSON(n, f.Data, "Input")
				if (err == nil) != valid {
					t.Errorf("err %v", err)
				}
			})
		}
	}
}

func TestSchemaVectors(t *testing.T) {
	for file, valid := range map[string]bool{"lexicon-valid.json": true, "lexicon-invalid.json": false} {
		for _, f := range readJSON[[]fixture](t, "lexicon", file) {
			t.Run(file+"/"+f.Name, func(t *testing.T) {
				if _, err := New(f.Lex); (err == nil) != valid {
					t.Errorf("err %v", err)
				}
			})
		}
	}
}

func TestSyntaxVectors(t *testing.T) {
	formats := map[string]string{
		"atidentifier_syntax": "at-identifier", "aturi_syntax": "at-uri", "cid_syntax": "cid",
		"datetime_syntax": "datetime", "datetime_parse": "datetime", "did_syntax": "did", "handle_syntax": "handle",
		"language_syntax": "language", "nsid_syntax": "nsid", "recordkey_syntax": "record-key",
		"tid_syntax": "tid", "uri_syntax": "uri",
	}
	files, err := filepath.Glob(filepath.Join(vectors, "syntax/*.txt"))
	if err != nil || len(files) < 20 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		base := strings.TrimSuffix(filepath.Base(file), ".txt")
		valid := strings.HasSuffix(base, "_valid")
		format := formats[strings.TrimSuffix(strings.TrimSuffix(base, "_valid"), "_invalid")]
		if format == "" {
			t.Fatalf("no format for %s", file)
		}
		for _, line := range vectorLines(t, file) {
			if err := checkFormat(format, line); (err == nil) != valid {
				t.Errorf("%s: %q: %v", base, line, err)
			}
		}
	}
}

func vectorLines(t *testing.T, file string) (lines []string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}
