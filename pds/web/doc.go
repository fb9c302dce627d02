// Package web is the server's pages for people: templates rendered here, one stylesheet, and a script without which everything works too.
//
// A page is four things, and its name is the same in all of them:
//
//   - a line in routes.go or a file like account_routes.go: path, handler, and whether somebody must be signed in (signedIn), must have shown a moment ago
//     that the account is theirs (sensitive), and how often it may be asked for (limit). Several forms of a page have one address, and a field "do" that tells them apart (actions);
//   - a handler, func(*request) error, in a file of its own. It reads the form, calls the services in Options, and ends with render or redirect.
//     Errors it does not know it returns: they become a page that says what to do;
//   - templates/NAME.html, which defines "title" and "main", and "head" if it needs to, for templates/layout.html. Its dot is a *view; what the handler gave is
//     .Data. Forms are built of the parts in templates/parts.html, which carry labels, errors and the token against forged requests;
//   - its words in messages/en.json and in the other languages, or in messages/AREA.en.json and so on, under keys that begin with NAME.
//     {{t "NAME.key" "name" value}} shows them. A test finds keys that are missing, unused or differ in their placeholders.
//
// The package knows accounts and browsers (pds/account) and nothing of repositories or of the wire. What only the server as a whole can do, it asks
// of its Host.
package web
