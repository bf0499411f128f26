package maskstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// UploadOptions says how Upload stores an object. Its Size may be left 0: the source has one.
type UploadOptions struct {
	PutOptions
	// Journal records an upload in parts, so that the next call for the key goes on with it; nil: none, and what fails is
	// aborted.
	Journal Journal
}

// Source is content that can be read at any place, by several goroutines at a time, as that of *io.SectionReader,
// *bytes.Reader and *strings.Reader can. A ReadAt that blocks is waited for, even once the call's context has ended.
type Source interface {
	io.ReaderAt
	Size() int64
}

// Upload stores the source at key, all or nothing. Up to 16 MiB, and where the storage is no MultipartStorage, it is one
// Put. A larger one goes in parts, each bound to its SHA-256 and none of them held in memory; of the whole it gives the
// SHA-256 where opts have one, or a Journal. Where opts give a SHA-256, or the source changes meanwhile, what is not right
// fails with ErrChecksum. Servers keep the parts' SHA-256 alone, by which Get verifies: that of the whole is the caller's to
// record, and to give to Get.
//
// With a Journal an upload that fails, or whose process is killed, stays open, and the next call for the key goes on with
// it. That one reads the source anew, and sends what is not stored yet or differs, such as the parts that were under way
// beside one that failed, which that ends: the object is the source as the last call has read it, never a mix. Where the
// upload was complete, the object itself is read, and compared. A source of another size or content type begins anew; the
// upload before it is aborted. So is one that no further call could complete: its content is not the one that opts say, or
// a condition does not hold. AbortUpload and SweepUploads end what is not gone on with.
//
// Conditions are judged when all is sent: to skip what is there, Stat first. A single Put is not recorded: where its answer
// was lost, the next call with NoOverwrite gets ErrPreconditionFailed, over its own object.
//
// An upload that another ends before it has a part begins anew, once. So does one of which the server lost something as it
// completed it, unless the object is there: it is read, and compared.
//
// Of two calls for a key at a time, with one Journal, one may fail with ErrNotFound, or ErrInvalidArgument, since the other
// has ended the upload, or replaced a part.
func Upload(ctx context.Context, s ObjectStorage, key string, src Source, opts *UploadOptions) (ObjectInfo, error) {
	info, err := upload(ctx, s, key, src, *or(opts))
	return info, opError("Upload", key, nil, err)
}

// UploadFile is Upload of the file at name. DownloadFile is the way back.
func UploadFile(ctx context.Context, s ObjectStorage, key, name string, opts *UploadOptions) (ObjectInfo, error) {
	info, err := uploadFile(ctx, s, key, name, *or(opts))
	return info, opError("UploadFile", key, nil, err)
}

func uploadFile(ctx context.Context, s ObjectStorage, key, name string, o UploadOptions) (ObjectInfo, error) {
	if err := cmp.Or(ValidKey(key), o.check()); err != nil {
		return ObjectInfo{}, err
	}
	f, err := os.Open(name)
	if err != nil {
		return ObjectInfo{}, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return ObjectInfo{}, err
	}
	return upload(ctx, s, key, io.NewSectionReader(f, 0, stat.Size()), o)
}

func upload(ctx context.Context, s ObjectStorage, key string, src Source, o UploadOptions) (ObjectInfo, error) {
	err := cmp.Or(ValidKey(key), o.check())
	if err == nil && src == nil {
		err = inputError("src", "is nil", "a Source, if only an empty one")
	}
	if err != nil {
		return ObjectInfo{}, err
	}
	size := src.Size()
	if o.Size != 0 && o.Size != size {
		return ObjectInfo{}, &Error{Kind: ErrChecksum, Err: fmt.Errorf("the content has %d bytes, not %d", size, o.Size)}
	}
	o.Size = size
	m, ok := As[MultipartStorage](s)
	if !ok || size <= maxSinglePut {
		if ok && o.Journal != nil { // what is recorded is of another size
			if err := AbortUpload(ctx, s, o.Journal, key); err != nil && !errors.Is(err, ErrNotFound) {
				return ObjectInfo{}, err
			}
		}
		return s.Put(ctx, key, io.NewSectionReader(src, 0, size), &o.PutOptions)
	}
	o.ContentType = cmp.Or(o.ContentType, typeByName(key))
	up := &partsUpload{UploadOptions: o, storage: s, m: m, key: key, src: src}
	return up.run(ctx)
}

// partsUpload is an upload in parts, from its first call to its last.
type partsUpload struct {
	UploadOptions
	storage ObjectStorage
	m       MultipartStorage
	key     string
	src     Source
	record  UploadRecord // of the upload that is open
	isWrong bool         // the source is not the one that SHA256 says
	isEmpty bool         // no part of the upload that is open was stored
	isSent  bool         // its completion was asked for
}

func (u *partsUpload) run(ctx context.Context) (ObjectInfo, error) {
	stored, done, err := u.resume(ctx)
	if err != nil {
		return ObjectInfo{}, u.fail(ctx, err)
	}
	if done.Key == "" {
		maybeDone := !u.record.SHA256.IsZero() // by the run that has recorded it
		done, err = u.send(ctx, stored)
		done, err = u.settle(ctx, done, err, maybeDone)
		if (u.isEmpty || u.isSent) && errors.Is(err, ErrNotFound) || u.isSent && errors.Is(err, ErrInvalidArgument) {
			maybeDone = u.isSent
			done, err = u.sendAgain(ctx, err)
			done, err = u.settle(ctx, done, err, maybeDone)
		}
		if err != nil {
			return ObjectInfo{}, u.fail(ctx, err)
		}
	}
	if u.Journal == nil {
		return done, nil
	}
	ctx, cancel := outlasting(ctx)
	defer cancel()
	return done, u.Journal.Remove(ctx, u.key, u.record.UploadID)
}

// settle gives the object where send gave an error though the upload is complete: perhaps its own completion did it all the
// same, or another has. maybeDone tells that a completion before this one may have. Who may not read the object sends again.
func (u *partsUpload) settle(ctx context.Context, done ObjectInfo, err error, maybeDone bool) (ObjectInfo, error) {
	isGone := errors.Is(err, ErrNotFound) && (u.Journal != nil || u.isSent) || errors.Is(err, ErrInvalidArgument) && u.isSent
	if !isGone && !(maybeDone && errors.Is(err, ErrPreconditionFailed)) {
		return done, err
	}
	found, foundErr := u.find(ctx)
	switch {
	case foundErr != nil && !((u.isSent || u.isEmpty) && errors.Is(foundErr, ErrAccessDenied)):
		return ObjectInfo{}, foundErr
	case found.Key == "" || abortOpen(ctx, u.m, u.key, u.record.UploadID) != nil: // the upload may still be open
		return ObjectInfo{}, err
	}
	return found, nil
}

// resume gives the stored parts of the upload to go on with, or begins one. Where an earlier run has completed it, it
// gives the object.
func (u *partsUpload) resume(ctx context.Context) (stored map[int]Part, done ObjectInfo, err error) {
	r, err := u.load(ctx)
	if err != nil {
		return nil, done, err
	}
	if r.UploadID == "" || r.Size != u.Size || r.ContentType != u.ContentType {
		return nil, done, u.replace(ctx, &r)
	}
	u.record = r
	stored, err = storedParts(ctx, u.m, u.key, r.UploadID)
	if !errors.Is(err, ErrNotFound) {
		return stored, done, err
	}
	err = nil
	if !r.SHA256.IsZero() {
		done, err = u.find(ctx)
	}
	if err == nil && done.Key == "" {
		err = u.begin(ctx)
	}
	return nil, done, err
}

// storedParts gives the parts that are stored, by number.
func storedParts(ctx context.Context, m MultipartStorage, key, uploadID string) (map[int]Part, error) {
	stored := map[int]Part{}
	for part, err := range m.ListParts(ctx, key, uploadID) {
		if err != nil {
			return nil, deniedWithout("s3:ListMultipartUploadParts", err)
		}
		stored[part.PartNumber] = part
	}
	return stored, nil
}

// deniedWithout says in a denial which right the call takes.
func deniedWithout(right string, err error) error {
	if !errors.Is(err, ErrAccessDenied) {
		return err
	}
	return &Error{Kind: ErrAccessDenied, Err: fmt.Errorf("%w (it takes %s)", err, right)}
}

// load gives the key's record; none is the zero record.
func (u *partsUpload) load(ctx context.Context) (UploadRecord, error) {
	if u.Journal == nil {
		return UploadRecord{}, nil
	}
	return loadRecord(ctx, u.Journal, u.key)
}

// replace begins an upload in place of the one that r, unless it is zero, has recorded.
func (u *partsUpload) replace(ctx context.Context, r *UploadRecord) error {
	if r.Key != "" {
		if err := abortRecorded(ctx, u.m, r); err != nil {
			return err
		}
	}
	return u.begin(ctx)
}

// begin begins an upload. That it is about to is recorded first: whoever is killed before it knows the upload's ID leaves a
// trace.
func (u *partsUpload) begin(ctx context.Context) error {
	partSize, err := planParts(u.Size)
	if err != nil {
		return err
	}
	u.record = UploadRecord{
		Version: recordVersion, Key: u.key, PartSize: partSize, Size: u.Size, ContentType: u.ContentType,
		BegunAt: time.Now().UTC(),
	}
	if err := u.store(ctx); err != nil {
		return err
	}
	id, err := u.m.CreateMultipartUpload(ctx, u.key, &u.PutOptions)
	if err != nil {
		return err
	}
	u.record.UploadID = id
	if err := u.store(ctx); err != nil {
		return u.abort(ctx, err)
	}
	return nil
}

// store puts the record in the journal, also where ctx has just ended.
func (u *partsUpload) store(ctx context.Context) error {
	if u.Journal == nil {
		return nil
	}
	ctx, cancel := outlasting(ctx)
	defer cancel()
	return u.Journal.Store(ctx, u.record)
}

// send sends what is not stored yet, and completes the upload.
func (u *partsUpload) send(ctx context.Context, stored map[int]Part) (ObjectInfo, error) {
	var whole io.Writer = io.Discard // hashing costs half of the CPU time that sending does
	hash, sum := sha256.New(), SHA256{}
	if u.Journal != nil || !u.SHA256.IsZero() {
		whole = hash
	}
	parts, err := sendParts(ctx, u.m, &u.record, u.src, stored, whole)
	u.isEmpty = len(stored) == 0 && !slices.ContainsFunc(parts, func(p Part) bool { return p != Part{} })
	if err == nil && whole == hash {
		sum = SHA256(hash.Sum(nil))
		err = u.checkSum(sum)
	}
	if err != nil {
		return ObjectInfo{}, err
	}
	u.record.SHA256 = sum
	if err := u.store(ctx); err != nil {
		return ObjectInfo{}, err
	}
	u.isSent = true
	info, err := u.m.CompleteMultipartUpload(ctx, u.key, u.record.UploadID, parts, &u.PutOptions)
	if err == nil {
		info.SHA256 = sum
	}
	return info, err
}

// sendAgain sends all in an upload of its own, in place of one that is gone or cannot be completed: one that somebody ended
// before it had a part, as S3 does where it takes that one for what an attempt of its own has begun (abortLost), or of which
// the server lost something as it completed it: a MinIO that was killed then may take the parts again, and yet never
// complete it. An upload whose record is gone was ended on purpose.
func (u *partsUpload) sendAgain(ctx context.Context, gone error) (ObjectInfo, error) {
	if r, err := u.load(ctx); err != nil || u.Journal != nil && r.UploadID != u.record.UploadID {
		return ObjectInfo{}, cmp.Or(err, gone)
	}
	if err := u.replace(ctx, &u.record); err != nil {
		return ObjectInfo{}, err
	}
	return u.send(ctx, nil)
}

func (u *partsUpload) checkSum(sum SHA256) error {
	if u.SHA256.IsZero() || sum == u.SHA256 {
		return nil
	}
	u.isWrong = true
	return &Error{Kind: ErrChecksum, Err: fmt.Errorf("the content has SHA-256 %v, not %v", sum, u.SHA256)}
}

// find gives the object at the key, if its content is the source's.
func (u *partsUpload) find(ctx context.Context) (ObjectInfo, error) {
	info, err := u.storage.Stat(ctx, u.key)
	if errors.Is(err, ErrNotFound) || err == nil && info.Size != u.Size {
		return ObjectInfo{}, nil
	}
	if err != nil {
		return ObjectInfo{}, err
	}
	body := sectionBody(u.src, 0, u.Size)
	sum, err := body.hash(ctx)
	if err = cmp.Or(err, u.checkSum(sum)); err != nil {
		return ObjectInfo{}, err
	}
	obj, err := u.storage.Get(ctx, u.key, &GetOptions{SHA256: sum, IfMatch: info.ETag})
	if err != nil {
		return ObjectInfo{}, err
	}
	defer obj.Body.Close()
	_, err = io.Copy(io.Discard, obj.Body)
	if errors.Is(err, ErrChecksum) {
		return ObjectInfo{}, nil
	}
	info.SHA256 = sum
	return info, err
}

// fail ends what no further call could complete. Without a journal, that is all that fails. A part that arrived as another,
// since a bit flipped on its way or the source changed, can be sent again.
func (u *partsUpload) fail(ctx context.Context, err error) error {
	final := u.isWrong || errors.Is(err, ErrPreconditionFailed) || errors.Is(err, ErrNotFound)
	if u.record.UploadID == "" || u.Journal != nil && !final {
		return err
	}
	return u.abort(ctx, err)
}

// abort aborts the upload after err, and forgets it unless that fails too.
func (u *partsUpload) abort(ctx context.Context, err error) error {
	ctx, cancel := outlasting(ctx)
	defer cancel()
	abortErr := abortOpen(ctx, u.m, u.key, u.record.UploadID)
	if abortErr == nil && u.Journal != nil {
		u.Journal.Remove(ctx, u.key, u.record.UploadID) // should that fail, the next call finds that the upload has ended
	}
	return partsStay(err, u.record.UploadID, abortErr)
}
