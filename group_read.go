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

// Manifest gives the committed revision. It costs a GET.
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
		url.Header.Set("If-Match", `"`+mask.ETag+`"`)
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
// ahead, as many as the group's concurrency. All are of one revision; where one was replaced meanwhile, the last yield
// is ErrReplaced.
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
				data, err := g.readMask(ctx, masks[i])
				ahead[i] = MaskData{masks[i], data}
				return err
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

func (g *Group) readMask(ctx context.Context, m Mask) ([]byte, error) {
	body, err := g.openMask(ctx, m)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// openMask opens the mask as the manifest names it; its reader gives ErrChecksum in place of io.EOF for anything else.
func (g *Group) openMask(ctx context.Context, m Mask) (io.ReadCloser, error) {
	obj, err := g.storage.Get(ctx, m.Key, &GetOptions{IfMatch: m.ETag, SHA256: m.SHA256})
	switch {
	case errors.Is(err, ErrPreconditionFailed) || errors.Is(err, ErrNotFound):
		return nil, &Error{Key: m.Key, Kind: ErrReplaced, Err: err}
	case err != nil:
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{newVerifier(obj.Body, m.Size, SHA256{}), obj.Body}, nil // Get verifies the SHA-256
}

// Download writes the masks of the committed revision as files NNNN_label.png, and metadata.json, to the folder dir, which
// must not exist or be empty. Where a mask is replaced meanwhile, it starts over with the new revision. It
// writes beside dir first and renames at the end: dir gets the one whole revision, or nothing. So dir can be neither "." nor
// a symbolic link.
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
	body, err := g.openMask(ctx, m)
	if err != nil {
		return err
	}
	defer body.Close()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666) // labels may differ in case alone
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}
