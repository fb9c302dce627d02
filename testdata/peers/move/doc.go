// Package move runs the move of an account with the standard calls, as the guide for account migration has them, between the reference PDS and Perch: out
// of the reference, from Perch to Perch, and back to the reference.
package move
