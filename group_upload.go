package maskstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// MaskFile is a mask to upload.
type MaskFile struct {
	Slice int
	Label string
	Body  Body // opened twice, or more often: see Upload
}

// Spec is what Begin wants to know of the mask.
func (f MaskFile) Spec() MaskSpec {
	return MaskSpec{Slice: f.Slice, Label: f.Label, Size: f.Body.Size, SHA256: f.Body.SHA256}
}

// ReadMaskDir gives the masks in a folder of files named NNNN_label.png, in the order of their names, having read each
// once for its checksum. A metadata.json, hidden files and folders are passed over; any other file is an error, since
// leaving it out would lose it.
func ReadMaskDir(dir string) ([]MaskFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, opError("ReadMaskDir", "", nil, err)
	}
	var files []MaskFile
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || name == metadataName || name[0] == '.' {
			continue
		}
		slice, label, ok := parseMaskName(name)
		if !ok {
			return nil, opError("ReadMaskDir", "", nil, inputError("file", fmt.Sprintf("%q is no mask", name), "NNNN_label.png"))
		}
		if err := ValidLabel(label); err != nil {
			return nil, opError("ReadMaskDir", "", nil, inFields(err, name+": "))
		}
		body, err := FileBody(filepath.Join(dir, name))
		if err != nil {
			return nil, opError("ReadMaskDir", "", nil, err)
		}
		files = append(files, MaskFile{slice, label, body})
	}
	return files, nil
}

// GroupUploadOptions says how Upload uploads.
type GroupUploadOptions struct {
	BeginOptions                  // TTL is how long others are kept out at most; a batch has 15 minutes less; 0: UploadLease
	OnProgress   func(Progress)   // called after each mask that was put, by one goroutine at a time; nil: not
	Complete     *CompleteOptions // nil: the masks were checked to be PNGs before they were put
	MaxPixels    int64            // what a PNG may have at most; 0: DefaultMaxPixels
}

// UploadLease is how long an Upload keeps other uploads of its group out at most, unless told otherwise.
const UploadLease = time.Hour

// uploadRounds bounds how often Upload puts masks over what others put in their place meanwhile.
const uploadRounds = 5

// Upload is Begin, a PUT per mask, and Complete, for a program that has the masks and the storage's credentials itself.
// It needs no signed URLs: a storage that signs none will do. Nothing is written unless all are PNGs. Masks that lie there
// already, by their SHA-256, are not put again; one that is committed, and was deleted or overwritten since, is. Where others
// keep overwriting its masks it gives up, with ErrIncomplete and the Completion.
//
// Each Body is opened once for the 33 bytes that a PNG begins with, one after another, before anything is written; it is
// opened again when it is put, and for each time that it must be put anew. One that reads from another storage thus costs
// two requests there at least: to hold a small mask as BytesBody spares them.
//
// One that fails stays open, and keeps others out until its lease has ended: to run it again before that, give a Creator and
// SupersedeOwn, or Supersede.
//
// Where the storage is a BatchPutter, many masks of a group whose ID NewGroup made go by a batch. A batch has no conditions:
// whoever supersedes an Upload that still runs may find the masks that they have committed overwritten by it. Readers then
// get ErrReplaced, never a wrong mask, until they are uploaded again. So supersede an Upload by batch only when it is known
// to have ended, or take a new group. It ends 15 minutes before its TTL has passed in any case, and so before others can
// begin without superseding it, whose clocks must not be ahead by more. Where the TTL leaves it less than a minute, no
// batch is used.
//
// Errors: those of Begin and Complete, ErrNotPNG, ErrChecksum where a file is not what its Body says, ErrExpired where a
// batch took longer than it may.
func (g *Group) Upload(ctx context.Context, files []MaskFile, opts *GroupUploadOptions) (*Completion, error) {
	done, err := g.upload(ctx, files, or(opts))
	return done, g.failed("Upload", err)
}

func (g *Group) upload(ctx context.Context, files []MaskFile, o *GroupUploadOptions) (*Completion, error) {
	specs := make([]MaskSpec, len(files))
	bodies := make(map[string]Body, len(files))
	for i, f := range files {
		specs[i] = f.Spec()
		bodies[g.prefix+maskName(f.Slice, f.Label)] = f.Body
		if err := checkFile(ctx, f, o.MaxPixels); err != nil {
			return nil, opError("", g.prefix+maskName(f.Slice, f.Label), nil, err)
		}
	}
	named, err := g.checkSpecs(specs, &o.BeginOptions)
	if err != nil {
		return nil, err
	}
	lease := cmp.Or(o.TTL, UploadLease)
	if lease < 0 || lease > MaxURLTTL {
		return nil, inputError("TTL", fmt.Sprintf("is %v", o.TTL), fmt.Sprintf("up to %v, or 0 for %v", MaxURLTTL, UploadLease))
	}
	doc, err := g.begin(ctx, named, &o.BeginOptions, lease)
	etags := make(map[string]string, len(files))
	if err == nil && doc.hasLeftovers() { // perhaps of an Upload of the same masks that failed
		doc, err = g.renew(ctx, doc.Pending.UploadID, etags, lease)
	}
	if err != nil {
		return nil, err
	}
	for round := 1; ; round++ {
		err := g.putMasks(ctx, doc.Pending, bodies, etags, o.OnProgress)
		if err != nil && !isBaseGone(err) {
			return nil, err
		}
		if err == nil || round == uploadRounds {
			done, err := g.Complete(ctx, doc.Pending.UploadID, etags, o.Complete)
			if round == uploadRounds || !done.canPut(bodies) {
				return done, err
			}
		}
		// Something else lies at a key, or nothing, than the manifest says or lay there when the round began: an earlier
		// upload's late PUT, or what was done behind the manifest's back.
		if doc, err = g.renew(ctx, doc.Pending.UploadID, etags, lease); err != nil {
			return nil, err
		}
	}
}

// canPut tells whether a mask is not there as declared, and is among the bodies.
func (c *Completion) canPut(bodies map[string]Body) bool {
	return c != nil && slices.ContainsFunc(c.Verdicts, func(v Verdict) bool {
		_, ours := bodies[v.Key]
		return ours && v.Problem != "" && v.Problem != ProblemNotPNG // which it would be again
	})
}

func checkFile(ctx context.Context, f MaskFile, maxPixels int64) error {
	if err := f.Body.check(); err != nil {
		return err
	}
	body, err := f.Body.open(ctx)
	if err != nil {
		return err
	}
	defer body.end()
	_, err = ReadPNGHeader(body, maxPixels)
	return err
}

// minBatch is from how many masks on a batch saves time: fewer are put at once anyway.
const minBatch = DefaultConcurrency

// minBatchTime is from how much time on a batch is begun: what is cut off is lost, and fails the upload.
const minBatchTime = time.Minute

// batchTime is how long a batch of the upload may take: what has no condition must not come once others may begin, by
// whichever clock. The server has urlsUntilSlack for what it was sent.
func (g *Group) batchTime(p *pending) time.Duration {
	return p.URLsUntil.Add(-maxClockSkew - urlsUntilSlack).Sub(g.now())
}

// putMasks puts the masks that are not proven, and adds their ETags to etags.
func (g *Group) putMasks(
	ctx context.Context, p *pending, bodies map[string]Body, etags map[string]string, onProgress func(Progress),
) error {
	var items []UploadItem
	for _, m := range p.Masks {
		if body, ok := bodies[m.Key]; ok && m.ETag == "" {
			base, exists := p.Base[m.Key]
			items = append(items, UploadItem{Key: m.Key, Body: body.marked(), IfMatch: base, NoOverwrite: !exists})
		}
	}
	opts := &ParallelOptions{Concurrency: g.concurrency, OnProgress: onProgress}
	put := func() ([]ObjectInfo, error) { return uploadItems(ctx, g.storage, items, opts) }
	if batch, ok := As[BatchPutter](g.storage); ok && g.isNew && len(items) > minBatch && g.batchTime(p) >= minBatchTime {
		// A batch has no conditions, so there must be nothing to overwrite, nor anybody who knows of the group.
		there, err := g.list(ctx)
		if err != nil {
			return err
		}
		if len(there) == 0 {
			for i := range items {
				items[i].IfMatch, items[i].NoOverwrite = "", false
			}
			put = func() ([]ObjectInfo, error) { return g.putBatch(ctx, batch, p, items, opts) }
		}
	}
	infos, err := put()
	for _, info := range infos {
		if info.ETag != "" {
			etags[info.Key] = info.ETag
		}
	}
	return err
}

// putBatch puts a batch that ends in time.
func (g *Group) putBatch(
	ctx context.Context, b BatchPutter, p *pending, items []UploadItem, o *ParallelOptions,
) ([]ObjectInfo, error) {
	leased, cancel := context.WithTimeout(ctx, g.batchTime(p))
	defer cancel()
	infos, err := b.PutBatch(leased, items, o)
	if err != nil && leased.Err() != nil && ctx.Err() == nil {
		err = &Error{Kind: ErrExpired, Err: fmt.Errorf("the batch took longer than the upload's TTL less %v", maxClockSkew)}
	}
	return infos, err
}

// isBaseGone tells the error of a PUT at whose key something else lies than did when it was planned. One of the mask's Body,
// which may be read from a storage too, is none.
func isBaseGone(err error) bool {
	_, ofBody := errors.AsType[*bodyError](err)
	return !ofBody && (errors.Is(err, ErrPreconditionFailed) || errors.Is(err, ErrNotFound))
}

// marked gives the Body with its errors marked as such.
func (b Body) marked() Body {
	open := b.Open
	b.Open = func() (io.ReadCloser, error) {
		r, err := open()
		if err != nil {
			return nil, &bodyError{err}
		}
		return &markedReader{r}, nil
	}
	return b
}

type markedReader struct{ io.ReadCloser }

func (r *markedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = &bodyError{err}
	}
	return n, err
}

type bodyError struct{ error }

func (e *bodyError) Unwrap() error { return e.error }

// uploadItems is UploadAll that goes on past items of which the base is gone, to give their errors at the end: a PUT that is
// cut off may still land, and would then be in the way of the next attempt.
func uploadItems(ctx context.Context, s ObjectStorage, items []UploadItem, o *ParallelOptions) ([]ObjectInfo, error) {
	const op = "UploadAll"
	infos, gone := make([]ObjectInfo, len(items)), make([]error, len(items))
	m := &meter{on: o.OnProgress, now: Progress{Total: len(items)}}
	err := forEach(ctx, op, len(items), o.Concurrency, false, func(ctx context.Context, i int) error {
		err := items[i].put(ctx, s, op, &infos[i], m)
		if isBaseGone(err) {
			gone[i] = err
			return nil
		}
		return err
	})
	return infos, cmp.Or(err, errors.Join(gone...))
}
