// Package adopt has the reference PDS live for a while, stops it, and lets Perch take over its data directory with `perch adopt`. Then the same clients go on with the
// tokens and passwords that they got from the reference, and a relay with its cursor.
package adopt
