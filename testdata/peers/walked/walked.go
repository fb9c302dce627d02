// Package walked tells which pages a walk through the browser has left out. The pages are those of the program's own lists: the routes that it serves, the
// templates that it is built with.
package walked

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"perch/pds/web"
	"perch/testdata/peers/bench/server"
)

// noPages are addresses that answer with something else than a page.
var noPages = map[string]string{
	"/":                            "all other addresses: the page for what is missing is a template",
	"GET /assets/{name}":           "stylesheet, scripts, icon",
	"GET /account/sign-up/handle":  "what the script asks while somebody types a handle",
	"GET /account/profile/avatar":  "a picture",
	"GET /account/profile/banner":  "a picture",
	"GET /perch/migrate/signed-in": "the way back from the old server: leads on to /move/came-back",
	"GET /faces/{did}":             "a picture",
	"GET /account/data/zip":        "a file to download",
	"GET /account/data/car":        "a file to download",
	"GET /admin/charts":            "a part of the page at /admin, fetched anew",
	"GET /move/progress.json":      "what the script asks while an account moves",
	"GET /move/signed-in":          "the way back from the old server: leads on, or to what was already looked at",

	"GET /account/move/progress.json": "as /move/progress.json",
}

// looks are the ways in which each page is looked at: sizes and colour schemes.
var looks = []string{"phone light", "phone dark", "desktop light", "desktop dark"}

// note is a line that browser.mjs has written.
type note struct {
	Page     string // name of the template
	Path     string // where it is; "" when it is the answer to a form
	Look     string // with axe-core, from end to end with Tab, and measured
	Lang     string
	Keyboard bool     // something on it was operated from the keyboard
	Form     string   // where a form was sent, by somebody who has a keyboard alone
	Said     []string // the lines of a page in English
}

const maxNote = 1 << 20 // bytes of a line

// Moves tells which pages the walk in the package move looks at, by the route or the name of the template. All others are web's.
func Moves(name string) bool {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "GET "), "POST ")
	for _, prefix := range []string{"/move", "/account/move", "move", "away"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// Pages are the paths of all pages that have one path, as JSON.
func Pages(t *testing.T) string {
	t.Helper()
	var paths []string
	for _, pattern := range site(t).Patterns() {
		verb, path, _ := strings.Cut(strings.TrimSuffix(pattern, "{$}"), " ")
		if verb == http.MethodGet && noPages[pattern] == "" && !strings.Contains(path, "{") {
			paths = append(paths, path)
		}
	}
	text, err := json.Marshal(paths)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func site(t *testing.T) *web.Site {
	t.Helper()
	s, err := web.New(web.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Left reads what the browser has noted, and returns what it has left out of the pages that are mine.
func Left(t *testing.T, file string, mine func(name string) bool) (left []string) {
	t.Helper()
	site := site(t)
	templates, tongues := files(t, "templates", ".html"), files(t, "messages", ".json")
	templates = slices.DeleteFunc(templates, func(s string) bool { return s == "layout" || strings.HasSuffix(s, "parts") })
	tongues = slices.DeleteFunc(tongues, func(s string) bool { return strings.Contains(s, ".") })
	done := read(t, file, site.Patterns())
	for _, name := range templates {
		if !mine(name) {
			continue
		}
		for _, look := range append(looks, "keyboard") {
			left = append(left, "the page "+name+": "+look)
		}
		for _, tag := range tongues {
			left = append(left, "the page "+name+" in the language "+tag)
		}
	}
	for _, pattern := range site.Patterns() {
		switch verb, _, _ := strings.Cut(pattern, " "); {
		case noPages[pattern] != "" || !mine(pattern):
		case verb == http.MethodPost:
			left = append(left, pattern+": a form sent from the keyboard")
		default:
			for _, look := range looks {
				left = append(left, pattern+": "+look)
			}
		}
	}
	left = slices.DeleteFunc(left, func(what string) bool { return done[what] })
	for pattern := range noPages {
		if !slices.Contains(site.Patterns(), pattern) {
			t.Errorf("there is no %s any more", pattern)
		}
	}
	return left
}

// read returns what was done, in the words in which Left asks for it.
func read(t *testing.T, file string, patterns []string) map[string]bool {
	t.Helper()
	mux := http.NewServeMux()
	for _, p := range patterns {
		mux.Handle(p, http.NotFoundHandler())
	}
	route := func(verb, path string) string {
		req, err := http.NewRequest(verb, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, pattern := mux.Handler(req)
		return pattern
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	done := map[string]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxNote)
	for lines.Scan() {
		var n note
		if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
			t.Fatal(err)
		}
		switch {
		case n.Form != "":
			done[route(http.MethodPost, n.Form)+": a form sent from the keyboard"] = true
			continue
		case n.Keyboard:
			done["the page "+n.Page+": keyboard"] = true
			continue
		case n.Look != "":
			done[fmt.Sprintf("the page %s: %s", n.Page, n.Look)] = true
			if n.Path != "" {
				done[route(http.MethodGet, n.Path)+": "+n.Look] = true
			}
		}
		done["the page "+n.Page+" in the language "+n.Lang] = true
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return done
}

// files are the names of files of the pages, without their ending.
func files(t *testing.T, kind, ending string) (names []string) {
	t.Helper()
	peers, err := server.PeersDir()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(peers, "..", "..", "pds", "web", kind, "*"+ending))
	if err != nil || len(found) == 0 {
		t.Fatal("no ", kind, err)
	}
	for _, f := range found {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ending))
	}
	return names
}
