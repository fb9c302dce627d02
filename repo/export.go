package repo

import (
	"bufio"
	"io"

	"github.com/ipfs/go-cid"

	"perch/repo/mst"
)

// Export writes the CAR of a whole repository in streamable order, out of one
// pass over its records in key order (see [mst.Tree.Export]); src shows the same records. Memory stays flat.
func Export(w io.Writer, head Head, tree mst.Tree, src mst.Source, next mst.NextRecord) error {
	car, err := NewCARWriter(w, head.CID)
	if err != nil {
		return err
	}
	if err := car.Put(head.CID, head.Block); err != nil {
		return err
	}
	return exportBlocks(car, tree, src, next)
}

// ExportBlocks writes what Export does without the header and the commit: to a CAR that was begun, it adds the blocks of a repository.
func ExportBlocks(w io.Writer, tree mst.Tree, src mst.Source, next mst.NextRecord) error {
	return exportBlocks(&CARWriter{w: bufio.NewWriterSize(w, carBuffer)}, tree, src, next)
}

func exportBlocks(car *CARWriter, tree mst.Tree, src mst.Source, next mst.NextRecord) error {
	err := tree.Export(src, next, func(c cid.Cid, data []byte) error { return car.Put(c, data) })
	if err != nil {
		return treeError(err)
	}
	return car.Flush()
}
