//go:build unix

package blob

import "syscall"

// syncSystem writes out what the system holds back. A linked file may have been written by a program that did not wait for the disk, and to ask for each of
// thousands would take a wait each.
func syncSystem() error {
	syscall.Sync()
	return nil
}
