package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
)

//go:embed templates/*.html
var templateFiles embed.FS

// templateSets are the templates of each language. A page's own blocks are in them under the page's name ("signin.main"), so that layout and parts, much the
// larger half once they have been escaped, are there once and not again with every page. A language is parsed when somebody first reads in it.
var templateSets = sync.OnceValue(func() map[string]func() (*template.Template, error) {
	all := map[string]func() (*template.Template, error){}
	for tag, w := range languages() {
		all[tag] = sync.OnceValues(func() (*template.Template, error) { return parseTemplates(w) })
	}
	return all
})

func templates(tag string) (*template.Template, error) { return templateSets()[tag]() }

// pageBlocks are what a page defines for itself; the layout shows them.
var pageBlocks = []string{"title", "head", "main"}

func parseTemplates(w *words) (*template.Template, error) {
	set, err := template.New("base").Funcs(functions(w)).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html", "templates/admin-parts.html")
	if err != nil {
		return nil, err
	}
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" || strings.HasSuffix(name, "parts") {
			continue
		}
		if err := addPage(set, name, file, functions(w)); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// addPage puts a page's blocks into set. What else the page defines must have a name that no other page uses.
func addPage(set *template.Template, page, file string, f template.FuncMap) error {
	own, err := template.New(path.Base(file)).Funcs(f).ParseFS(templateFiles, file)
	if err != nil {
		return err
	}
	for _, t := range own.Templates() {
		name := t.Name()
		switch {
		case name == path.Base(file): // the blanks between the definitions
			continue
		case slices.Contains(pageBlocks, name):
			name = page + "." + name
		}
		if set.Lookup(name) != nil {
			return fmt.Errorf("%s defines %s, which stands elsewhere already", file, name)
		}
		if _, err := set.AddParseTree(name, t.Tree); err != nil {
			return err
		}
	}
	return nil
}

// renderPage writes a whole page: first its blocks, then the layout around them.
func renderPage(w *bytes.Buffer, set *template.Template, name string, v *view) error {
	v.Page = map[string]template.HTML{}
	for _, block := range pageBlocks {
		own := set.Lookup(name + "." + block)
		if own == nil {
			continue
		}
		var text strings.Builder
		if err := own.Execute(&text, v); err != nil {
			return err
		}
		v.Page[block] = template.HTML(text.String())
	}
	return set.ExecuteTemplate(w, "layout", v)
}
