// Package lexicons holds the Lexicon schemas that the server knows and checks data against them:
// records before they are written, query parameters, and the JSON bodies of procedures.
//
// The schema files under schemas/ are copies, made by refresh/refresh.mjs from pinned versions
// (`make lexicons`). They stay in the binary as text and are compiled one by one when first asked
// for, so that starting costs nothing and memory holds only what is in use.
//
// Messages follow those of the reference implementation ("Input must have the property \"did\""),
// because people search for them and some clients read them.
package lexicons

//go:generate node refresh/refresh.mjs
