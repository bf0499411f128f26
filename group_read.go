package maskstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Manifest gives the committed revision. It costs a GET, and one more where that comes damaged or breaks off.
//
// Errors: ErrNotFound, ErrDeleted, ErrIncomplete where nothing was committed yet.
func (g *Group) Manifest(ctx context.Context) (*Manifest, error) {
	doc, err := g.committed(ctx)
	if err != nil {
		return nil, g.failed("Manifest", err)
	}
	return &doc.Manifest, nil
}

func (g *Group) committed(ctx context.Context) (*document, error) {
	doc, _, err := g.load(ctx)
	switch {
	case err != nil:
		return nil, err
	case doc.isTombstone():
		return nil, &Error{Kind: ErrDeleted}
	case doc.Revision == 0:
		return nil, &Error{Kind: ErrIncomplete, Err: errors.New("no upload of the group was completed yet")}
	}
	return doc, nil
}

// DownloadURLsOptions says how download URLs are made.
type DownloadURLsOptions struct {
	TTL time.Duration // 0: the storage's default
}

// DownloadURLs gives the committed revision and a URL to get each of its masks from. Each URL's Header holds If-Match,
// which pins the GET to the revision: the server answers 412 when the mask was replaced. It is not signed, so the plain
// URL works too, in an <img> for instance, and is then not pinned.
//
// Errors: those of Manifest.
func (g *Group) DownloadURLs(ctx context.Context, opts *DownloadURLsOptions) (*Manifest, []MaskURL, error) {
	o := or(opts)
	doc, err := g.committed(ctx)
	if err != nil {
		return nil, nil, g.failed("DownloadURLs", err)
	}
	urls := make([]MaskURL, len(doc.Masks))
	for i, mask := range doc.Masks {
		url, err := g.storage.DownloadURL(ctx, mask.Key, &DownloadURLOptions{TTL: o.TTL})
		if err != nil {
			return nil, nil, g.failed("DownloadURLs", err)
		}
		if url.Header = url.Header.Clone(); url.Header == nil {
			url.Header = make(http.Header)
		}
		url.Header.Set("If-Match", quoteETag(mask.ETag))
		urls[i] = MaskURL{Mask: mask, URL: url}
	}
	return &doc.Manifest, urls, nil
}

// MaskData is a mask with its content.
type MaskData struct {
	Mask
	Data []byte
}

// Masks yields the masks of the committed revision with their content, verified, in the order of their keys. It reads some
// ahead, as many as the group's concurrency, and gets one that came damaged or broke off once more. All are of one
// revision; where one was replaced meanwhile, the last yield is ErrReplaced.
//
// ErrReplaced passes where an upload is under way, and commits. Else something has deleted or overwritten a mask behind the
// manifest's back, or an upload was left half-way, and whoever has the masks repairs it: Upload, given all of them, puts
// those that are not there as committed. By signed URLs it takes Begin, Renew, a PUT of each mask that Renew gives a URL
// for, and Complete: Begin alone takes the manifest's word for what lies there.
//
// Errors: those of Manifest, ErrReplaced, ErrChecksum.
func (g *Group) Masks(ctx context.Context) iter.Seq2[MaskData, error] {
	return func(yield func(MaskData, error) bool) {
		doc, err := g.committed(ctx)
		if err != nil {
			yield(MaskData{}, g.failed("Masks", err))
			return
		}
		ahead := make([]MaskData, cmp.Or(g.concurrency, DefaultConcurrency))
		for masks := doc.Masks; len(masks) > 0; {
			n := min(len(masks), len(ahead))
			err := forEach(ctx, "", n, g.concurrency, false, func(ctx context.Context, i int) error {
				ahead[i] = MaskData{Mask: masks[i]}
				return g.readMask(ctx, masks[i], func(r io.Reader) (err error) {
					ahead[i].Data, err = io.ReadAll(r)
					return err
				})
			})
			if err != nil {
				yield(MaskData{}, g.failed("Masks", err))
				return
			}
			for _, mask := range ahead[:n] {
				if !yield(mask, nil) {
					return
				}
			}
			masks = masks[n:]
		}
	}
}

// readMask is read of the mask as the manifest names it; the reader gives ErrChecksum in place of io.EOF for anything else.
func (g *Group) readMask(ctx context.Context, m Mask, use func(io.Reader) error) error {
	err := g.read(ctx, m.Key, &GetOptions{IfMatch: m.ETag, SHA256: m.SHA256}, func(obj *Object) error {
		return use(newVerifier(obj.Body, m.Size, SHA256{})) // Get verifies the SHA-256
	})
	if errors.Is(err, ErrPreconditionFailed) || errors.Is(err, ErrNotFound) {
		return &Error{Key: m.Key, Kind: ErrReplaced, Err: err}
	}
	return err
}

// read gives use the object. Where its body breaks off or comes damaged, use gets it once more: all that use keeps of it is
// still the library's own.
func (g *Group) read(ctx context.Context, key string, o *GetOptions, use func(*Object) error) error {
	for again := true; ; again = false {
		obj, err := g.storage.Get(ctx, key, o)
		if err != nil {
			return err
		}
		err = use(obj)
		obj.Body.Close()
		if !again || !errors.Is(err, ErrChecksum) && !errors.Is(err, ErrUnavailable) {
			return err
		}
	}
}

// Download writes the masks of the committed revision as files NNNN_label.png, and metadata.json, to the folder dir, which
// must not exist or be empty. A mask that came damaged or broke off it gets once more; where one is replaced meanwhile, it
// starts over with the new revision. It writes beside dir first and renames at the end: dir gets the one whole revision, or
// nothing. So dir can be neither "." nor a symbolic link.
//
// Errors: those of Manifest; ErrReplaced where a mask is not the manifest's and there is no newer revision; ErrChecksum;
// those of the file system.
func (g *Group) Download(ctx context.Context, dir string) (*Manifest, error) {
	if err := checkEmpty(dir); err != nil {
		return nil, g.failed("Download", err)
	}
	doc, err := g.committed(ctx)
	for err == nil {
		if err = g.download(ctx, doc, dir); err == nil {
			return &doc.Manifest, nil
		}
		if !errors.Is(err, ErrReplaced) {
			break
		}
		newer, readErr := g.committed(ctx)
		if readErr == nil && newer.UploadID == doc.UploadID {
			break
		}
		doc, err = newer, readErr
	}
	return nil, g.failed("Download", err)
}

// checkEmpty refuses what cannot be replaced by a folder, or should not be.
func checkEmpty(dir string) error {
	dir = filepath.Clean(dir)
	if base := filepath.Base(dir); base == "." || base == ".." {
		return inputError("dir", fmt.Sprintf("%q cannot be replaced", dir), "a folder by its name")
	}
	info, err := os.Lstat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode()&os.ModeSymlink != 0 {
		return inputError("dir", fmt.Sprintf("%q is a symbolic link", dir), "the folder itself")
	}
	entries, err := os.ReadDir(dir)
	switch {
	case err != nil:
		return err
	case len(entries) > 0:
		return inputError("dir", fmt.Sprintf("%q is not empty", dir), "a new or an empty folder")
	}
	return nil
}

// download writes the committed revision of doc to a new folder, and renames that to dir.
func (g *Group) download(ctx context.Context, doc *document, dir string) error {
	dir = filepath.Clean(dir)
	tmp := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+"-"+rand.Text())
	if err := os.MkdirAll(tmp, 0o777); err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	err := forEach(ctx, "", len(doc.Masks), g.concurrency, false, func(ctx context.Context, i int) error {
		m := doc.Masks[i]
		return g.downloadMask(ctx, m, filepath.Join(tmp, maskName(m.Slice, m.Label)))
	})
	if err != nil {
		return err
	}
	data, err := (&document{Manifest: doc.Manifest, extra: doc.extra}).encode()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, metadataName), data, 0o666); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Rename(tmp, dir)
}

func (g *Group) downloadMask(ctx context.Context, m Mask, name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666) // labels may differ in case alone
	if err != nil {
		return err
	}
	err = g.readMask(ctx, m, func(r io.Reader) error {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(f, r)
		return err
	})
	return errors.Join(err, f.Close())
}
