package walked

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"perch/testdata/peers/bench/server"
)

var placeholder = regexp.MustCompile(`\\\{[a-z]+\\\}`)

// Unsaid returns the messages of an area of the pages (messages/AREA.en.json) that no page was seen to show. unseen has those that none can be made to show, with
// the reasons.
func Unsaid(t *testing.T, file, area string, unseen map[string]string) (left []string) {
	t.Helper()
	said := said(t, file)
	messages := english(t, area)
	for key := range unseen {
		if messages[key] == "" {
			t.Errorf("there is no message %s any more", key)
		}
	}
	for key, text := range messages {
		pattern := regexp.MustCompile(placeholder.ReplaceAllString(regexp.QuoteMeta(text), ".+?"))
		if unseen[key] == "" && !pattern.MatchString(said) {
			left = append(left, "the message "+key+": "+text)
		}
	}
	slices.Sort(left)
	return left
}

// said is all that pages in English have shown, a line of theirs a line.
func said(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxNote)
	for lines.Scan() {
		var n note
		if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
			t.Fatal(err)
		}
		for _, line := range n.Said {
			seen[strings.Join(strings.Fields(line), " ")] = true
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for line := range seen {
		all.WriteString(line + "\n")
	}
	return all.String()
}

func english(t *testing.T, area string) (messages map[string]string) {
	t.Helper()
	peers, err := server.PeersDir()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(peers, "..", "..", "pds", "web", "messages", area+".en.json"))
	if err == nil {
		err = json.Unmarshal(text, &messages)
	}
	if err != nil {
		t.Fatal(err)
	}
	return messages
}
