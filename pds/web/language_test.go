package web

import (
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

// Keys that are put together of a part that varies.
var keyFamilies = []string{
	"error.", "problem.", "flash.", "nav.", "format.", "scope.", "collection.", "consent.kind-", "todo.",
	"handle.state-", "handle.found-", "profile.now-", "profile.remove-", "keys.holder-", "keys-code.",
	"move.step-", "move.trouble-", "move.note-", "move.why-", "came-back.", "change.", "admin.status-", "admin.action-", "admin.order-", "admin.by-", "admin.chart-", "admin.gauge-",
}

func TestEveryLanguageHasEveryText(t *testing.T) {
	english := languages()[fallbackLanguage]
	for _, l := range languageNames {
		w := languages()[l.Tag]
		for key, text := range english.texts {
			theirs := w.texts[key]
			if strings.TrimSpace(theirs) == "" {
				t.Errorf("messages/%s.json has no %s", l.Tag, key)
				continue
			}
			want, got := placeholder.FindAllString(text, -1), placeholder.FindAllString(theirs, -1)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(want, got) {
				t.Errorf("messages/%s.json: %s has the placeholders %v, English has %v", l.Tag, key, got, want)
			}
		}
		for key := range w.texts {
			if english.texts[key] == "" {
				t.Errorf("messages/%s.json: %s stands in no other file", l.Tag, key)
			}
		}
	}
}

func TestTranslationsAreNotEnglish(t *testing.T) {
	english := languages()[fallbackLanguage]
	for _, l := range languageNames[1:] {
		same := 0
		for key, text := range english.texts {
			if languages()[l.Tag].texts[key] == text {
				same++
			}
		}
		if same > len(english.texts)/10 {
			t.Errorf("messages/%s.json: %d of %d texts are the English ones", l.Tag, same, len(english.texts))
		}
	}
}

// TestTextsAreUsed finds texts that no page shows and pages that show what is not there.
func TestTextsAreUsed(t *testing.T) {
	english := languages()[fallbackLanguage]
	call := regexp.MustCompile(`(?:\bt |\.t\()"([a-z0-9.-]+)"`)
	used := map[string]bool{}
	for _, pattern := range []string{"templates/*.html", "*.go"} {
		names, _ := fs.Glob(os.DirFS("."), pattern)
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range call.FindAllStringSubmatch(string(text), -1) {
				if key := m[1]; !strings.HasSuffix(key, ".") && !strings.HasSuffix(key, "-") {
					used[key] = true
					if !english.has(key) {
						t.Errorf("%s shows %s, which is not in messages/en.json", name, key)
					}
				}
			}
		}
	}
	for key := range english.texts {
		family := slices.ContainsFunc(keyFamilies, func(f string) bool { return strings.HasPrefix(key, f) })
		if !used[key] && !family {
			t.Errorf("messages/en.json: no page shows %s", key)
		}
	}
}

func TestLanguageIsChosen(t *testing.T) {
	for _, c := range []struct{ locales, accept, want string }{
		{"", "", "en"},
		{"", "de-AT,en;q=0.5", "de"},
		{"", "tlh, pt-BR;q=0.8, en;q=0.1", "pt"},
		{"fr-CA de", "en", "fr"},
		{"xx", "ja", "ja"},
		{"", strings.Repeat("x,", 5000), "en"},
	} {
		if got := matchLanguage(strings.Fields(c.locales), http.Header{"Accept-Language": {c.accept}}); got.Tag != c.want {
			t.Errorf("%q, %.40q: got %s, want %s", c.locales, c.accept, got.Tag, c.want)
		}
	}
}
