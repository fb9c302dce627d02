package lexicons

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
)

//go:embed schemas
var embedded embed.FS

// ErrUnknownSchema says that the catalog has no schema, or no definition, of the name asked for.
var ErrUnknownSchema = errors.New("unknown lexicon schema")

// Kind is what the main definition of a schema describes.
type Kind string

// The kinds of main definitions. A schema without a main definition is KindDefs.
const (
	KindQuery         Kind = "query"
	KindProcedure     Kind = "procedure"
	KindSubscription  Kind = "subscription"
	KindRecord        Kind = "record"
	KindObject        Kind = "object"
	KindPermissionSet Kind = "permission-set"
	KindDefs          Kind = "defs"
)

// Catalog is a set of schemas by NSID. It is safe for use by several goroutines at once.
type Catalog struct {
	kinds map[string]Kind                   // every schema of the set
	names []string                          // the keys of kinds, sorted
	read  func(nsid string) ([]byte, error) // the schema's JSON
	docs  sync.Map                          // nsid -> *document, compiled on first use
}

var defaultCatalog = sync.OnceValue(func() *Catalog {
	index, err := embedded.ReadFile("schemas/INDEX")
	if err != nil {
		panic(fmt.Sprintf("lexicons: embedded index: %v", err)) // the binary was built wrong
	}
	c := &Catalog{kinds: make(map[string]Kind), read: readEmbedded}
	for line := range strings.Lines(string(index)) {
		kind, nsid, _ := strings.Cut(strings.TrimSpace(line), " ")
		c.add(Kind(kind), nsid)
	}
	return c
})

// Default returns the catalog of the schemas in the binary: com.atproto, app.bsky, chat.bsky,
// tools.ozone, com.germnetwork and site.standard.
func Default() *Catalog { return defaultCatalog() }

func readEmbedded(nsid string) ([]byte, error) {
	return embedded.ReadFile("schemas/" + strings.ReplaceAll(nsid, ".", "/") + ".json")
}

// New returns a catalog of the schema documents given as JSON. All of them are compiled at once;
// the first that is not a sound schema is the error.
func New(docs ...[]byte) (*Catalog, error) {
	raw := make(map[string][]byte, len(docs))
	c := &Catalog{kinds: make(map[string]Kind)}
	c.read = func(nsid string) ([]byte, error) { return raw[nsid], nil }
	for _, b := range docs {
		var head struct {
			ID   string
			Defs map[string]struct{ Type Kind }
		}
		if err := json.Unmarshal(b, &head); err != nil {
			return nil, fmt.Errorf("parse schema: %w", err)
		}
		kind := KindDefs
		if d, ok := head.Defs["main"]; ok {
			kind = d.Type
		}
		raw[head.ID] = b
		c.add(kind, head.ID)
		if _, err := c.document(head.ID); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Catalog) add(kind Kind, nsid string) {
	c.kinds[nsid] = kind
	c.names = append(c.names, nsid)
}

// Kind returns what the schema of this NSID describes, and false when there is none.
func (c *Catalog) Kind(nsid string) (Kind, bool) {
	k, ok := c.kinds[nsid]
	return k, ok
}

// List returns the NSIDs of all schemas of the given kind. In the default catalog they are sorted.
func (c *Catalog) List(kind Kind) []string {
	var out []string
	for _, nsid := range c.names {
		if c.kinds[nsid] == kind {
			out = append(out, nsid)
		}
	}
	return out
}

// Source returns the JSON document of a schema as published, or ErrUnknownSchema.
func (c *Catalog) Source(nsid string) ([]byte, error) {
	if _, ok := c.kinds[nsid]; !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknownSchema, nsid)
	}
	return c.read(nsid)
}

// document returns the compiled schema of an NSID.
func (c *Catalog) document(nsid string) (*document, error) {
	if d, ok := c.docs.Load(nsid); ok {
		return d.(*document), nil
	}
	b, err := c.Source(nsid)
	if err != nil {
		return nil, err
	}
	d, err := compile(nsid, b)
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", nsid, err)
	}
	kept, _ := c.docs.LoadOrStore(nsid, d)
	return kept.(*document), nil
}

// definition returns the definition that a full reference ("nsid" or "nsid#name") names.
func (c *Catalog) definition(ref string) (*node, error) {
	nsid, name, found := strings.Cut(ref, "#")
	if !found {
		name = "main"
	}
	d, err := c.document(nsid)
	if err != nil {
		return nil, err
	}
	n, ok := d.defs[name]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknownSchema, ref)
	}
	return n, nil
}

// maxRefHops bounds a chain of references that lead to references.
const maxRefHops = 8

// follow replaces a reference by what it refers to.
func (c *Catalog) follow(n *node) (*node, error) {
	for hops := 0; n.kind == kindRef; hops++ {
		if hops == maxRefHops {
			return nil, fmt.Errorf("%w: references of %s go in a circle", ErrUnknownSchema, n.refs[0])
		}
		next, err := c.definition(n.refs[0])
		if err != nil {
			return nil, err
		}
		n = next
	}
	return n, nil
}
