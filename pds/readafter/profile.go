package readafter

// Profile lays the fresh profile over the answer to app.bsky.actor.getProfile.
func (v *Overlay) Profile(body []byte) ([]byte, error) {
	return edit(body, v.detailed)
}

// Profiles lays the fresh profile over the answer to app.bsky.actor.getProfiles.
func (v *Overlay) Profiles(body []byte) ([]byte, error) {
	return edit(body, func(answer map[string]any) {
		for _, view := range objects(answer, "profiles") {
			v.detailed(view)
		}
	})
}

// detailed lays the fresh profile over a profileViewDetailed, if it is the caller's.
func (v *Overlay) detailed(view map[string]any) {
	if !v.basic(view) {
		return
	}
	for _, field := range []string{"description", "website", "pinnedPost"} {
		set(view, field, v.profile[field])
	}
	set(view, "banner", v.image("banner", v.profile["banner"]))
}

// basic lays the fresh profile over the fields that every view of a profile has, and tells whether there was anything to do: the profile is fresh
// and the view the caller's.
func (v *Overlay) basic(view map[string]any) bool {
	if v.opts.FreshProfile.IsZero() || v.profile == nil || text(view, "did") != v.opts.DID.String() {
		return false
	}
	v.fillBasic(view)
	return true
}

func (v *Overlay) fillBasic(view map[string]any) {
	for _, field := range []string{"displayName", "pronouns"} {
		set(view, field, v.profile[field])
	}
	set(view, "avatar", v.image("avatar", v.profile["avatar"]))
}

// author is the caller as a profileViewBasic.
func (v *Overlay) author() map[string]any {
	handle := v.opts.Handle
	if handle == "" {
		handle = "handle.invalid"
	}
	view := map[string]any{"did": v.opts.DID.String(), "handle": handle.String()}
	v.fillBasic(view)
	return view
}

// image is the URL of a blob of the caller's, nil when it is no blob.
func (v *Overlay) image(preset string, blob any) any {
	b, _ := blob.(map[string]any)
	cid := text(object(b, "ref"), "$link")
	if cid == "" {
		return nil
	}
	return v.opts.ImageURL(preset, cid)
}

// set sets a field, or removes it when the value is nil.
func set(m map[string]any, key string, value any) {
	if value == nil {
		delete(m, key)
		return
	}
	m[key] = value
}

// authors lays the fresh profile over the authors of a post view, if they are the caller.
func (v *Overlay) authors(postView map[string]any) { v.basic(object(postView, "author")) }
