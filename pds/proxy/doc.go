// Package proxy passes XRPC requests on to other services in the name of an
// account: those with an atproto-proxy header, and those for methods that this
// server does not have, which go to the AppView.
//
// What reaches the other service is the request's method, parameters and body, a
// handful of headers, and a token signed by the account that is good for this
// service and method only. The client's own credentials never leave. The answer
// is streamed back, bounded in size and time.
//
// Specification: https://atproto.com/specs/xrpc#service-proxying
package proxy
