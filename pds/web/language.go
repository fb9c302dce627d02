package web

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"

	"golang.org/x/text/language"
)

//go:embed messages/*.json
var messageFiles embed.FS

const fallbackLanguage = "en"

// languageNames are the languages of the pages, each by its own name, in the order of the menu. A file messages/TAG.json belongs to each, and one
// messages/AREA.TAG.json for each area of pages that has many words.
var languageNames = []struct{ Tag, Name string }{
	{"en", "English"}, {"de", "Deutsch"}, {"es", "Español"}, {"fr", "Français"}, {"ja", "日本語"}, {"pt", "Português"},
}

// words are the texts of one language.
type words struct {
	Tag   string
	texts map[string]string
}

// languages reads the message files, once.
var languages = sync.OnceValue(func() map[string]*words {
	all := map[string]*words{}
	for _, l := range languageNames {
		w := &words{Tag: l.Tag, texts: map[string]string{}}
		areas, _ := fs.Glob(messageFiles, "messages/*."+l.Tag+".json")
		for _, name := range append(areas, "messages/"+l.Tag+".json") {
			if err := w.read(name); err != nil {
				panic(name + ": " + err.Error()) // embedded
			}
		}
		all[l.Tag] = w
	}
	return all
})

// read adds the texts of a file. No key stands in two of them.
func (w *words) read(name string) error {
	text, err := messageFiles.ReadFile(name)
	if err != nil {
		return err
	}
	var texts map[string]string
	if err := json.Unmarshal(text, &texts); err != nil {
		return err
	}
	for key, text := range texts {
		if w.has(key) {
			return fmt.Errorf("%s stands in another file already", key)
		}
		w.texts[key] = text
	}
	return nil
}

var languageMatcher = sync.OnceValue(func() language.Matcher {
	var tags []language.Tag
	for _, l := range languageNames {
		tags = append(tags, language.Make(l.Tag))
	}
	return language.NewMatcher(tags)
})

func (w *words) has(key string) bool { return w.texts[key] != "" }

// text is the text of a key, with {name} replaced by what follows: text("key", "name", value). A key that is not there is shown as it is.
func (w *words) text(key string, args ...any) string {
	text, ok := w.texts[key]
	if !ok {
		return key
	}
	if len(args) < 2 {
		return text
	}
	pairs := make([]string, 0, len(args))
	for i := 0; i+1 < len(args); i += 2 {
		pairs = append(pairs, fmt.Sprintf("{%v}", args[i]), fmt.Sprint(args[i+1]))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// chooseLanguage takes, in this order, what was chosen by hand, what an app asks for, and what the browser wants.
func (r *request) chooseLanguage() *words {
	query := r.URL.Query()
	if chosen := languages()[query.Get("lang")]; chosen != nil {
		if r.cookie(languageCookie) != chosen.Tag {
			r.setCookie(languageCookie, chosen.Tag, languageLifetime)
		}
		return chosen
	}
	if chosen := languages()[r.cookie(languageCookie)]; chosen != nil {
		return chosen
	}
	r.w.Header().Add("Vary", "Accept-Language")
	return matchLanguage(strings.Fields(query.Get("ui_locales")), r.Header)
}

func matchLanguage(asked []string, h http.Header) *words {
	if len(asked) > 10 {
		asked = asked[:10]
	}
	_, i := language.MatchStrings(languageMatcher(), append(slices.Clone(asked), h.Get("Accept-Language"))...)
	return languages()[languageNames[i].Tag]
}

// languageLink is a language in the menu.
type languageLink struct {
	Tag, Name, URL string
	Current        bool
}

// languageLinks lead to this page in each language. The path is as the browser sent it: without its escapes, that of a wrong address may begin with two slashes, and would be another site.
func (r *request) languageLinks() []languageLink {
	var links []languageLink
	for _, l := range languageNames {
		query := r.URL.Query()
		query.Set("lang", l.Tag)
		if next := localPath(r.FormValue("next")); next != "" { // of a form that was sent
			query.Set("next", next)
		}
		at := r.URL.EscapedPath() + "?" + query.Encode()
		if r.flow != nil && r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, authorizePath) {
			at = r.flow.address("lang", l.Tag)
		}
		links = append(links, languageLink{l.Tag, l.Name, at, l.Tag == r.words.Tag})
	}
	return links
}
