package maskstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Journal keeps the records of uploads in parts that are open, one for each key, so that another process can go on with
// them or abort them. MinIO lists the uploads of a key that one knows, and no others: what is not recorded stays unseen.
//
// A Journal is for one bucket: swept against another, its uploads count as ended. Its methods are safe for concurrent use.
// DirJournal keeps it in a folder; a caller's own may keep records as their JSON.
type Journal interface {
	// Load gives the record of key. None is an error that is fs.ErrNotExist.
	Load(ctx context.Context, key string) (UploadRecord, error)
	// Store keeps the record in place of an older one of its key. Once it returns, the record outlasts a crash.
	Store(ctx context.Context, r UploadRecord) error
	// Remove forgets the record of key if it is of the upload with that ID, also where another process stores one of another
	// upload at the time: that stays. None is no error.
	Remove(ctx context.Context, key, uploadID string) error
	// Records yields all records, and goes on after those that it cannot read.
	Records(ctx context.Context) iter.Seq2[UploadRecord, error]
}

// UploadRecord is what a Journal keeps of an upload. It holds no credential: its UploadID is of use to none without one.
type UploadRecord struct {
	Version     int       `json:"version"` // of this layout: 1
	Key         string    `json:"key"`
	UploadID    string    `json:"upload_id,omitempty"` // empty: about to begin
	PartSize    int64     `json:"part_size"`           // in bytes, of all parts but the last
	Size        int64     `json:"size"`                // of the object, in bytes
	ContentType string    `json:"content_type"`
	SHA256      SHA256    `json:"sha256,omitzero"` // of the object, once all parts are stored: from then on it may be complete
	BegunAt     time.Time `json:"begun_at"`
}

const recordVersion = 1

// check refuses what Upload has not written for key.
func (r *UploadRecord) check(key string) error {
	problem := ""
	switch {
	case r.Version != recordVersion:
		problem = fmt.Sprintf("has version %d, not %d", r.Version, recordVersion)
	case r.Key != key || ValidKey(r.Key) != nil:
		problem = fmt.Sprintf("is of the key %q", r.Key)
	case r.PartSize < MinPartSize || r.PartSize > MaxPartSize || r.Size <= 0 || r.Size > r.PartSize*MaxPartNumber:
		problem = fmt.Sprintf("has %d bytes in parts of %d", r.Size, r.PartSize)
	default:
		return nil
	}
	return badRecord(key, errors.New("the record "+problem))
}

func badRecord(key string, err error) error {
	return &Error{Key: key, Kind: ErrInvalidJournal, Err: err}
}

// loadRecord gives the record of key; none is the zero record.
func loadRecord(ctx context.Context, j Journal, key string) (UploadRecord, error) {
	r, err := j.Load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return UploadRecord{}, nil
	}
	return r, cmp.Or(err, r.check(key))
}

// AbortUpload aborts the upload that the journal has recorded for key, so that its parts are deleted, and removes the
// record. No record is ErrNotFound; an upload that has ended already is no error.
func AbortUpload(ctx context.Context, s ObjectStorage, j Journal, key string) error {
	const op = "AbortUpload"
	m, err := multipartOf(s)
	if err := cmp.Or(ValidKey(key), err, checkJournal(j)); err != nil {
		return opError(op, key, nil, err)
	}
	r, err := loadRecord(ctx, j, key)
	switch {
	case err != nil:
		return opError(op, key, nil, err)
	case r.Key == "":
		return opError(op, key, ErrNotFound, errors.New("the journal has no record of it"))
	}
	return opError(op, key, nil, abortAndForget(ctx, m, j, &r))
}

// SweepUploads aborts the uploads that the journal has recorded, and which began longer ago than olderThan: longer than
// any upload takes, with all the calls that go on with it, since it cannot tell one that was given up from one that is still
// under way. It gives the keys of those that it has aborted, or found to have ended, and removes their records. Those that
// fail stay recorded, and KeyErrors gives an error for each whose record can be read.
func SweepUploads(ctx context.Context, s ObjectStorage, j Journal, olderThan time.Duration) (swept []string, err error) {
	const op = "SweepUploads"
	m, err := multipartOf(s)
	if olderThan < 0 {
		err = inputError("olderThan", fmt.Sprintf("%v is negative", olderThan), "a time, or 0 for all")
	}
	if err := cmp.Or(err, checkJournal(j)); err != nil {
		return nil, opError(op, "", nil, err)
	}
	var errs []error
	for r, err := range j.Records(ctx) {
		if err == nil {
			err = r.check(r.Key)
		}
		if err == nil && time.Since(r.BegunAt) < olderThan {
			continue
		}
		if err == nil {
			err = abortAndForget(ctx, m, j, &r)
		}
		if err == nil {
			swept = append(swept, r.Key)
		}
		errs = append(errs, opError(op, r.Key, nil, err))
	}
	return swept, errors.Join(errs...)
}

func abortAndForget(ctx context.Context, m MultipartStorage, j Journal, r *UploadRecord) error {
	if err := abortRecorded(ctx, m, r); err != nil {
		return err
	}
	return j.Remove(ctx, r.Key, r.UploadID)
}

func multipartOf(s ObjectStorage) (MultipartStorage, error) {
	m, ok := As[MultipartStorage](s)
	if !ok {
		return nil, &Error{Kind: ErrUnsupported, Err: errors.New("the storage takes no uploads in parts")}
	}
	return m, nil
}

func checkJournal(j Journal) error {
	if j == nil {
		return inputError("journal", "is nil", "the one that the uploads were given, such as DirJournal makes")
	}
	return nil
}

// longestBegin is more than CreateMultipartUpload takes with all its attempts.
const longestBegin = time.Hour

// abortRecorded aborts the upload of a record. One that was about to begin may have done so: it is then among the open
// ones of its key, and no older than the record by more than clocks may differ. One that began long after is another's.
func abortRecorded(ctx context.Context, m MultipartStorage, r *UploadRecord) error {
	if r.UploadID != "" {
		return abortOpen(ctx, m, r.Key, r.UploadID)
	}
	var open []MultipartUpload
	for up, err := range m.ListMultipartUploads(ctx, r.Key) {
		if err != nil {
			return deniedWithout("s3:ListBucketMultipartUploads", err)
		}
		if age := up.Initiated.Sub(r.BegunAt); up.Key == r.Key && -maxClockSkew <= age && age <= longestBegin {
			open = append(open, up)
		}
	}
	for _, up := range open {
		if err := abortOpen(ctx, m, up.Key, up.UploadID); err != nil {
			return err
		}
	}
	return nil
}

// abortOpen aborts an upload; one that is not open is no error.
func abortOpen(ctx context.Context, m MultipartStorage, key, uploadID string) error {
	if err := m.AbortMultipartUpload(ctx, key, uploadID); !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// DirJournal is a Journal in the folder dir, which it makes when it is needed: a JSON file for each upload, readable
// by its owner alone. Several processes may use it at a time. What one that was killed has left unfinished, Records removes
// a day later.
func DirJournal(dir string) Journal { return dirJournal(dir) }

type dirJournal string

// file is that of a key, which may be longer than a file's name.
func (d dirJournal) file(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(string(d), hex.EncodeToString(sum[:16])+".json")
}

func (d dirJournal) Load(_ context.Context, key string) (UploadRecord, error) {
	name := d.file(key)
	return d.read(name, name)
}

// read reads a record from the file at path, which is that of its key, or was, at name.
func (d dirJournal) read(path, name string) (r UploadRecord, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err = json.Unmarshal(data, &r); err == nil && d.file(r.Key) != name {
		err = fmt.Errorf("it is of the key %q, and not in the file of that", r.Key)
	}
	if err != nil {
		return UploadRecord{}, &Error{Kind: ErrInvalidJournal, Err: fmt.Errorf("%s: %w", name, err)}
	}
	return r, nil
}

func (d dirJournal) Store(_ context.Context, r UploadRecord) error {
	data, err := json.Marshal(r)
	if err == nil {
		err = os.MkdirAll(string(d), 0o700)
	}
	if err != nil {
		return err
	}
	err = replaceFile(d.file(r.Key), func(f *os.File) error {
		_, err := f.Write(append(data, '\n'))
		return cmp.Or(err, f.Sync())
	})
	return cmp.Or(err, d.sync())
}

// sync makes the names of files last, which on Windows they do by themselves.
func (d dirJournal) sync() error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func (d dirJournal) Remove(_ context.Context, key, uploadID string) error {
	if err := d.remove(d.file(key), uploadID); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// remove moves the file away and looks again whose the record is, as another process may store its own after the first look.
// What is another's goes back, unless a newer one is there by then.
func (d dirJournal) remove(name, uploadID string) error {
	if r, err := d.read(name, name); err != nil || r.UploadID != uploadID {
		return err
	}
	away := filepath.Join(string(d), tempPrefix+rand.Text())
	if err := os.Rename(name, away); err != nil {
		return err
	}
	r, err := d.read(away, name)
	if err == nil && r.UploadID == uploadID {
		return os.Remove(away)
	}
	if linkErr := os.Link(away, name); linkErr == nil || errors.Is(linkErr, fs.ErrExist) {
		return cmp.Or(err, os.Remove(away))
	}
	return cmp.Or(err, os.Rename(away, name)) // the file system has no links
}

// tempAge is from when on a file that was not finished is one of a process that was killed.
const tempAge = 24 * time.Hour

func (d dirJournal) Records(ctx context.Context) iter.Seq2[UploadRecord, error] {
	return func(yield func(UploadRecord, error) bool) {
		entries, err := os.ReadDir(string(d))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			yield(UploadRecord{}, err)
			return
		}
		for _, entry := range entries {
			if err := ctx.Err(); err != nil {
				yield(UploadRecord{}, err)
				return
			}
			name := filepath.Join(string(d), entry.Name())
			if strings.HasPrefix(entry.Name(), tempPrefix) {
				if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > tempAge {
					os.Remove(name)
				}
			}
			if !strings.HasSuffix(entry.Name(), ".json") {
				continue
			}
			r, err := d.read(name, name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if !yield(r, err) {
				return
			}
		}
	}
}
