package web

import (
	"io/fs"
	"regexp"
	"slices"
	"testing"
)

func TestSecretFieldsAreAllPasswordFields(t *testing.T) {
	password := regexp.MustCompile(`field \$?\.Form "([a-z-]+)" [^}]*"type" "password"|name="([a-z-]+)"[^>]*type="password"`)
	found := 0
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range names {
		text, err := fs.ReadFile(templateFiles, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range password.FindAllSubmatch(text, -1) {
			found++
			if name := string(m[1]) + string(m[2]); !slices.Contains(secretFields, name) {
				t.Errorf("%s: what is entered as %s would be held", file, name)
			}
		}
	}
	if found < 12 {
		t.Errorf("only %d password fields", found)
	}
}
