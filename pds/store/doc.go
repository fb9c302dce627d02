// Package store is the database: accounts, repositories, blobs, events and jobs in one SQLite file. It owns the schema and all SQL.
//
// One goroutine, the writer, owns the only connection that writes. Whoever changes something hands it a job; the writer takes all
// jobs that wait (at most [maxBatch]), runs them in one transaction, syncs it to disk and only then answers. So an answered write
// survives a power cut, and one sync serves many callers. Reads go to a pool of other connections and never wait for the writer.
//
// A repository changes by [Store.Commit] alone. The records are the repository; the Merkle search tree is a function of them and is not
// stored, save for an outline of the upper layers of large repositories, which is a cache checked against the head. Record rows, the
// head, blob references and the event that tells the network about them are one transaction: no event without its commit, no
// commit without its event.
package store
