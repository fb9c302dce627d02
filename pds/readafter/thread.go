package readafter

import (
	"context"
	"net/url"
	"slices"
	"strconv"
)

const (
	threadViewPost = "app.bsky.feed.defs#threadViewPost"
	notFoundPost   = "app.bsky.feed.defs#notFoundPost"
)

// Defaults of the parameters of getPostThread.
const (
	defaultDepth        = 6
	defaultParentHeight = 80
)

// Thread lays fresh replies of the caller's and the profile over the answer to app.bsky.feed.getPostThread. params are the request's.
func (v *Overlay) Thread(ctx context.Context, body []byte, params url.Values) ([]byte, error) {
	return edit(body, func(answer map[string]any) {
		v.addReplies(ctx, object(answer, "thread"), number(params, "depth", defaultDepth))
		v.threadAuthors(object(answer, "thread"))
	})
}

// MissingThread makes the answer to app.bsky.feed.getPostThread for a post that the AppView says it does not have: nil unless the post is a
// fresh one. What it replies to comes from the AppView.
func (v *Overlay) MissingThread(ctx context.Context, uri string, params url.Values) ([]byte, error) {
	p := v.local(uri)
	if p == nil {
		return nil, nil
	}
	thread := v.threadView(ctx, p)
	v.addReplies(ctx, thread, number(params, "depth", defaultDepth))
	v.addParents(ctx, thread, p, number(params, "parentHeight", defaultParentHeight))
	return encode(map[string]any{"thread": thread})
}

func number(params url.Values, name string, otherwise int) int {
	n, err := strconv.Atoi(params.Get(name))
	if err != nil {
		return otherwise
	}
	return n
}

func (v *Overlay) threadView(ctx context.Context, p *post) map[string]any {
	return map[string]any{"$type": threadViewPost, "post": v.postView(ctx, p), "replies": []any{}, "threadContext": map[string]any{}}
}

// addReplies puts fresh replies under the posts that they answer, from the oldest on, because one may answer another.
func (v *Overlay) addReplies(ctx context.Context, thread map[string]any, depth int) {
	if text(thread, "$type") != threadViewPost {
		return
	}
	for _, p := range slices.Backward(v.posts) {
		if p.parent != "" && find(thread, p.URI, depth) == nil {
			if parent := find(thread, p.parent, depth-1); parent != nil {
				replies, _ := parent["replies"].([]any)
				parent["replies"] = slices.Insert(replies, 0, any(v.threadView(ctx, p)))
			}
		}
	}
}

// find returns the part of a thread that begins with the post of a URI, no more than depth levels down, or nil.
func find(thread map[string]any, uri string, depth int) map[string]any {
	if depth < 0 {
		return nil
	}
	if text(object(thread, "post"), "uri") == uri {
		return thread
	}
	for _, reply := range objects(thread, "replies") {
		if found := find(reply, uri, depth-1); found != nil {
			return found
		}
	}
	return nil
}

// addParents puts above a fresh post what it answers: fresh posts first, and all above them as the AppView shows it.
func (v *Overlay) addParents(ctx context.Context, thread map[string]any, p *post, height int) {
	for ; height > 0 && p.parent != ""; height-- {
		next := v.local(p.parent)
		if next == nil {
			thread["parent"] = v.upstreamParent(ctx, p.parent, height-1)
			return
		}
		parent := v.threadView(ctx, next)
		delete(parent, "replies") // they are below, where the caller came from
		thread["parent"], thread, p = parent, parent, next
	}
}

func (v *Overlay) upstreamParent(ctx context.Context, uri string, height int) map[string]any {
	params := url.Values{"uri": {uri}, "depth": {"0"}, "parentHeight": {strconv.Itoa(height)}}
	answer := v.fetch(ctx, "app.bsky.feed.getPostThread", params)
	parent := object(answer, "thread")
	if parent == nil {
		return map[string]any{"$type": notFoundPost, "uri": uri, "notFound": true}
	}
	v.threadAuthors(parent)
	return parent
}

// threadAuthors lays the fresh profile over the caller's posts in a thread.
func (v *Overlay) threadAuthors(thread map[string]any) {
	for t := thread; t != nil; t = object(t, "parent") {
		v.authors(object(t, "post"))
	}
	for _, reply := range objects(thread, "replies") {
		v.threadAuthors(reply)
	}
}
