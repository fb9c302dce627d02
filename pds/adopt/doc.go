// Package adopt takes over the data directory of a reference PDS (@atproto/pds 0.4 and 0.5): accounts, how people sign in, repositories, blobs, and the end of the
// event stream. Heads stay what they are, byte for byte, and seqs go on rising, so that the network sees no change.
//
// It only reads that directory. A SQLite file whose write-ahead log was not folded in, because the server was killed, is read through SQLite on a copy. It goes
// in two steps: Check looks at everything and writes nothing; Import stores it, each account in one transaction, and passes over what is there already, so that it can be
// repeated until it has ended well. Blobs may be in a bucket, whose objects are listed by Check and fetched by Import.
package adopt
