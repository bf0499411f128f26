package maskstore

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"strings"
	"time"
)

// GroupInfo is a group in a listing.
type GroupInfo struct {
	Annotation  string
	Group       string
	Manifest    *Manifest   // the committed revision; nil: none yet
	Open        *OpenUpload // nil: none
	HasManifest bool        // false: masks without a metadata.json, which Adopt can make one for
}

// OpenUpload is an upload that was begun and not completed.
type OpenUpload struct {
	Creator string
	Until   time.Time // when it can be taken over without Supersede
	Masks   int       // of its revision
}

// GroupsOptions says which groups are listed.
type GroupsOptions struct {
	StartAfter  string // only groups that come after the one of this ID, there or not, in the order of Groups; empty: all
	Limit       int    // how many at most; 0: all
	Concurrency int    // requests at a time; 0: DefaultConcurrency
}

// largeManifest is from how many bytes on Groups reads a manifest by itself: some 4000 masks.
const largeManifest = 1 << 20

// Groups yields the groups of an annotation, but for deleted ones, in the byte order of their prefixes: of their IDs with a
// "/" at the end, so that 1.2-old and 1.2.5 come before 1.2. A group costs a GET, one of over 1 MiB of manifest two, and
// nothing for its masks, and each 1000 groups a LIST. A group whose manifest cannot be read is yielded with its ID and the
// error, and the listing goes on. Of the manifests over 1 MiB it holds one at a time.
func Groups(ctx context.Context, s ObjectStorage, annotation string, opts *GroupsOptions) iter.Seq2[GroupInfo, error] {
	o := or(opts)
	return func(yield func(GroupInfo, error) bool) {
		prefix, err := AnnotationPrefix(annotation)
		if err == nil {
			err = cmp.Or((&ListOptions{Limit: o.Limit}).check(), checkConcurrency(o.Concurrency))
		}
		list := &ListOptions{Delimiter: "/"}
		if err == nil && o.StartAfter != "" {
			list.StartAfter, err = GroupPrefix(annotation, o.StartAfter)
		}
		if err != nil {
			yield(GroupInfo{}, opError("Groups", prefix, nil, err))
			return
		}
		shown := 0
		for batch, err := range batches(s.List(ctx, prefix, list), cmp.Or(o.Concurrency, DefaultConcurrency)) {
			if err != nil {
				yield(GroupInfo{}, opError("Groups", prefix, nil, err))
				return
			}
			infos := make([]*GroupInfo, len(batch))
			errs := make([]error, len(batch))
			forEach(ctx, "", len(batch), o.Concurrency, true, func(ctx context.Context, i int) error {
				infos[i], errs[i] = groupInfo(ctx, s, batch[i].Key, largeManifest)
				return nil
			})
			if ctx.Err() != nil {
				yield(GroupInfo{}, opError("Groups", prefix, nil, ctx.Err()))
				return
			}
			for i, info := range infos {
				if errors.Is(errs[i], ErrInvalidManifest) {
					info, errs[i] = groupInfo(ctx, s, batch[i].Key, maxManifestBytes) // perhaps it was but large
				}
				if info == nil {
					continue
				}
				if !yield(*info, opError("Groups", batch[i].Key, nil, errs[i])) {
					return
				}
				if shown++; shown == o.Limit {
					return
				}
			}
		}
	}
}

// batches gathers the common prefixes of a listing, n at a time.
func batches(list iter.Seq2[ObjectInfo, error], n int) iter.Seq2[[]ObjectInfo, error] {
	return func(yield func([]ObjectInfo, error) bool) {
		var batch []ObjectInfo
		for info, err := range list {
			if err != nil {
				yield(nil, err)
				return
			}
			if !info.IsPrefix {
				continue
			}
			if batch = append(batch, info); len(batch) == n {
				if !yield(batch, nil) {
					return
				}
				batch = nil
			}
		}
		if len(batch) > 0 {
			yield(batch, nil)
		}
	}
}

// groupOf gives the group whose prefix that is; nil where its IDs are not valid.
func groupOf(s ObjectStorage, prefix string, opts *GroupOptions) *Group {
	segments := strings.Split(prefix, "/")
	if len(segments) != 4 || segments[2] == "" {
		return nil
	}
	g, err := NewGroup(s, segments[1], segments[2], opts)
	if err != nil {
		return nil
	}
	return g
}

// groupInfo describes the group with that prefix, by a manifest of at most so many bytes; nil where it is deleted or none.
func groupInfo(ctx context.Context, s ObjectStorage, prefix string, most int64) (*GroupInfo, error) {
	g := groupOf(s, prefix, nil)
	if g == nil {
		return nil, nil
	}
	info := &GroupInfo{Annotation: g.annotation, Group: g.id}
	doc, _, err := g.loadUpTo(ctx, most)
	switch {
	case errors.Is(err, ErrNotFound):
		return info, nil
	case err != nil:
		return info, err
	case doc.isTombstone():
		return nil, nil
	}
	info.HasManifest = true
	if doc.Revision > 0 {
		info.Manifest = &doc.Manifest
	}
	if p := doc.Pending; p != nil {
		info.Open = &OpenUpload{Creator: p.Creator, Until: p.URLsUntil, Masks: len(p.Masks)}
	}
	return info, nil
}
