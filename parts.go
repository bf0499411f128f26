package maskstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// PartsOptions says what object is uploaded in parts by a client that holds no credentials.
//
// Nothing but the parts is kept between BeginParts, RenewParts and CompleteParts, so that any server can answer each: all
// three are told everything anew, by whoever asks. What of it the client says, the server has to judge each time:
//
//   - The key: whether this client may write it. An upload ID works for the one key that it was begun for.
//   - Size: whether it may be that much. Another one than before is another cut into parts; one that ends with an
//     earlier part is a shorter object. With a Journal that has recorded the upload it is ErrInvalidArgument.
//   - PartSHA256, SHA256: they tell whether what arrived is what was meant, by whoever says them. Wrong ones spoil no
//     more than the object itself.
//
// A server that does not trust its clients to say the same each time keeps upload ID, size and hashes in its database,
// or gives them to the client in a token that it has signed itself. A Journal keeps ID and size until the upload ends.
type PartsOptions struct {
	// PutOptions, with Size; ContentType is for BeginParts, all else for CompleteParts: SHA256 has it read the object. Servers
	// keep the parts' SHA-256 alone: that of the whole is the caller's to record.
	PutOptions
	PartSHA256 []SHA256      // of the parts, in order; nil: none is known yet; a zero one: not yet, and its part gets no URL
	TTL        time.Duration // of the URLs; 0: the storage's default
	Journal    Journal       // records the upload, for SweepUploads to abort it where the client never ends it; nil: not
}

func (o *PartsOptions) check(key string) error {
	if err := cmp.Or(ValidKey(key), o.PutOptions.check()); err != nil {
		return err
	}
	if o.Size == 0 {
		return inputError("Size", "is not set", "the object's length in bytes")
	}
	partSize, err := planParts(o.Size)
	if err != nil {
		return err
	}
	if n := partCount(o.Size, partSize); o.PartSHA256 != nil && len(o.PartSHA256) != n {
		return inputError("PartSHA256", fmt.Sprintf("has %d checksums", len(o.PartSHA256)),
			fmt.Sprintf("one for each of %d parts of %d bytes, or none", n, partSize))
	}
	return nil
}

// PartsTicket is what a client needs to put an object in parts. It prints and marshals no signature: Reveal gives what is
// sent to the client.
type PartsTicket struct {
	Key      string
	UploadID string
	PartSize int64     // in bytes, of all parts but the last
	Expires  time.Time // of the URL that expires first; zero: there is none
	Parts    []PartURL // all of them, in order
}

// PartURL is a part to put.
type PartURL struct {
	PartNumber int
	Offset     int64 // in the object, in bytes
	Size       int64
	SHA256     SHA256    // as declared; zero: not yet, and URL is unset
	Stored     bool      // it is there, and not to be put: URL is unset
	URL        SignedURL // of its PUT; it works until it expires or the upload ends
}

// RevealedTicket is a PartsTicket as it goes over the wire to the client. It marshals, prints and logs its signatures.
type RevealedTicket struct {
	Key      string         `json:"key"`
	UploadID string         `json:"upload_id"`
	PartSize int64          `json:"part_size"`        // in bytes, of all parts but the last
	Expires  time.Time      `json:"expires,omitzero"` // of the URL that expires first
	Parts    []RevealedPart `json:"parts"`
}

// RevealedPart is a PartURL as it goes over the wire to the client. RevealedURL.SignedURL gives what DirectUploader takes.
type RevealedPart struct {
	PartNumber int         `json:"part_number"`
	Offset     int64       `json:"offset"` // in the object, in bytes
	Size       int64       `json:"size"`
	SHA256     SHA256      `json:"sha256,omitzero"`  // unset: not declared yet, and there is no URL
	Stored     bool        `json:"stored,omitempty"` // it is there, and there is no URL
	URL        RevealedURL `json:"url,omitzero"`
}

// Reveal gives the ticket with its signatures, for the one place that sends it to the client.
func (t *PartsTicket) Reveal() RevealedTicket {
	revealed := RevealedTicket{t.Key, t.UploadID, t.PartSize, t.Expires, make([]RevealedPart, len(t.Parts))}
	for i, p := range t.Parts {
		revealed.Parts[i] = RevealedPart{
			PartNumber: p.PartNumber, Offset: p.Offset, Size: p.Size, SHA256: p.SHA256, Stored: p.Stored,
		}
		if p.URL.URL != "" {
			revealed.Parts[i].URL = p.URL.Reveal()
		}
	}
	return revealed
}

// BeginParts begins an upload in parts for a client that holds no credentials, and signs a URL for each part whose
// SHA-256 is declared. A client that does not know yet how its object is cut gets PartSize and no URLs, and RenewParts
// signs when it has hashed. Where the Journal has recorded another upload for the key, that is aborted first.
//
// A new key for each upload, and NoOverwrite, keep what one does away from all others. The place of an annotation's large
// objects is below its AnnotationPrefix at _large/, which is no group's.
//
// What is begun must come to CompleteParts or be aborted, by AbortMultipartUpload or AbortUpload: until then its parts
// stay, and are billed.
func BeginParts(ctx context.Context, s ObjectStorage, key string, opts *PartsOptions) (*PartsTicket, error) {
	const op = "BeginParts"
	o := or(opts)
	up, err := o.upload(s, key)
	if err != nil {
		return nil, opError(op, key, nil, err)
	}
	// What cannot be signed is not begun.
	_, err = up.m.UploadPartURL(ctx, key, "id", 1, &UploadURLOptions{SHA256: SHA256{1}, TTL: o.TTL})
	var r UploadRecord
	if err == nil {
		r, err = up.load(ctx)
	}
	if err == nil {
		err = up.replace(ctx, &r)
	}
	if err != nil {
		return nil, opError(op, key, nil, err)
	}
	ticket, err := o.sign(ctx, up.m, key, up.record.UploadID, nil)
	if err != nil {
		err = up.abort(ctx, err)
	}
	return ticket, opError(op, key, nil, err)
}

// RenewParts signs the URLs of the parts that are not stored yet, or are not those declared: where URLs have expired, for
// parts that were hashed since, for a client that begins again. An upload that has ended is ErrNotFound: CompleteParts, called
// again, tells whether it was completed. Size and PartSHA256
// are what this call says, whatever BeginParts was told, but for what a Journal holds it to (see PartsOptions).
func RenewParts(ctx context.Context, s ObjectStorage, key, uploadID string, opts *PartsOptions) (*PartsTicket, error) {
	const op = "RenewParts"
	o := or(opts)
	up, err := o.goOn(ctx, s, key, uploadID)
	var stored map[int]Part
	if err == nil {
		stored, err = storedParts(ctx, up.m, key, uploadID)
	}
	var ticket *PartsTicket
	if err == nil {
		ticket, err = o.sign(ctx, up.m, key, uploadID, stored)
	}
	return ticket, opError(op, key, nil, err)
}

// CompleteParts makes the object of the parts that are stored, once all are there and are what was declared, and gives it.
//
// What is proven then is what this call declares. Without checksums it is the object's length, and no more: each part is
// one that RenewParts or BeginParts has signed for, which may be those of different contents. PartSHA256 proves the
// content, by what the server kept of the parts. SHA256 proves it too, and costs a read of the whole object.
//
// An object whose SHA256 is wrong is at the key by then, over what was there. So that nobody meets it, and it costs
// nothing that was good: use a new key for each upload, with NoOverwrite, that readers learn of when CompleteParts has
// succeeded; or a temporary key, and Copy (up to MaxPutSize) after that.
//
// Completed again, it gives the same answer, if SHA256 or PartSHA256 proves that the object at the key is the one.
//
// Errors: ErrIncomplete where parts are missing, or not known to be those declared, for which the server must keep their
// SHA-256, as S3 and MinIO do; the upload stays open, and RenewParts tells which. It stays so at ErrPreconditionFailed too.
// ErrChecksum comes with the object, which is in place by then: its parts are those declared, and yet the whole is not, or
// came damaged. Completed again, it is read again; where that gives ErrChecksum or ErrNotFound, the object is the caller's
// to delete. An upload that has ended otherwise is ErrNotFound, which says where something lies at the key that is not the
// object declared, or not proven to be.
func CompleteParts(ctx context.Context, s ObjectStorage, key, uploadID string, opts *PartsOptions) (ObjectInfo, error) {
	o := or(opts)
	up, err := o.goOn(ctx, s, key, uploadID)
	if err != nil {
		return ObjectInfo{}, opError("CompleteParts", key, nil, err)
	}
	info, err := o.complete(ctx, up)
	if info.Key != "" && o.Journal != nil {
		err = cmp.Or(err, o.Journal.Remove(ctx, key, uploadID))
	}
	return info, opError("CompleteParts", key, nil, err)
}

// upload gives the upload that the options are for, not begun.
func (o *PartsOptions) upload(s ObjectStorage, key string) (*partsUpload, error) {
	if err := o.check(key); err != nil {
		return nil, err
	}
	m, err := multipartOf(s)
	if err != nil {
		return nil, err
	}
	up := &partsUpload{UploadOptions: UploadOptions{o.PutOptions, o.Journal}, storage: s, m: m, key: key}
	up.ContentType = cmp.Or(o.ContentType, typeByName(key))
	return up, nil
}

// goOn gives the upload that has begun with that ID, unless the journal has recorded it with another size.
func (o *PartsOptions) goOn(ctx context.Context, s ObjectStorage, key, uploadID string) (*partsUpload, error) {
	up, err := o.upload(s, key)
	if err == nil {
		err = checkUploadID(uploadID)
	}
	if err != nil {
		return nil, err
	}
	up.record.UploadID = uploadID
	r, err := up.load(ctx)
	if err == nil && r.UploadID == uploadID && r.Size != o.Size {
		err = inputError("Size", fmt.Sprintf("is %d, but the upload began with %d", o.Size, r.Size), "what BeginParts was given")
	}
	return up, err
}

// plan gives the parts, without URLs.
func (o *PartsOptions) plan() (parts []PartURL, partSize int64) {
	partSize, _ = planParts(o.Size) // check has refused what it cannot plan
	parts = make([]PartURL, partCount(o.Size, partSize))
	for i := range parts {
		offset := int64(i) * partSize
		parts[i] = PartURL{PartNumber: i + 1, Offset: offset, Size: min(partSize, o.Size-offset)}
		if o.PartSHA256 != nil {
			parts[i].SHA256 = o.PartSHA256[i]
		}
	}
	return parts, partSize
}

// isStored tells whether what is stored is the part as far as it is declared.
func (p *PartURL) isStored(stored map[int]Part) bool {
	there, ok := stored[p.PartNumber]
	return ok && there.Size == p.Size && (p.SHA256.IsZero() || there.SHA256 == p.SHA256)
}

func (o *PartsOptions) sign(
	ctx context.Context, m MultipartStorage, key, uploadID string, stored map[int]Part,
) (*PartsTicket, error) {
	ticket := &PartsTicket{Key: key, UploadID: uploadID}
	ticket.Parts, ticket.PartSize = o.plan()
	for i := range ticket.Parts {
		p := &ticket.Parts[i]
		p.Stored = p.isStored(stored)
		if p.Stored || p.SHA256.IsZero() {
			continue
		}
		u, err := m.UploadPartURL(ctx, key, uploadID, p.PartNumber, &UploadURLOptions{Size: p.Size, SHA256: p.SHA256, TTL: o.TTL})
		if err != nil {
			return nil, err
		}
		if p.URL = u; ticket.Expires.IsZero() || u.Expires.Before(ticket.Expires) {
			ticket.Expires = u.Expires
		}
	}
	return ticket, nil
}

func (o *PartsOptions) complete(ctx context.Context, up *partsUpload) (ObjectInfo, error) {
	info, err := o.completeStored(ctx, up)
	if errors.Is(err, ErrNotFound) {
		return o.find(ctx, up, err)
	}
	if err != nil || o.SHA256.IsZero() {
		return info, err
	}
	if err = o.read(ctx, up.storage, info); err == nil {
		info.SHA256 = o.SHA256
	}
	return info, err
}

func (o *PartsOptions) completeStored(ctx context.Context, up *partsUpload) (ObjectInfo, error) {
	stored, err := storedParts(ctx, up.m, up.key, up.record.UploadID)
	if err != nil {
		return ObjectInfo{}, err
	}
	parts, err := o.prove(stored)
	if err != nil {
		return ObjectInfo{}, err
	}
	return up.m.CompleteMultipartUpload(ctx, up.key, up.record.UploadID, parts, &up.PutOptions)
}

// find gives the object, if it is the one declared: then the upload that is gone was completed, and the answer lost. It
// gives it with ErrChecksum where its parts are those declared, and yet the whole is not.
func (o *PartsOptions) find(ctx context.Context, up *partsUpload, gone error) (ObjectInfo, error) {
	info, err := up.storage.Stat(ctx, up.key)
	switch {
	case errors.Is(err, ErrNotFound):
		return ObjectInfo{}, gone
	case err != nil:
		return ObjectInfo{}, err
	case info.Size != o.Size:
		return ObjectInfo{}, goneBut(gone, fmt.Sprintf("the object at the key has %d bytes, not %d", info.Size, o.Size))
	case o.SHA256.IsZero() && !o.provesAll():
		return ObjectInfo{}, goneBut(gone, "no checksum tells whether the object at the key is the one declared")
	}
	whole := o.read(ctx, up.storage, info)
	if whole == nil {
		info.SHA256 = o.SHA256
		return info, nil
	}
	if err = whole; errors.Is(err, ErrChecksum) && !o.SHA256.IsZero() && o.provesAll() {
		byParts := *o
		byParts.SHA256 = SHA256{}
		if err = byParts.read(ctx, up.storage, info); err == nil {
			return info, whole
		}
	}
	if errors.Is(err, ErrChecksum) {
		err = goneBut(gone, "the object at the key is not the one declared")
	}
	return ObjectInfo{}, err
}

// goneBut adds to the error of an upload that is gone what lies at its key.
func goneBut(gone error, lies string) error {
	e := *opError("", "", nil, gone).(*Error)
	e.Err = fmt.Errorf("%w; %s", cmp.Or(e.Err, e.Kind), lies)
	return &e
}

// prove gives the parts to complete with.
func (o *PartsOptions) prove(stored map[int]Part) ([]Part, error) {
	plan, _ := o.plan()
	parts := make([]Part, 0, len(plan))
	var missing []int
	for i := range plan {
		if p := &plan[i]; p.isStored(stored) {
			parts = append(parts, stored[p.PartNumber])
		} else {
			missing = append(missing, p.PartNumber)
		}
	}
	if len(missing) > 0 {
		return nil, &Error{Kind: ErrIncomplete, Err: fmt.Errorf(
			"%d of %d parts are missing, or not those declared, the first of them number %d", len(missing), len(plan), missing[0])}
	}
	return parts, nil
}

// provesAll tells whether the parts' checksums prove an object.
func (o *PartsOptions) provesAll() bool {
	return o.PartSHA256 != nil && !slices.ContainsFunc(o.PartSHA256, SHA256.IsZero)
}

// read reads the object, which must be what was declared: as a whole, or else part by part.
func (o *PartsOptions) read(ctx context.Context, s ObjectStorage, info ObjectInfo) error {
	obj, err := s.Get(ctx, info.Key, &GetOptions{IfMatch: info.ETag, SHA256: o.SHA256})
	if err != nil {
		return err
	}
	defer obj.Body.Close()
	if o.SHA256.IsZero() {
		plan, _ := o.plan()
		for _, p := range plan {
			hash := sha256.New()
			if _, err := io.CopyN(hash, obj.Body, p.Size); err != nil {
				return err
			}
			if SHA256(hash.Sum(nil)) != p.SHA256 {
				return &Error{Kind: ErrChecksum, Err: fmt.Errorf("part %d is not the one declared", p.PartNumber)}
			}
		}
	}
	_, err = io.Copy(io.Discard, obj.Body)
	return err
}
