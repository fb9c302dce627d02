// Package xrpc is the server's side of the wire: it takes HTTP requests under /xrpc/, finds the
// method, checks parameters, access, limits and body against the lexicon, calls a typed handler
// and writes its answer or error as JSON. Pages outside /xrpc/ are served by the same mux.
//
// A request passes these steps, each of which may refuse it: global rate limit by address,
// method and verb, parameters, access, the method's rate limits, content type and encoding,
// body size, JSON, schema, rate limits that need the body, handler. Whatever refuses, the answer
// is {"error": name, "message": text} with a fitting status (spec: xrpc, "Error Responses").
//
// echo routes the requests; nothing of it shows outside this package.
package xrpc
