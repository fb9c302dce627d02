// Package repo is the AT Protocol repository: records in their data model and
// encodings, signed commits, the change of a repository by writes, proofs and CAR files.
//
// It is pure code: it neither keeps nor fetches anything, and takes the time and the
// signing key as arguments. A repository is changed in one way, [Apply], which gives
// a [Diff]: the new head, the new tree and the CAR slice of the event. Whoever stores the diff
// must compare the head it was made from in the same transaction.
//
// Bytes from outside are checked by parsers of this package's own, strictly and
// with limits, before anything else sees them.
package repo
