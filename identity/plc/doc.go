// Package plc speaks the did:plc method: it builds, signs and verifies
// operations, checks whole operation logs, talks to a PLC directory, and holds
// a small directory of its own for development and tests.
//
// A DID's state is a chain of signed operations. Each names the one before it
// by CID, and is signed by one of that operation's rotation keys, which stand in
// order of authority: for 72 hours a key of higher authority can fork the chain
// and so nullify what a lower one signed.
//
// Specification: https://web.plc.directory/spec/v0.1/did-plc
package plc
