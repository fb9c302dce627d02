package mst

import "github.com/ipfs/go-cid"

// CountNodes returns how many nodes the tree of the records of src has, out of one ordered scan. It depends on the keys alone, so nothing
// is hashed but them.
func CountNodes(src Source) (int64, error) {
	var c nodeCounter
	err := src.Scan("", "", func(key string, _ cid.Cid) error {
		h := Height(key)
		c.closeTo(h)
		c.open[h] = true
		return nil
	})
	c.closeTo(len(c.open))      // one above the top, so that it is closed too
	return max(c.nodes, 1), err // the empty tree has one
}

// nodeCounter goes through the keys of a tree in order.
type nodeCounter struct {
	open  []bool // by layer: there is a node to which the next key may belong
	nodes int64
}

// closeTo ends the nodes on layers below h, for a key of that height. Each ended node hangs on one of the layer above.
func (c *nodeCounter) closeTo(h int) {
	for len(c.open) <= h {
		c.open = append(c.open, false)
	}
	for l := range h {
		if c.open[l] {
			c.nodes++
			c.open[l] = false
			c.open[l+1] = true
		}
	}
}
