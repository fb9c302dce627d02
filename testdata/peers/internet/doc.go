// Package internet makes a small internet for tests: a network namespace with an address that looks public, in which names as in life lead to local
// programs through TLS. So the guards of the programs, which refuse private addresses, stay on.
//
// The namespace is that of the test program, which runs itself again inside it (Main). It needs root or user namespaces.
package internet

// Address is where all names lead.
const Address = "44.10.0.1"
