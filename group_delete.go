package maskstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// deleteTime is how long a Delete or Sweep has to remove objects after it wrote the tombstone, and until deleteLease has
// passed no upload can begin in the group: deleting cannot be made conditional, so it must not run into one, whose server's
// clock may be ahead.
const deleteTime, deleteLease = 5 * time.Minute, deleteTime + maxClockSkew

// Delete deletes the group: first the manifest becomes a tombstone, which says nothing about the patient, then the masks
// go. An upload that is open gets ErrDeleted. A Delete that failed half-way is run again; deleting what is not there is
// no error. The tombstone keeps the group's ID from being used again before the last URL given out, and at least twenty
// minutes, have passed; Sweep removes it later, and a Delete that comes while it does gets ErrUnavailable, for twenty
// minutes at most. The clocks of all that delete and upload must not differ by more than a quarter of an hour. It costs a
// GET, a PUT, per 1000 masks a LIST and a DELETE, and a LIST for what that left, which is deleted too.
func (g *Group) Delete(ctx context.Context) error {
	return g.failed("Delete", g.delete(ctx))
}

func (g *Group) delete(ctx context.Context) error {
	var begun time.Time
	doc, err := g.update(ctx, func(ctx context.Context) (*document, string, error) {
		begun = time.Now()
		doc, etag, err := g.load(ctx)
		if errors.Is(err, ErrInvalidManifest) {
			// Whatever it was, it is deleted. It does not tell when its last URL expires.
			doc, err = g.newDocument(), nil
			doc.URLsUntil = g.now().UTC().Add(MaxURLTTL)
		}
		if errors.Is(err, ErrNotFound) {
			there, err := g.list(ctx)
			if err != nil || len(there) == 0 {
				return nil, "", err
			}
			return g.tombstoneOf(g.newDocument()), "", nil
		}
		if err != nil {
			return nil, "", err
		}
		if g.now().Before(doc.RemovedBy) {
			return nil, "", &Error{Kind: ErrUnavailable, Err: fmt.Errorf(
				"a Sweep is removing what is left of the group; try again after %s", doc.RemovedBy.Format(time.RFC3339))}
		}
		return g.tombstoneOf(doc), etag, nil
	})
	if err != nil || doc == nil {
		return err
	}
	return inLease(ctx, begun, g.deleteMasks)
}

// tombstoneOf gives the tombstone to put in doc's place.
func (g *Group) tombstoneOf(doc *document) *document {
	now := g.now().UTC()
	tomb := g.newDocument()
	tomb.DeletedAt, tomb.URLsUntil = now, doc.URLsUntil
	if doc.isTombstone() {
		tomb.DeletedAt = doc.DeletedAt
	}
	tomb.keepUntil(now.Add(deleteLease))
	return tomb
}

var errLeaseOver = &Error{
	Kind: ErrUnavailable, Err: errors.New("the storage took too long to delete what is in the group; the next try goes on"),
}

// inLease lets do delete what is in a group whose tombstone was written after begun, for as long as that surely keeps
// uploads out.
func inLease(ctx context.Context, begun time.Time, do func(context.Context) error) error {
	ctx, cancel := context.WithDeadlineCause(ctx, begun.Add(deleteTime), errLeaseOver)
	defer cancel()
	err := do(ctx)
	if isContextError(err) && context.Cause(ctx) == errLeaseOver {
		return errLeaseOver
	}
	return err
}

// deleteMasks deletes all of the group but its tombstone, and what another listing shows after that: one may have named a
// mask wrong, or a late PUT came between. What comes later still is left to Sweep.
func (g *Group) deleteMasks(ctx context.Context) error {
	for range 2 {
		there, err := g.list(ctx)
		if err != nil || len(there) == 0 {
			return err
		}
		if err := g.storage.Delete(ctx, slices.Sorted(maps.Keys(there))...); err != nil {
			return err
		}
	}
	return nil
}
