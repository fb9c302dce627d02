// Package firehose streams the server's events (com.atproto.sync.subscribeRepos) to relays and other consumers.
//
// The store hands over every committed event once, in seq order. Each becomes one ready websocket message in a
// ring bounded in bytes. A subscriber is a cursor: it reads from the ring while its cursor is inside it and from
// the event table when it is behind, so that a consumer which does not read costs a file handle and no memory,
// and never holds up another. Nothing is sent that was not stored first, and a lost wake-up or a restart loses
// nothing, because a running subscriber does what a new one with its cursor would do.
package firehose
