package repo

import "github.com/bluesky-social/indigo/atproto/syntax"

// SubjectOf returns what a like, repost, follow or block is about, an AT URI or a DID: the Subject of a Write, by which duplicates are found. It
// is "" for all other records.
func SubjectOf(collection syntax.NSID, record map[string]any) string {
	switch collection {
	case "app.bsky.graph.follow", "app.bsky.graph.block":
		subject, _ := record["subject"].(string)
		return subject
	case "app.bsky.feed.like", "app.bsky.feed.repost":
		ref, _ := record["subject"].(map[string]any)
		uri, _ := ref["uri"].(string)
		return uri
	}
	return ""
}
