package maskstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// SweepOptions says what Sweep looks at.
type SweepOptions struct {
	Annotation string           // only this one; empty: all
	Grace      time.Duration    // how long after its last URL something is swept; 0: a day
	Now        func() time.Time // the clock; nil: time.Now
	DryRun     bool             // report what would be done, and do nothing
}

// SweepReport says what Sweep did, by the prefixes of groups.
type SweepReport struct {
	Groups     int      // how many were looked at
	Tombstoned []string // groups never committed, whose masks were deleted
	Dropped    []string // groups whose abandoned re-save was dropped
	Removed    []string // deleted groups whose tombstones were removed, with what had reappeared under them
	Spoiled    []string // keys of committed masks that an abandoned re-save has overwritten: they are lost
	Unmanaged  []string // groups without a manifest; nothing was done to them
	Tars       []string // keys of tars of batches that were deleted; of no annotation
	Aborted    []MultipartUpload
}

// multipartSuspect is the size from which a mask may have been uploaded in parts: where a server lists
// multipart uploads by exact key alone, Sweep asks for those only.
const multipartSuspect = MinPartSize

// Sweep clears away what uploads and deletes that were abandoned left behind, in all groups that have been at rest for
// the grace period: it tombstones groups that were never committed, drops re-saves that were never completed, removes
// tombstones, and aborts stale multipart uploads. Where it looks at all annotations, it deletes the tars of that age which
// MinIO.PutBatch could not. It never touches a committed revision. It may run anywhere, any number of times at once, and be
// stopped at any time. It costs a GET per group, a LIST per 1000, and a listing of the multipart uploads under each group at
// rest, where the storage has such: one may have been abandoned under any. It costs more where there is something to do.
//
// A group that fails is skipped: KeyErrors gives an error for each.
func Sweep(ctx context.Context, s ObjectStorage, opts *SweepOptions) (*SweepReport, error) {
	sw := sweeper{SweepOptions: *or(opts), storage: s}
	if sw.Grace == 0 {
		sw.Grace = 24 * time.Hour
	}
	if sw.Grace < 0 {
		return nil, opError("Sweep", "", nil,
			inputError("Grace", fmt.Sprintf("%v is negative", sw.Grace), "a time, or 0 for a day"))
	}
	if sw.Now == nil {
		sw.Now = time.Now
	}
	var errs []error
	for prefix, err := range sw.groups(ctx) {
		if err == nil {
			err = sw.sweep(ctx, groupOf(s, prefix, &GroupOptions{Now: sw.Now}))
		}
		errs = append(errs, opError("Sweep", prefix, nil, err))
		if ctx.Err() != nil {
			errs = append(errs, opError("Sweep", "", nil, ctx.Err()))
			break
		}
	}
	return &sw.report, errors.Join(errs...)
}

type sweeper struct {
	SweepOptions
	storage ObjectStorage
	report  SweepReport
}

// groups yields the prefixes of the groups.
func (sw *sweeper) groups(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if sw.Annotation != "" {
			prefix, err := AnnotationPrefix(sw.Annotation)
			if err != nil {
				yield("", err)
				return
			}
			sw.prefixes(ctx, prefix, yield)
			return
		}
		sw.prefixes(ctx, root, func(annotation string, err error) bool {
			if err == nil && annotation == batchPrefix {
				err = sw.deleteTars(ctx)
			}
			if err != nil {
				return yield(annotation, err)
			}
			return sw.prefixes(ctx, annotation, yield)
		})
	}
}

// deleteTars deletes the tars that a server has stored, not unpacked, and that are older than the grace period.
func (sw *sweeper) deleteTars(ctx context.Context) error {
	for info, err := range sw.storage.List(ctx, batchPrefix, nil) {
		if err != nil {
			return err
		}
		if sw.Now().Before(info.LastModified.Add(sw.Grace)) {
			continue
		}
		if !sw.DryRun {
			if err := sw.storage.Delete(ctx, info.Key); err != nil {
				return err
			}
		}
		sw.report.Tars = append(sw.report.Tars, info.Key)
	}
	return nil
}

// prefixes yields the common prefixes under prefix, and reports whether to go on.
func (sw *sweeper) prefixes(ctx context.Context, prefix string, yield func(string, error) bool) bool {
	for info, err := range sw.storage.List(ctx, prefix, &ListOptions{Delimiter: "/"}) {
		if err != nil {
			return yield(prefix, err)
		}
		if info.IsPrefix && !yield(info.Key, nil) {
			return false
		}
	}
	return true
}

// sweep sweeps one group; nil is none.
func (sw *sweeper) sweep(ctx context.Context, g *Group) error {
	if g == nil {
		return nil
	}
	sw.report.Groups++
	doc, etag, err := g.load(ctx)
	if errors.Is(err, ErrNotFound) {
		sw.report.Unmanaged = append(sw.report.Unmanaged, g.prefix)
		return nil
	}
	if err != nil || sw.Now().Before(doc.URLsUntil.Add(sw.Grace)) {
		return err
	}
	if err := sw.abortUploads(ctx, g, doc); err != nil {
		return err
	}
	switch {
	case doc.isTombstone():
		return sw.remove(ctx, g, doc, etag)
	case doc.Pending == nil:
		return nil
	case doc.Revision == 0:
		return sw.bury(ctx, g, doc, etag)
	default:
		return sw.drop(ctx, g, doc, etag)
	}
}

// write puts doc in the place of the manifest that was read, unless another write came first: then the group is not
// at rest, and is left alone.
func (sw *sweeper) write(ctx context.Context, g *Group, doc *document, etag string) (done bool, err error) {
	if sw.DryRun {
		return true, nil
	}
	err = g.write(ctx, doc, etag)
	if errors.Is(err, ErrPreconditionFailed) || errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// bury turns a group that was never committed into a tombstone.
func (sw *sweeper) bury(ctx context.Context, g *Group, doc *document, etag string) error {
	begun := time.Now()
	if done, err := sw.write(ctx, g, g.tombstoneOf(doc), etag); !done {
		return err
	}
	sw.report.Tombstoned = append(sw.report.Tombstoned, g.prefix)
	if sw.DryRun {
		return nil
	}
	return inLease(ctx, begun, g.deleteMasks)
}

// remove removes a tombstone. Writing it once more keeps new uploads out until that is done, and Deletes: their tombstone
// would be removed in its place, and with it what keeps an upload from running into them.
func (sw *sweeper) remove(ctx context.Context, g *Group, doc *document, etag string) error {
	begun := time.Now()
	tomb := g.tombstoneOf(doc)
	tomb.RemovedBy = tomb.URLsUntil
	if done, err := sw.write(ctx, g, tomb, etag); !done {
		return err
	}
	if !sw.DryRun {
		err := inLease(ctx, begun, func(ctx context.Context) error {
			if err := g.deleteMasks(ctx); err != nil {
				return err
			}
			return g.storage.Delete(ctx, g.prefix+metadataName)
		})
		if err != nil {
			return err
		}
	}
	sw.report.Removed = append(sw.report.Removed, g.prefix)
	return nil
}

// drop drops a re-save that was never completed, and reports the committed masks that it has overwritten. What lies in
// their places is noted in the manifest, for the next upload to be signed over it.
func (sw *sweeper) drop(ctx context.Context, g *Group, doc *document, etag string) error {
	there, err := g.list(ctx)
	if err != nil {
		return err
	}
	var spoiled []string
	for _, m := range doc.Masks {
		if now := there[m.Key].ETag; now != m.ETag {
			spoiled = append(spoiled, m.Key)
			doc.Unexpected = slices.DeleteFunc(doc.Unexpected, func(u UnexpectedObject) bool { return u.Key == m.Key })
			if now != "" {
				doc.Unexpected = append(doc.Unexpected, UnexpectedObject{m.Key, now})
			}
		}
	}
	if len(spoiled) > 0 {
		if same, err := g.stillHolds(ctx, there); err != nil || !same { // then it is not at rest, or a listing was misread
			return err
		}
	}
	doc.Pending = nil
	if done, err := sw.write(ctx, g, doc, etag); !done {
		return err
	}
	sw.report.Dropped = append(sw.report.Dropped, g.prefix)
	sw.report.Spoiled = append(sw.report.Spoiled, spoiled...)
	return nil
}

// abortUploads aborts the multipart uploads of the group that are older than the grace period.
func (sw *sweeper) abortUploads(ctx context.Context, g *Group, doc *document) error {
	storage, ok := As[MultipartStorage](sw.storage)
	if !ok {
		return nil
	}
	prefixes := []string{g.prefix}
	if doc.Pending != nil {
		for _, m := range doc.Pending.Masks {
			if m.Size >= multipartSuspect {
				prefixes = append(prefixes, m.Key)
			}
		}
	}
	stale := make(map[MultipartUpload]bool)
	for _, prefix := range prefixes {
		for upload, err := range storage.ListMultipartUploads(ctx, prefix) {
			if err != nil {
				return err
			}
			if upload.Initiated.Add(sw.Grace).Before(sw.Now()) {
				stale[upload] = true
			}
		}
	}
	for upload := range stale {
		if !sw.DryRun {
			err := storage.AbortMultipartUpload(ctx, upload.Key, upload.UploadID)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		sw.report.Aborted = append(sw.report.Aborted, upload)
	}
	return nil
}
