package maskstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Group is the masks of one annotation that belong together, such as one segmentation of a CT series, and their
// manifest metadata.json. It holds no state of the group: any number of Groups, in any number of processes, may stand
// for the same one.
//
// An upload of a group takes three steps: Begin writes the upload into the manifest and signs a URL per mask, the
// client puts the masks to the URLs, Complete verifies that they are there and makes them the committed revision.
// Readers see the last committed revision; before the first there is none, and they get ErrIncomplete.
//
// Every write is a compare-and-swap on the object's ETag, so nothing is lost when two work at once: of two uploads
// one gets ErrUploadOpen or, having been superseded, ErrSuperseded. The storage must honour IfMatch and NoOverwrite. Upload
// alone puts masks without a condition, by a BatchPutter: it says there what that means to who supersedes it.
//
// Masks are overwritten in place. From the first PUT of a re-save until its commit, readers of the old revision get
// ErrReplaced, never a mix; a new group for each save spares them that. A URL that was given out cannot be revoked: until
// it expires it can write exactly what it was made for, once, over exactly what lay there when it was made; readers then
// get an error as well.
type Group struct {
	storage     ObjectStorage
	annotation  string
	id          string
	prefix      string
	isNew       bool // the ID is our own random one: nothing can lie there yet
	now         func() time.Time
	concurrency int
}

// GroupOptions sets up a Group.
type GroupOptions struct {
	Now         func() time.Time // the clock; nil: time.Now
	Concurrency int              // requests at a time; 0: DefaultConcurrency
}

// NewGroup gives the group with that ID. Where id is empty it is a new one with a random ID.
func NewGroup(s ObjectStorage, annotation, id string, opts *GroupOptions) (*Group, error) {
	o := or(opts)
	g := &Group{storage: s, annotation: annotation, id: id, isNew: id == "", now: o.Now, concurrency: o.Concurrency}
	if g.isNew {
		g.id = strings.ToLower(rand.Text())
	}
	if g.now == nil {
		g.now = time.Now
	}
	err := checkConcurrency(g.concurrency)
	if err == nil {
		g.prefix, err = GroupPrefix(annotation, g.id)
	}
	if err != nil {
		return nil, opError("NewGroup", "", nil, err)
	}
	return g, nil
}

// Format prints the group's prefix for every verb.
func (g *Group) Format(f fmt.State, _ rune) { io.WriteString(f, g.prefix) }

// Annotation gives the annotation's ID.
func (g *Group) Annotation() string { return g.annotation }

// ID gives the group's ID.
func (g *Group) ID() string { return g.id }

// MaskSpec is a mask that a client wants to upload.
type MaskSpec struct {
	Slice  int    `json:"slice"`
	Label  string `json:"label"`
	Size   int64  `json:"size"`            // of the file in bytes
	SHA256 SHA256 `json:"sha256,omitzero"` // of the file; zero where the client cannot compute it
}

// BeginOptions says how an upload begins.
type BeginOptions struct {
	Creator      string        // who begins it; at most 256 bytes; shown to whom it keeps out
	Keep         bool          // the revision is the masks named over the committed ones; else exactly those named
	NoOverwrite  bool          // refuse a group that has a manifest, with ErrPreconditionFailed
	Supersede    bool          // take over from an open upload; of a Group.Upload that still runs see there what it may cost
	SupersedeOwn bool          // take over from an open upload of the same, non-empty Creator
	TTL          time.Duration // of the URLs; 0: the storage's default
	Metadata     *Metadata     // nil: the committed revision's
}

// GroupUpload is an open upload of a group.
type GroupUpload struct {
	Annotation string
	Group      string
	UploadID   string    // names the upload to Renew and Complete; whoever is to do neither must not have it
	Revision   int       // that its commit makes
	Expires    time.Time // of the URL that expires first
	Metadata   Metadata  // that its commit gives the group
	Masks      []MaskURL // the masks named, in their order, then those kept
}

// MaskURL is a mask with a URL to put it to, or to get it from.
type MaskURL struct {
	Mask
	Unchanged bool      // it lies there already and is not to be put: URL is unset
	URL       SignedURL // one PUT works, over what lay there when it was signed
}

// UploadOpenError is the cause of ErrUploadOpen.
type UploadOpenError struct {
	Creator string    // of the open upload
	Until   time.Time // when it can be taken over without Supersede
}

// Error says whose the open upload is, and until when.
func (e *UploadOpenError) Error() string {
	creator := "a creator without a name"
	if e.Creator != "" {
		creator = strconv.Quote(e.Creator)
	}
	return fmt.Sprintf("by %s until %s, unless Supersede takes over", creator, e.Until.Format(time.RFC3339))
}

// urlsUntilSlack is how long the write between the first look at the clock and the last signature may take.
const urlsUntilSlack = time.Minute

// maxClockSkew is how far the clocks of two servers may differ, as S3 allows each to from its own.
const maxClockSkew = 15 * time.Minute

// casAttempts bounds how often a write is tried again because another came first. Each such time someone got on.
const casAttempts = 20

// Begin opens an upload of exactly these masks, and signs a URL for each that is not committed already, by its size and
// SHA-256; what an earlier upload has put and not committed, Renew finds out. It costs a PUT for a group whose ID NewGroup
// made; otherwise a GET more, and a LIST more where an upload was open.
//
// Errors: ErrInvalidArgument for masks that cannot be, ErrUploadOpen, ErrDeleted until the URLs of a deleted
// group have expired, ErrPreconditionFailed for NoOverwrite, ErrTooLarge where the manifest has no room (see MaxGroupMasks).
func (g *Group) Begin(ctx context.Context, masks []MaskSpec, opts *BeginOptions) (*GroupUpload, error) {
	up, err := g.beginSigned(ctx, masks, or(opts))
	return up, g.failed("Begin", err)
}

func (g *Group) beginSigned(ctx context.Context, masks []MaskSpec, o *BeginOptions) (*GroupUpload, error) {
	named, err := g.checkSpecs(masks, o)
	if err != nil {
		return nil, err
	}
	ttl, err := g.checkURLs(ctx, o.TTL)
	if err != nil {
		return nil, err
	}
	doc, err := g.begin(ctx, named, o, ttl)
	if err != nil {
		return nil, err
	}
	return g.sign(ctx, doc, o.TTL)
}

// checkURLs finds out, before anything is written, that URLs can be signed, and how long they will live.
func (g *Group) checkURLs(ctx context.Context, ttl time.Duration) (time.Duration, error) {
	begun := g.now()
	probe, err := g.storage.UploadURL(ctx, g.prefix+metadataName, &UploadURLOptions{TTL: ttl})
	return probe.Expires.Sub(begun), err
}

// begin writes the upload into the manifest.
func (g *Group) begin(ctx context.Context, named []Mask, o *BeginOptions, ttl time.Duration) (*document, error) {
	uploadID := rand.Text()
	assumeNew := g.isNew
	var written *document // by an earlier attempt, whose answer was lost
	doc, err := g.update(ctx, func(ctx context.Context) (*document, string, error) {
		doc, etag, err := g.newDocument(), "", error(nil)
		if !assumeNew {
			doc, etag, err = g.load(ctx)
		}
		assumeNew = false
		if errors.Is(err, ErrNotFound) {
			doc, err = g.newDocument(), nil
		}
		if err != nil {
			return nil, "", err
		}
		if doc.Pending != nil && doc.Pending.UploadID == uploadID {
			written = doc
			return nil, "", nil
		}
		if err := g.mayBegin(doc, etag, o); err != nil {
			return nil, "", err
		}
		var there map[string]ObjectInfo // what lies in the group; nil: what the committed revision says
		if doc.Pending != nil || doc.isTombstone() {
			if there, err = g.list(ctx); err != nil {
				return nil, "", err
			}
		}
		if doc.isTombstone() {
			doc = &document{Manifest: g.newDocument().Manifest, URLsUntil: doc.URLsUntil}
		}
		now := g.now().UTC()
		doc.Pending = &pending{
			UploadID: uploadID, Revision: doc.Revision + 1, Creator: o.Creator,
			BegunAt: now, URLsUntil: now.Add(ttl + urlsUntilSlack), Metadata: o.Metadata,
		}
		doc.keepUntil(doc.Pending.URLsUntil)
		doc.plan(named, o.Keep, there)
		if len(doc.Pending.Masks) > MaxGroupMasks {
			return nil, "", inputError("masks", fmt.Sprintf("are %d with those kept", len(doc.Pending.Masks)),
				fmt.Sprintf("at most %d", MaxGroupMasks))
		}
		return doc, etag, nil
	})
	return cmp.Or(doc, written), err
}

// mayBegin says why no upload can begin over doc.
func (g *Group) mayBegin(doc *document, etag string, o *BeginOptions) error {
	now := g.now()
	if doc.isTombstone() {
		if now.Before(doc.URLsUntil) {
			return &Error{Kind: ErrDeleted, Err: fmt.Errorf("its ID can be used again after %s", doc.URLsUntil.Format(time.RFC3339))}
		}
		return nil
	}
	if o.NoOverwrite && etag != "" {
		return &Error{Kind: ErrPreconditionFailed, Err: errors.New("the group has a manifest")}
	}
	p := doc.Pending
	if p == nil || o.Supersede || o.SupersedeOwn && o.Creator != "" && o.Creator == p.Creator || !now.Before(p.URLsUntil) {
		return nil
	}
	return &Error{Kind: ErrUploadOpen, Err: &UploadOpenError{Creator: p.Creator, Until: p.URLsUntil}}
}

// hasLeftovers tells whether at the key of a mask that is to be put lies something that is not the committed revision's.
func (d *document) hasLeftovers() bool {
	committed := make(map[string]string, len(d.Masks))
	for _, m := range d.Masks {
		committed[m.Key] = m.ETag
	}
	return slices.ContainsFunc(d.Pending.Masks, func(m Mask) bool {
		base, exists := d.Pending.Base[m.Key]
		return exists && m.ETag == "" && base != committed[m.Key]
	})
}

// plan sets the masks of the pending upload, those that need no upload with their ETag, and what lies at the
// keys of the others. there is a listing of the group; nil: the committed revision tells.
func (d *document) plan(named []Mask, keep bool, there map[string]ObjectInfo) {
	if there == nil {
		there = make(map[string]ObjectInfo, len(d.Masks)+len(d.Unexpected))
		for _, m := range d.Masks {
			there[m.Key] = ObjectInfo{ETag: m.ETag}
		}
		for _, u := range d.Unexpected {
			there[u.Key] = ObjectInfo{ETag: u.ETag}
		}
	}
	committed := make(map[string]Mask, len(d.Masks))
	for _, m := range d.Masks {
		committed[m.Key] = m
	}
	p := d.Pending
	p.Masks = slices.Clone(named)
	for i, m := range p.Masks {
		old, ok := committed[m.Key]
		if ok && !m.SHA256.IsZero() && m.SHA256 == old.SHA256 && m.Size == old.Size && there[m.Key].ETag == old.ETag {
			p.Masks[i] = old
		}
		delete(committed, m.Key)
	}
	if keep {
		p.Masks = append(p.Masks, slices.SortedFunc(maps.Values(committed), compareKeys)...)
	}
	p.setBase(there)
}

// setBase records what lies at the keys of the masks that are not proven.
func (p *pending) setBase(there map[string]ObjectInfo) {
	p.Base = make(map[string]string)
	for _, m := range p.Masks {
		if info, ok := there[m.Key]; ok && m.ETag == "" {
			p.Base[m.Key] = info.ETag
		}
	}
}

// checkSpecs refuses masks and options that cannot be, and gives the masks with their keys.
func (g *Group) checkSpecs(specs []MaskSpec, o *BeginOptions) ([]Mask, error) {
	switch {
	case len(specs) == 0:
		return nil, inputError("masks", "are none", "at least one")
	case len(specs) > MaxGroupMasks:
		return nil, inputError("masks", fmt.Sprintf("are %d", len(specs)), fmt.Sprintf("at most %d", MaxGroupMasks))
	}
	if err := checkAbout(o.Creator, o.Metadata); err != nil {
		return nil, err
	}
	masks := make([]Mask, len(specs))
	first := make(map[string]int, len(specs))
	for i, s := range specs {
		at := func(field string) string { return fmt.Sprintf("masks[%d]%s", i, field) }
		if err := validMask(s.Slice, s.Label); err != nil {
			return nil, inFields(err, at("."))
		}
		key := g.prefix + maskName(s.Slice, s.Label)
		if s.Size <= 0 || s.Size > MaxPutSize {
			return nil, inputError(at(".size"), fmt.Sprintf("is %d", s.Size), "the file's size, 1 byte to 5 GiB")
		}
		if j, ok := first[key]; ok {
			return nil, inputError(at(""), fmt.Sprintf("is the same slice and label as masks[%d]", j),
				"each once")
		}
		first[key] = i
		masks[i] = Mask{Key: key, Slice: s.Slice, Label: s.Label, Size: s.Size, SHA256: s.SHA256}
	}
	return masks, nil
}

// sign gives doc's pending upload with a URL for each mask that is not proven.
func (g *Group) sign(ctx context.Context, doc *document, ttl time.Duration) (*GroupUpload, error) {
	p := doc.Pending
	up := &GroupUpload{
		Annotation: g.annotation, Group: g.id, UploadID: p.UploadID, Revision: p.Revision,
		Expires: p.URLsUntil, Metadata: *cmp.Or(p.Metadata, &doc.Metadata), Masks: make([]MaskURL, len(p.Masks)),
	}
	for i, m := range p.Masks {
		up.Masks[i] = MaskURL{Mask: m, Unchanged: m.ETag != ""}
		if m.ETag != "" {
			continue
		}
		base, exists := p.Base[m.Key]
		url, err := g.storage.UploadURL(ctx, m.Key, &UploadURLOptions{
			ContentType: typeByName(m.Key), Size: m.Size, SHA256: m.SHA256, IfMatch: base, NoOverwrite: !exists, TTL: ttl,
		})
		if err != nil {
			return nil, err
		}
		if url.Expires.After(p.URLsUntil) {
			return nil, &Error{
				Kind: ErrUnavailable, Err: errors.New("the storage took too long to open the upload; begin again, superseding it"),
			}
		}
		up.Masks[i].URL = url
		if url.Expires.Before(up.Expires) {
			up.Expires = url.Expires
		}
	}
	return up, nil
}

// RenewOptions says how an upload is renewed.
type RenewOptions struct {
	TTL time.Duration // of the URLs; 0: the storage's default
}

// Renew signs new URLs for the masks of an open upload that are not there yet; what is there comes back Unchanged. It is
// the way on after a PUT that failed its condition (412, or 404 where something should have lain there), and when URLs
// expire before all masks are put. etags is what Complete takes. It costs a GET, a LIST and a PUT, and a Stat for
// each mask that only its SHA-256 can tell.
//
// Who neither declares SHA-256 nor reports ETags cannot tell another's mask of the same size from its own: after a failed
// condition it begins again, superseding.
//
// Errors: ErrNotFound, ErrDeleted, ErrSuperseded.
func (g *Group) Renew(
	ctx context.Context, uploadID string, etags map[string]string, opts *RenewOptions,
) (*GroupUpload, error) {
	o := or(opts)
	ttl, err := g.checkURLs(ctx, o.TTL)
	if err != nil {
		return nil, g.failed("Renew", err)
	}
	doc, err := g.renew(ctx, uploadID, etags, ttl)
	if err != nil {
		return nil, g.failed("Renew", err)
	}
	up, err := g.sign(ctx, doc, o.TTL)
	return up, g.failed("Renew", err)
}

// renew records in the manifest what is there now, and that URLs will live for ttl. A committed upload comes back as
// one that is pending, with all masks proven.
func (g *Group) renew(ctx context.Context, uploadID string, etags map[string]string, ttl time.Duration) (*document, error) {
	var committed *document
	doc, err := g.update(ctx, func(ctx context.Context) (*document, string, error) {
		doc, etag, err := g.loadOpen(ctx, &uploadID)
		if err != nil {
			return nil, "", err
		}
		if doc.Pending == nil {
			doc.Pending = &pending{UploadID: doc.UploadID, Revision: doc.Revision, Masks: doc.Masks, URLsUntil: doc.URLsUntil}
			committed = doc
			return nil, "", nil
		}
		there, err := g.list(ctx)
		if err != nil {
			return nil, "", err
		}
		p := doc.Pending
		if _, err := g.prove(ctx, p, there, etags); err != nil {
			return nil, "", err
		}
		p.setBase(there)
		p.URLsUntil = later(p.URLsUntil, g.now().UTC().Add(ttl+urlsUntilSlack))
		doc.keepUntil(p.URLsUntil)
		return doc, etag, nil
	})
	return cmp.Or(doc, committed), err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// loadOpen gives the manifest with the upload of that ID open in it, or with none open where that upload is the
// committed one. An empty ID means the open upload, else the committed one, and is set to its ID.
func (g *Group) loadOpen(ctx context.Context, uploadID *string) (*document, string, error) {
	doc, etag, err := g.load(ctx)
	if err != nil {
		return nil, "", err
	}
	if doc.isTombstone() {
		return nil, "", &Error{Kind: ErrDeleted}
	}
	if *uploadID == "" {
		*uploadID = doc.UploadID
		if doc.Pending != nil {
			*uploadID = doc.Pending.UploadID
		}
	}
	switch {
	case doc.Pending != nil && doc.Pending.UploadID == *uploadID:
	case doc.Revision > 0 && doc.UploadID == *uploadID:
		doc.Pending = nil
	default:
		return nil, "", &Error{Kind: ErrSuperseded}
	}
	return doc, etag, nil
}

func (g *Group) newDocument() *document {
	return &document{Manifest: Manifest{SchemaVersion: schemaVersion, Annotation: g.annotation, Group: g.id}}
}

// load reads the manifest, committed or not, or a tombstone.
func (g *Group) load(ctx context.Context) (*document, string, error) {
	return g.loadUpTo(ctx, maxManifestBytes)
}

// loadUpTo is load of a manifest of at most so many bytes, to which a larger one is an invalid one.
func (g *Group) loadUpTo(ctx context.Context, most int64) (doc *document, etag string, err error) {
	err = g.read(ctx, g.prefix+metadataName, nil, func(obj *Object) error {
		etag = obj.ETag
		tooLarge := &Error{Kind: ErrInvalidManifest, Err: fmt.Errorf("has over %d bytes", most)}
		if obj.Size > most {
			return tooLarge
		}
		var data bytes.Buffer
		data.Grow(int(max(obj.Size, 0)) + bytes.MinRead)
		if _, err := data.ReadFrom(io.LimitReader(obj.Body, most+1)); err != nil {
			etag = "" // another manifest, or none, may lie there by the next attempt
			return err
		}
		if int64(data.Len()) > most {
			return tooLarge // whatever its size was said to be
		}
		doc, err = decodeDocument(data.Bytes(), g.annotation, g.id)
		return err
	})
	return doc, etag, err
}

// update writes what change makes of the manifest. change reads the manifest and gives the new one and the ETag of
// the one it read, "" for none; where another write came first, it is called again. A nil document writes nothing.
func (g *Group) update(ctx context.Context, change func(context.Context) (*document, string, error)) (*document, error) {
	for range casAttempts {
		doc, etag, err := change(ctx)
		if err != nil || doc == nil {
			return nil, err
		}
		switch err := g.write(ctx, doc, etag); {
		case err == nil:
			return doc, nil
		case !errors.Is(err, ErrPreconditionFailed) && !errors.Is(err, ErrNotFound):
			return nil, err
		}
	}
	return nil, &Error{Kind: ErrUnavailable, Err: fmt.Errorf("others wrote the manifest first, %d times", casAttempts)}
}

// write puts doc where the manifest with that ETag lies, or none does.
func (g *Group) write(ctx context.Context, doc *document, etag string) error {
	doc.WriteID = rand.Text()
	if err := doc.validate(g.annotation, g.id); err != nil {
		return &Error{Kind: ErrInvalidManifest, Err: fmt.Errorf("it could not be read again: %w", err)}
	}
	data, err := doc.encode()
	if err != nil {
		return err
	}
	if _, err := checkText(data); err != nil {
		return &Error{Kind: ErrTooLarge, Err: fmt.Errorf("the manifest could not be read again: %w", err)}
	}
	if len(data) > maxManifestBytes {
		return &Error{
			Kind: ErrTooLarge, Err: fmt.Errorf("the manifest would have %d bytes; %d is the most", len(data), maxManifestBytes),
		}
	}
	key := g.prefix + metadataName
	_, err = g.storage.Put(ctx, key, bytes.NewReader(data), &PutOptions{
		ContentType: typeByName(key), Size: int64(len(data)), SHA256: SumSHA256(data), IfMatch: etag, NoOverwrite: etag == "",
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	// The answer may have been lost after the write was done.
	if now, _, readErr := g.load(ctx); readErr == nil && now.WriteID == doc.WriteID {
		return nil
	}
	return err
}

// list gives what lies in the group, but for the manifest, by key.
func (g *Group) list(ctx context.Context) (map[string]ObjectInfo, error) {
	there := make(map[string]ObjectInfo)
	for info, err := range g.storage.List(ctx, g.prefix, nil) {
		if err != nil {
			return nil, err
		}
		if info.Key != g.prefix+metadataName {
			there[info.Key] = info
		}
	}
	return there, nil
}

// failed wraps err for a method of the group. Errors of several keys stay within reach of KeyErrors.
func (g *Group) failed(op string, err error) error {
	if len(KeyErrors(err)) > 0 {
		return opError("Group."+op, "", nil, err)
	}
	return opError("Group."+op, g.prefix, nil, err)
}
