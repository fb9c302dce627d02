package lexicons

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func TestEverySchemaCompiles(t *testing.T) {
	cat := Default()
	for _, nsid := range cat.names {
		d, err := cat.document(nsid)
		if err != nil {
			t.Errorf("%s: %v", nsid, err)
			continue
		}
		for name, n := range d.defs {
			checkRefs(t, cat, nsid+"#"+name, n, 0)
		}
		for _, n := range []*node{d.body.params, d.body.input, d.body.output} {
			checkRefs(t, cat, nsid, n, 0)
		}
	}
}

// checkRefs follows every reference and checks what the code takes for granted about schemas.
func checkRefs(t *testing.T, cat *Catalog, path string, n *node, depth int) {
	if n == nil || depth > 20 {
		return
	}
	if _, known := formatRules[n.format]; n.format != "" && !known {
		t.Errorf("%s: no rule for format %q", path, n.format)
	}
	if n.kind == kindRef {
		if _, err := cat.follow(n); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if n.kind == kindUnion {
		for _, ref := range n.refs {
			if _, err := cat.definition(ref); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	checkRefs(t, cat, path+"/items", n.items, depth+1)
	for _, p := range n.props {
		checkRefs(t, cat, path+"/"+p.name, p.node, depth+1)
	}
}

func TestIndexMatchesTheFiles(t *testing.T) {
	var found []string
	err := fs.WalkDir(embedded, "schemas", func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(path, ".json"); ok {
			found = append(found, strings.ReplaceAll(strings.TrimPrefix(name, "schemas/"), "/", "."))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cat := Default()
	slices.Sort(found)
	if !slices.Equal(found, cat.names) {
		t.Errorf("the index lists %d schemas, the folder holds %d", len(cat.names), len(found))
	}
	for _, nsid := range cat.names {
		d, err := cat.document(nsid)
		if err != nil {
			t.Fatal(err)
		}
		kind, _ := cat.Kind(nsid)
		main := d.defs["main"]
		switch {
		case main == nil && kind != KindDefs, main != nil && kind == KindDefs,
			main != nil && nodeKinds[string(kind)] != main.kind, d.main.Type != "" && d.main.Type != kind:
			t.Errorf("%s is listed as %s", nsid, kind)
		}
	}
}

func TestCatalogKnowsWhatAPDSNeeds(t *testing.T) {
	cat := Default()
	for _, nsid := range []string{
		"app.bsky.feed.post", "app.bsky.actor.profile", "app.bsky.graph.verification", "com.atproto.lexicon.schema",
		"chat.bsky.actor.declaration", "com.germnetwork.declaration", "site.standard.document",
		"app.bsky.actor.contentVisibilityDeclaration",
	} {
		if !slices.Contains(cat.List(KindRecord), nsid) {
			t.Errorf("no record %s", nsid)
		}
	}
	if _, err := cat.Method("app.bsky.feed.post"); !errors.Is(err, ErrUnknownSchema) {
		t.Errorf("a record passes for a method: %v", err)
	}
	if _, err := cat.Source("no.such.schema"); !errors.Is(err, ErrUnknownSchema) {
		t.Errorf("err %v", err)
	}
	m, err := cat.Method("com.atproto.server.createInviteCodes")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(m.InputDefaults()); got != `{"codeCount":1}` {
		t.Errorf("defaults %s", got)
	}
}

func TestReferencesInACircleEnd(t *testing.T) {
	cat, err := New([]byte(`{"lexicon":1,"id":"com.example.loop","defs":{"main":{"type":"record","key":"any","record":{"type":"object","properties":{
		"a":{"type":"ref","ref":"com.example.other#list"},"b":{"type":"ref","ref":"#missing"}}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"a", "b"} {
		data := map[string]any{"$type": "com.example.loop", field: "x"}
		if _, err := cat.ValidateRecord("com.example.loop", "x", data); err == nil {
			t.Errorf("%s: a reference to nothing passes", field)
		}
	}
}
