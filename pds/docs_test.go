package pds

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every setting that the documents name is one.
func TestDocsNameSettingsThatExist(t *testing.T) {
	docs, err := filepath.Glob("../*.md")
	if err != nil || len(docs) < 5 {
		t.Fatalf("%v %v", docs, err)
	}
	settings := map[string]bool{}
	for _, f := range fields {
		settings[f.variable] = true
	}
	for _, name := range docs {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range regexp.MustCompile(`PDS_[A-Z0-9_]+`).FindAllString(string(text), -1) {
			if !settings[word] && !strings.HasSuffix(word, "_") { // PDS_EMAIL_*
				t.Errorf("%s: there is no setting %s", filepath.Base(name), word)
			}
		}
	}
}

// Every setting has a manual, and something in the server goes by it.
func TestDocsOfSettingsAreNotIdle(t *testing.T) {
	used := map[string]bool{}
	for _, dir := range []string{".", "../cmd/perch"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v %v", dir, files, err)
		}
		for _, name := range files {
			if base := filepath.Base(name); strings.HasSuffix(base, "_test.go") || base == "config_check.go" || base == "config_show.go" {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					used[s.Sel.Name] = true
				}
				return true
			})
		}
	}
	help := manual()
	for _, f := range fields {
		if help[f.name] == "" {
			t.Errorf("%s has no comment, which is its manual", f.variable)
		}
		if !used[f.name] {
			t.Errorf("%s: nothing reads Config.%s", f.variable, f.name)
		}
	}
}
