// Package oauth is the authorization server: how apps get tokens for accounts of this server, by the OAuth profile of AT Protocol.
//
// It serves the endpoints that programs talk to (Service.Documents, Service.Endpoints), and has the calls for the pages on which people decide. The way of a sign-in:
//
//  1. The app pushes its request to /oauth/par and sends the browser to /oauth/authorize with its client_id and the request_uri it got.
//  2. The page calls Open, which gives it a Request: who asks for what. It finds out who the person is; that is the page's business.
//  3. The person decides, and the page calls Grant or Deny, or skips the question where MaySkipConsent allows it. Either gives a Response, which the
//     page sends the browser away with.
//  4. The app trades the code for tokens at /oauth/token, and calls methods with them; pds/auth checks the tokens there.
//
// Every request, token and proof is somebody else's word until it is checked. Errors are *Error; of those with a Redirect the app is told by way
// of the browser, the others are for a page.
package oauth
