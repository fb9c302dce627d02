// Package mst is the Merkle search tree of an AT Protocol repository.
//
// A tree maps record paths to record CIDs and has exactly one shape for one set
// of records. It is therefore a function of the records and need not be stored:
// a [Tree] keeps only its upper layers in memory. What lies below is a stub, a
// CID known to cover the keys between two neighbours, and is made again when it
// is needed by one ordered [Source.Scan] of that range. What the scan gives must
// hash to the stub's CID; if it does not the answer is [ErrCorrupt], never a
// wrong tree.
//
// A tree is immutable. A change returns a new tree that shares what it did not
// touch, so trees can be kept, compared and used by several goroutines at once.
//
// Layers count from the bottom: a key lives on the layer given by [Height], and
// the keys of a node all have that node's layer.
package mst
