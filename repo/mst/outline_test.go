package mst

import (
	"errors"
	"slices"
	"testing"
)

func rows(t *testing.T, tree Tree, layer int) []OutlineRow {
	t.Helper()
	var out []OutlineRow
	err := tree.Outline(layer, func(r OutlineRow) error {
		out = append(out, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func fromRows(rows []OutlineRow, layer int) (Tree, error) {
	return FromOutline(layer, func() (r OutlineRow, ok bool, err error) {
		if len(rows) == 0 {
			return r, false, nil
		}
		r, rows = rows[0], rows[1:]
		return r, true, nil
	})
}

// TestOutlineNotTrusted spoils the rows of an outline: it is refused, or gives another root, and what
// gives the right root is the tree.
func TestOutlineNotTrusted(t *testing.T) {
	tree := derive(t, records(5000), 2)
	good := rows(t, tree, 4)
	if len(good) < 10 {
		t.Fatalf("only %d rows", len(good))
	}
	if got, err := fromRows(good, 4); err != nil || got.Root() != tree.Root() {
		t.Fatal(got.Root(), err)
	}
	for name, spoil := range map[string]func([]OutlineRow) []OutlineRow{
		"none":              func(r []OutlineRow) []OutlineRow { return nil },
		"first missing":     func(r []OutlineRow) []OutlineRow { return r[1:] },
		"row missing":       func(r []OutlineRow) []OutlineRow { return slices.Delete(r, 3, 4) },
		"row twice":         func(r []OutlineRow) []OutlineRow { return slices.Insert(r, 3, r[3]) },
		"rows in disorder":  func(r []OutlineRow) []OutlineRow { r[3], r[4] = r[4], r[3]; return r },
		"another record":    func(r []OutlineRow) []OutlineRow { r[3].Value = val(-1); return r },
		"another subtree":   func(r []OutlineRow) []OutlineRow { r[3].Below = val(-1); return r },
		"key of low height": func(r []OutlineRow) []OutlineRow { r[3].Key = r[2].Key + "x"; return r },
		"no record":         func(r []OutlineRow) []OutlineRow { r[3].Value = r[0].Value; return r },
	} {
		got, err := fromRows(spoil(slices.Clone(good)), 4)
		if err == nil && got.Root() == tree.Root() {
			t.Errorf("%s: not noticed", name)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOutlineDiffIsSmall(t *testing.T) {
	m := records(20_000)
	tree := derive(t, m, 2)
	all := len(rows(t, tree, 4))
	key := "app.bsky.feed.post/3l00000000001"
	write, remove, err := OutlineDiff(tree, mustPut(t, tree, m, key, val(1)), 4, []string{key})
	if err != nil || len(write) != 1 || len(remove) != 0 {
		t.Errorf("%d rows to write of %d, %d to remove, %v", len(write), all, len(remove), err)
	}
}

func TestOutlineBelowMemory(t *testing.T) {
	tree := derive(t, records(5000), 3)
	if err := tree.Outline(2, func(OutlineRow) error { return nil }); !errors.Is(err, ErrPartial) {
		t.Error(err)
	}
}
