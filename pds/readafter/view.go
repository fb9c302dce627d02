package readafter

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

const (
	embedImages          = "app.bsky.embed.images"
	embedGallery         = "app.bsky.embed.gallery"
	embedExternal        = "app.bsky.embed.external"
	embedRecord          = "app.bsky.embed.record"
	embedRecordWithMedia = "app.bsky.embed.recordWithMedia"
)

func sortLatestFirst(posts []*post) {
	slices.SortFunc(posts, func(a, b *post) int {
		return cmp.Or(b.sortAt.Compare(a.sortAt), b.Time.Compare(a.Time), strings.Compare(b.URI, a.URI))
	})
}

// own tells whether a URI is of a record of the caller's.
func (v *Overlay) own(uri string) bool {
	return strings.HasPrefix(uri, "at://"+v.opts.DID.String()+"/")
}

// postView makes the view of a fresh post. Nobody can have liked or answered it through this AppView, so all counts are 0.
func (v *Overlay) postView(ctx context.Context, p *post) map[string]any {
	view := map[string]any{
		"uri":         p.URI,
		"cid":         p.CID,
		"author":      v.author(),
		"record":      p.value,
		"replyCount":  0,
		"repostCount": 0,
		"likeCount":   0,
		"quoteCount":  0,
		"indexedAt":   formatTime(p.Time),
		"labels":      v.selfLabels(p),
	}
	set(view, "embed", asAny(v.embed(ctx, object(p.value, "embed"))))
	return view
}

// asAny keeps a nil map from becoming a value that is not nil.
func asAny(m map[string]any) any {
	if m == nil {
		return nil
	}
	return m
}

// selfLabels are the warnings that the author put on the post, as labels.
func (v *Overlay) selfLabels(p *post) []any {
	labels := []any{}
	for _, l := range objects(object(p.value, "labels"), "values") {
		labels = append(labels, map[string]any{
			"src": v.opts.DID.String(),
			"uri": p.URI,
			"cid": p.CID,
			"val": text(l, "val"),
			"cts": formatTime(p.Time),
		})
	}
	return labels
}

// embed makes the view of what a post embeds, nil when there is none or it is of a kind that only the AppView can show, such as videos.
func (v *Overlay) embed(ctx context.Context, e map[string]any) map[string]any {
	switch text(e, "$type") {
	case embedRecord:
		return v.recordView(ctx, object(e, "record"))
	case embedRecordWithMedia:
		media := v.media(object(e, "media"))
		record := v.recordView(ctx, object(object(e, "record"), "record"))
		if media == nil || record == nil {
			return nil
		}
		return map[string]any{"$type": embedRecordWithMedia + "#view", "media": media, "record": record}
	}
	return v.media(e)
}

// media is embed for pictures and links.
func (v *Overlay) media(e map[string]any) map[string]any {
	switch text(e, "$type") {
	case embedImages:
		return map[string]any{"$type": embedImages + "#view", "images": v.pictures(objects(e, "images"), "", "thumb")}
	case embedGallery:
		return map[string]any{"$type": embedGallery + "#view", "items": v.pictures(objects(e, "items"), embedGallery+"#viewImage", "thumbnail")}
	case embedExternal:
		ext := object(e, "external")
		view := map[string]any{"uri": text(ext, "uri"), "title": text(ext, "title"), "description": text(ext, "description")}
		set(view, "thumb", v.image("feed_thumbnail", ext["thumb"]))
		set(view, "associatedRefs", ext["associatedRefs"])
		return map[string]any{"$type": embedExternal + "#view", "external": view}
	}
	return nil
}

// pictures are the views of images; thumb is what the lexicon calls the small one.
func (v *Overlay) pictures(images []map[string]any, kind, thumb string) []any {
	views := []any{}
	for _, img := range images {
		small, full := v.image("feed_thumbnail", img["image"]), v.image("feed_fullsize", img["image"])
		if small == nil {
			continue
		}
		view := map[string]any{thumb: small, "fullsize": full, "alt": text(img, "alt")}
		set(view, "aspectRatio", img["aspectRatio"])
		if kind != "" {
			view["$type"] = kind
		}
		views = append(views, view)
	}
	return views
}

// lookups are the methods that show records of other people that a post embeds, by collection.
var lookups = map[string]struct {
	method syntax.NSID
	param  string
	output string
	kind   string // $type of the view in an embed; "" for posts, which have one of their own
}{
	"app.bsky.feed.post":         {"app.bsky.feed.getPosts", "uris", "posts", ""},
	"app.bsky.feed.generator":    {"app.bsky.feed.getFeedGenerators", "feeds", "feeds", "app.bsky.feed.defs#generatorView"},
	"app.bsky.graph.starterpack": {"app.bsky.graph.getStarterPacks", "uris", "starterPacks", "app.bsky.graph.defs#starterPackViewBasic"},
	"app.bsky.graph.list":        {"app.bsky.graph.getList", "list", "list", "app.bsky.graph.defs#listView"},
	"app.bsky.labeler.service":   {"app.bsky.labeler.getServices", "dids", "views", "app.bsky.labeler.defs#labelerView"},
}

// maxLookup is how many records of one collection are looked up for one answer.
const maxLookup = 25

// recordView is the view of an embedded record, nil when the AppView could not be asked.
func (v *Overlay) recordView(ctx context.Context, ref map[string]any) map[string]any {
	uri := text(ref, "uri")
	if uri == "" {
		return nil
	}
	record := v.quoted(ctx, uri)
	if record == nil {
		return nil
	}
	return map[string]any{"$type": embedRecord + "#view", "record": record}
}

func (v *Overlay) quoted(ctx context.Context, uri string) map[string]any {
	if p := v.local(uri); p != nil {
		view := map[string]any{
			"$type":     embedRecord + "#viewRecord",
			"uri":       p.URI,
			"cid":       p.CID,
			"author":    v.author(),
			"value":     p.value,
			"labels":    v.selfLabels(p),
			"indexedAt": formatTime(p.Time),
		}
		if m := v.media(object(p.value, "embed")); m != nil {
			view["embeds"] = []any{m}
		}
		return view
	}
	v.lookUp(ctx)
	return v.views[uri]
}

// lookUp asks the AppView, once, for all that the fresh posts embed, so that the number of requests does not grow with the number of posts.
func (v *Overlay) lookUp(ctx context.Context) {
	if v.looked {
		return
	}
	v.looked, v.views = true, map[string]map[string]any{}
	wanted := map[string][]string{}
	for _, p := range v.posts {
		e := object(p.value, "embed")
		ref := object(e, "record")
		if text(e, "$type") == embedRecordWithMedia {
			ref = object(ref, "record")
		}
		uri := text(ref, "uri")
		collection := collectionOf(uri)
		if uri == "" || v.local(uri) != nil || slices.Contains(wanted[collection], uri) || len(wanted[collection]) == maxLookup {
			continue
		}
		wanted[collection] = append(wanted[collection], uri)
	}
	for collection, uris := range wanted {
		v.ask(ctx, collection, uris)
	}
}

// ask looks up records of one collection. Those that the AppView does not have are shown as not found; when it does not answer, nothing is shown.
func (v *Overlay) ask(ctx context.Context, collection string, uris []string) {
	l, known := lookups[collection]
	if !known {
		return
	}
	if l.param == "list" { // one at a time
		for _, uri := range uris {
			if answer := v.fetch(ctx, l.method, url.Values{"list": {uri}, "limit": {"1"}}); answer != nil {
				v.keep(uri, l.kind, object(answer, l.output))
			}
		}
		return
	}
	params := url.Values{l.param: uris}
	if l.param == "dids" {
		params["dids"] = nil
		for _, uri := range uris {
			authority, _, _ := strings.Cut(strings.TrimPrefix(uri, "at://"), "/")
			params.Add("dids", authority)
		}
	}
	answer := v.fetch(ctx, l.method, params)
	if answer == nil {
		return
	}
	for _, uri := range uris {
		v.keep(uri, l.kind, nil)
	}
	for _, view := range objects(answer, l.output) {
		if uri := text(view, "uri"); slices.Contains(uris, uri) {
			v.keep(uri, l.kind, view)
		}
	}
}

func (v *Overlay) fetch(ctx context.Context, method syntax.NSID, params url.Values) map[string]any {
	body, err := v.opts.Lookup(ctx, method, params)
	if err != nil {
		return nil
	}
	answer, err := decode(body)
	if err != nil {
		return nil
	}
	return answer
}

// keep remembers the view of a record in the form that embeds have; nil is one that was not found.
func (v *Overlay) keep(uri, kind string, view map[string]any) {
	switch {
	case view == nil:
		v.views[uri] = map[string]any{"$type": embedRecord + "#viewNotFound", "uri": uri, "notFound": true}
	case kind != "":
		view["$type"] = kind
		v.views[uri] = view
	default:
		v.views[uri] = quotedPost(view)
	}
}

// quotedPost turns a postView into the viewRecord of an embed.
func quotedPost(view map[string]any) map[string]any {
	out := map[string]any{"$type": embedRecord + "#viewRecord"}
	for _, field := range []string{"uri", "cid", "author", "labels", "replyCount", "repostCount", "likeCount", "quoteCount", "indexedAt"} {
		set(out, field, view[field])
	}
	set(out, "value", view["record"])
	if e := object(view, "embed"); e != nil {
		out["embeds"] = []any{e}
	}
	return out
}
