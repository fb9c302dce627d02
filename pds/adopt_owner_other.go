//go:build !unix

package pds

func sameOwner(string, string) bool { return true }

func giveTo(string) error { return nil }
