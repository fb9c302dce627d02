package readafter

import (
	"context"
	"net/url"
	"slices"
	"time"
)

// Likes lays the fresh profile over the answer to app.bsky.feed.getActorLikes.
func (v *Overlay) Likes(body []byte) ([]byte, error) {
	return edit(body, v.feedAuthors)
}

// Timeline lays fresh posts and the profile over the answer to app.bsky.feed.getTimeline. params are the request's.
func (v *Overlay) Timeline(ctx context.Context, body []byte, params url.Values) ([]byte, error) {
	return edit(body, func(answer map[string]any) {
		v.feedAuthors(answer)
		v.insert(ctx, answer, params, func(*post, map[string]any) bool { return true })
	})
}

// AuthorFeed lays fresh posts and the profile over the answer to app.bsky.feed.getAuthorFeed. params are the request's.
func (v *Overlay) AuthorFeed(ctx context.Context, body []byte, params url.Values) ([]byte, error) {
	return edit(body, func(answer map[string]any) {
		v.feedAuthors(answer)
		if actor := params.Get("actor"); actor == v.opts.DID.String() || actor == v.opts.Handle.String() {
			filter := params.Get("filter")
			v.insert(ctx, answer, params, func(p *post, view map[string]any) bool { return v.passes(p, view, filter) })
		}
	})
}

// passes tells whether a post belongs to an author's feed of this filter. A filter that is not known shows no fresh posts.
func (v *Overlay) passes(p *post, view map[string]any, filter string) bool {
	switch filter {
	case "", "posts_with_replies":
		return true
	case "posts_no_replies":
		return p.parent == ""
	case "posts_and_author_threads":
		return p.parent == "" || v.own(p.root) && v.own(p.parent)
	case "posts_with_media":
		return hasMedia(object(view, "embed"))
	}
	return false // posts_with_video among them: videos are shown when the AppView has processed them
}

func hasMedia(embed map[string]any) bool {
	switch text(embed, "$type") {
	case embedImages + "#view", embedGallery + "#view":
		return true
	case embedRecordWithMedia + "#view":
		return hasMedia(object(embed, "media"))
	}
	return false
}

// feedAuthors lays the fresh profile over the caller's posts in a feed.
func (v *Overlay) feedAuthors(answer map[string]any) {
	for _, item := range objects(answer, "feed") {
		reply := object(item, "reply")
		for _, post := range []map[string]any{object(item, "post"), object(reply, "root"), object(reply, "parent")} {
			v.authors(post)
		}
	}
}

// insert puts fresh posts into a feed, the latest first as feeds are. A page that was asked for with a cursor takes no posts later than its first, for
// they belong to the page before, and a page that has another one after it none earlier than its last.
func (v *Overlay) insert(ctx context.Context, answer map[string]any, params url.Values, belongs func(*post, map[string]any) bool) {
	feed, ok := answer["feed"].([]any)
	if !ok {
		return
	}
	var newest, oldest time.Time // of those whose place time decides
	seen := map[string]bool{}
	for _, item := range objects(answer, "feed") {
		if object(item, "reason") == nil {
			seen[text(object(item, "post"), "uri")] = true
		}
		if at := placeOf(item); !at.IsZero() {
			if newest.IsZero() {
				newest = at
			}
			oldest = at
		}
	}
	for _, p := range slices.Backward(v.posts) {
		switch {
		case seen[p.URI]:
			continue
		case params.Get("cursor") != "" && (newest.IsZero() || !p.sortAt.Before(newest)):
			continue
		case text(answer, "cursor") != "" && p.sortAt.Before(oldest):
			continue
		}
		if view := v.postView(ctx, p); belongs(p, view) {
			feed = slices.Insert(feed, place(feed, p.sortAt), any(map[string]any{"post": view}))
		}
	}
	answer["feed"] = feed
}

// place returns the index at which a post of this time goes into a feed: before the first item that is not later, past pinned posts.
func place(feed []any, at time.Time) int {
	for i, item := range feed {
		m, _ := item.(map[string]any)
		if t := placeOf(m); !t.IsZero() && !t.After(at) {
			return i
		}
	}
	return len(feed)
}

// placeOf is the time by which an item of a feed has its place, zero for a pinned post, which is first in any case.
func placeOf(item map[string]any) time.Time {
	post := object(item, "post")
	switch reason := object(item, "reason"); text(reason, "$type") {
	case "":
		return earlier(timeOf(object(post, "record"), "createdAt"), timeOf(post, "indexedAt"))
	case "app.bsky.feed.defs#reasonRepost":
		return timeOf(reason, "indexedAt")
	}
	return time.Time{}
}
