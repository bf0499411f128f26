package maskstore

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// CompleteOptions says what Complete proves beyond that each mask is the one declared.
type CompleteOptions struct {
	// VerifyPNG: that each is a PNG, of Metadata's width and height where set, whole and with nothing after its end; of one
	// over 64 KiB its header alone. It costs a GET per mask. Nothing is decoded.
	VerifyPNG     bool
	VerifyContent bool  // VerifyPNG, whatever the size, and each mask's SHA-256: reads all masks
	MaxPixels     int64 // what a PNG may declare at most; 0: DefaultMaxPixels
}

// Completion is what Complete found.
type Completion struct {
	Manifest   *Manifest // the committed revision; nil where nothing was committed
	Verdicts   []Verdict // one for each mask of the revision
	Unexpected []string  // keys of other objects in the group; they stay
}

// Verdict says of one mask whether it is there as declared.
type Verdict struct {
	Key     string  `json:"key"`
	Slice   int     `json:"slice"`
	Label   string  `json:"label"`
	Problem Problem `json:"problem,omitempty"` // empty: none
	Detail  string  `json:"detail,omitempty"`
}

// Problem is what can be wrong with a mask.
type Problem string

// The problems of a mask.
const (
	ProblemMissing       Problem = "missing"         // not put yet; what lies there, if anything, lay there before
	ProblemWrongSize     Problem = "wrong_size"      // put, with another size than declared
	ProblemWrongHash     Problem = "wrong_hash"      // put, with another SHA-256 than declared
	ProblemNotThisUpload Problem = "not_this_upload" // put, but nothing shows that it was this upload that did
	// ProblemNotPNG: no PNG, or not of the declared width and height. What was put is what was declared, so Renew gives
	// no URL for it; Begin again does.
	ProblemNotPNG  Problem = "not_png"
	ProblemBadName Problem = "bad_name" // a .png that Adopt found, whose name is no mask's: its label is in NFD, for instance
)

// Complete verifies that every mask of the upload is there, and makes it the committed revision. An empty uploadID
// means the open upload.
//
// etags are, by key, those that the client got for its PUTs. A nil map means that the client reports none: then a mask
// for which no SHA-256 was declared counts as put when it has the declared size and something was put since
// Begin, be it by another client whose upload this one has superseded. From a client that reports, Complete wants a report
// for each mask without a SHA-256.
//
// Where masks are not there as declared the error is ErrIncomplete, the Completion beside it says which, and the upload
// stays open. The upload last committed, completed again, gets the same answer. It costs a GET, a LIST per 1000 objects
// and a PUT, and a Stat for each mask that only its SHA-256 can tell.
//
// Errors: ErrIncomplete, ErrNotFound, ErrDeleted, ErrSuperseded.
func (g *Group) Complete(
	ctx context.Context, uploadID string, etags map[string]string, opts *CompleteOptions,
) (*Completion, error) {
	o := or(opts)
	var done *Completion
	doc, err := g.update(ctx, func(ctx context.Context) (*document, string, error) {
		doc, etag, err := g.loadOpen(ctx, &uploadID)
		if err != nil {
			return nil, "", err
		}
		if doc.Pending == nil {
			done = completionOf(&doc.Manifest)
			return nil, "", nil
		}
		there, err := g.list(ctx)
		if err != nil {
			return nil, "", err
		}
		verdicts, err := g.prove(ctx, doc.Pending, there, etags)
		if err != nil {
			return nil, "", err
		}
		done, err = g.settle(ctx, doc, there, verdicts, o)
		return doc, etag, err
	})
	switch {
	case err == nil && doc != nil:
		done.Manifest = &doc.Manifest
	case err != nil && !errors.Is(err, ErrIncomplete):
		done = nil
	}
	return done, g.failed("Complete", err)
}

// settle commits doc's pending upload in memory, where its masks are all proven and what o asks for holds as well.
func (g *Group) settle(
	ctx context.Context, doc *document, there map[string]ObjectInfo, verdicts []Verdict, o *CompleteOptions,
) (*Completion, error) {
	p := doc.Pending
	if o.VerifyPNG || o.VerifyContent {
		if err := g.verify(ctx, p.Masks, verdicts, cmp.Or(p.Metadata, &doc.Metadata), o); err != nil {
			return nil, err
		}
	}
	for _, m := range p.Masks {
		delete(there, m.Key)
	}
	var unexpected []UnexpectedObject
	for key, info := range there {
		unexpected = append(unexpected, UnexpectedObject{key, info.ETag})
	}
	slices.SortFunc(unexpected, func(a, b UnexpectedObject) int { return strings.Compare(a.Key, b.Key) })
	done := &Completion{Verdicts: verdicts, Unexpected: keysOf(unexpected)}
	if err := incomplete(verdicts); err != nil {
		return done, err
	}
	masks := slices.SortedFunc(slices.Values(p.Masks), compareKeys)
	done.Verdicts = noProblems(masks) // in the order of a later answer
	doc.commit(masks, unexpected, g.now().UTC())
	return done, nil
}

// stillHolds tells whether another listing of the group shows what was listed before, and nothing else.
func (g *Group) stillHolds(ctx context.Context, listed map[string]ObjectInfo) (bool, error) {
	there, err := g.list(ctx)
	return maps.EqualFunc(there, listed, func(a, b ObjectInfo) bool { return a.ETag == b.ETag && a.Size == b.Size }), err
}

// completionOf is the answer for a revision that is committed already.
func completionOf(m *Manifest) *Completion {
	return &Completion{Manifest: m, Verdicts: noProblems(m.Masks), Unexpected: keysOf(m.Unexpected)}
}

func noProblems(masks []Mask) []Verdict {
	verdicts := make([]Verdict, len(masks))
	for i, m := range masks {
		verdicts[i] = Verdict{Key: m.Key, Slice: m.Slice, Label: m.Label}
	}
	return verdicts
}

func keysOf(objects []UnexpectedObject) []string {
	var keys []string
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return keys
}

// incomplete is ErrIncomplete where a verdict is bad.
func incomplete(verdicts []Verdict) error {
	bad := slices.DeleteFunc(slices.Clone(verdicts), func(v Verdict) bool { return v.Problem == "" })
	if len(bad) == 0 {
		return nil
	}
	return &Error{Kind: ErrIncomplete, Err: fmt.Errorf("%d of %d masks are not there as declared; the first, %q: %s",
		len(bad), len(verdicts), bad[0].Key, bad[0].Problem)}
}

// prove gives a verdict for each mask of the upload, by what lies there and the ETags that the client reports, and
// sets the ETag of each that is proven, of no other.
func (g *Group) prove(
	ctx context.Context, p *pending, there map[string]ObjectInfo, etags map[string]string,
) ([]Verdict, error) {
	verdicts := noProblems(p.Masks)
	err := forEach(ctx, "", len(p.Masks), g.concurrency, false, func(ctx context.Context, i int) error {
		m := &p.Masks[i]
		etag, problem, err := g.proveOne(ctx, *m, p.Base, there, etags)
		if err != nil {
			return err
		}
		verdicts[i].Problem, m.ETag = problem, etag
		return nil
	})
	return verdicts, err
}

// proveOne gives the ETag by which m is proven to lie at its key, or its problem. An ETag that is equal proves; one that
// is not disproves nothing, and times prove nothing.
func (g *Group) proveOne(
	ctx context.Context, m Mask, base map[string]string, there map[string]ObjectInfo, etags map[string]string,
) (string, Problem, error) {
	info, ok := there[m.Key]
	old, existed := base[m.Key]
	isOld := existed && info.ETag == old
	problem := func(p Problem) (string, Problem, error) {
		if isOld {
			p = ProblemMissing
		}
		return "", p, nil
	}
	switch reported := strings.Trim(etags[m.Key], `"`); {
	case !ok:
		return problem(ProblemMissing)
	case info.Size != m.Size:
		return problem(ProblemWrongSize)
	case info.ETag == m.ETag || info.ETag == reported && (!isOld || m.SHA256.IsZero()):
		return info.ETag, "", nil
	case !m.SHA256.IsZero():
		etag, sum, err := g.checksum(ctx, m.Key)
		if errors.Is(err, ErrNotFound) {
			return problem(ProblemMissing)
		}
		if err != nil {
			return "", "", err
		}
		if sum != m.SHA256 {
			return problem(ProblemWrongHash)
		}
		return etag, "", nil
	case etags == nil && !isOld && m.ETag == "": // one that lay there already is only proven by its ETag
		return info.ETag, "", nil
	default:
		return problem(ProblemNotThisUpload)
	}
}

// checksum gives an object's SHA-256, as the server keeps it or, where it keeps none, by reading the object.
func (g *Group) checksum(ctx context.Context, key string) (etag string, sum SHA256, err error) {
	info, err := g.storage.Stat(ctx, key)
	if err != nil || !info.SHA256.IsZero() {
		return info.ETag, info.SHA256, err
	}
	obj, err := g.storage.Get(ctx, key, nil)
	if err != nil {
		return "", SHA256{}, err
	}
	defer obj.Body.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, obj.Body)
	return obj.ETag, SHA256(hash.Sum(nil)), err
}

// smallMask is up to which size a mask is read whole when only its head was asked for: that costs no more.
const smallMask = 64 << 10

// verify reads the masks that have no problem yet, or their heads, and sets the SHA-256 that nobody declared.
func (g *Group) verify(ctx context.Context, masks []Mask, verdicts []Verdict, metadata *Metadata, o *CompleteOptions) error {
	return forEach(ctx, "", len(masks), g.concurrency, false, func(ctx context.Context, i int) error {
		m, v := &masks[i], &verdicts[i]
		if v.Problem != "" {
			return nil
		}
		get, read := &GetOptions{IfMatch: m.ETag}, readPNG
		whole := o.VerifyContent || m.Size <= smallMask
		if !whole {
			get.Length, read = int64(pngHeaderEnd), ReadPNGHeader
		}
		obj, err := g.storage.Get(ctx, m.Key, get)
		if errors.Is(err, ErrPreconditionFailed) || errors.Is(err, ErrNotFound) {
			v.Problem = ProblemNotThisUpload
			return nil
		}
		if err != nil {
			return err
		}
		defer obj.Body.Close()
		hash := sha256.New()
		body := bufio.NewReader(io.TeeReader(obj.Body, hash))
		header, err := read(body, o.MaxPixels)
		if whole && (err == nil || errors.Is(err, ErrNotPNG)) {
			// A mask that is not what was declared is that first, whatever it is.
			if _, readErr := io.Copy(io.Discard, body); readErr != nil {
				err = readErr
			} else if sum := SHA256(hash.Sum(nil)); !m.SHA256.IsZero() && sum != m.SHA256 {
				err = &Error{Kind: ErrChecksum}
			} else if o.VerifyContent && err == nil {
				m.SHA256 = sum
			}
		}
		var notPNG *Error
		switch {
		case errors.Is(err, ErrChecksum):
			v.Problem = ProblemWrongHash
		case errors.Is(err, ErrNotPNG) && errors.As(err, &notPNG):
			v.Problem, v.Detail = ProblemNotPNG, fmt.Sprint(notPNG.Err)
		case err != nil:
			return err
		case metadata.Width > 0 && (header.Width != metadata.Width || header.Height != metadata.Height):
			v.Problem = ProblemNotPNG
			v.Detail = fmt.Sprintf("it is %d × %d, not %d × %d", header.Width, header.Height, metadata.Width, metadata.Height)
		}
		return nil
	})
}

// AdoptOptions says how a group is adopted.
type AdoptOptions struct {
	Creator   string    // at most 256 bytes
	Metadata  *Metadata // nil: none
	MaxPixels int64     // what a PNG may have at most; 0: DefaultMaxPixels
}

// Adopt makes a manifest for masks that came without one, such as by a copy tool: it lists the group, reads each
// mask whole, lists it again, and commits what it found as the first revision. What does not end in .png, and hidden files,
// are reported as unexpected.
//
// Errors: ErrPreconditionFailed where the group has a manifest, ErrDeleted, ErrNotFound where it holds no mask,
// ErrIncomplete, with the verdicts, where one is no PNG, or a .png has no mask's name, ErrUnavailable where the listings
// differ; then nothing is committed.
func (g *Group) Adopt(ctx context.Context, opts *AdoptOptions) (*Completion, error) {
	o := or(opts)
	var done *Completion
	if err := checkAbout(o.Creator, o.Metadata); err != nil {
		return nil, g.failed("Adopt", err)
	}
	uploadID := rand.Text()
	doc, err := g.update(ctx, func(ctx context.Context) (*document, string, error) {
		doc, etag, err := g.load(ctx)
		switch {
		case errors.Is(err, ErrNotFound):
			doc = g.newDocument()
		case err != nil:
			return nil, "", err
		default:
			if err := g.mayBegin(doc, etag, &BeginOptions{NoOverwrite: true}); err != nil {
				return nil, "", err
			}
			doc = &document{Manifest: g.newDocument().Manifest, URLsUntil: doc.URLsUntil}
		}
		there, err := g.list(ctx)
		if err != nil {
			return nil, "", err
		}
		listed := maps.Clone(there)
		doc.Pending = &pending{UploadID: uploadID, Revision: 1, Creator: o.Creator, BegunAt: g.now().UTC(), Metadata: o.Metadata}
		var misnamed []Verdict
		for key, info := range there {
			k, err := ParseMaskKey(key)
			switch {
			case err == nil:
				m := Mask{Key: key, Slice: k.Slice, Label: k.Label, Size: info.Size, ETag: info.ETag}
				doc.Pending.Masks = append(doc.Pending.Masks, m)
			case strings.EqualFold(path.Ext(key), maskSuffix) && path.Base(key)[0] != '.':
				misnamed = append(misnamed, Verdict{Key: key, Problem: ProblemBadName, Detail: fmt.Sprint(err.(*Error).Err)})
				delete(there, key)
			}
		}
		slices.SortFunc(doc.Pending.Masks, compareKeys)
		slices.SortFunc(misnamed, func(a, b Verdict) int { return strings.Compare(a.Key, b.Key) })
		verdicts := append(noProblems(doc.Pending.Masks), misnamed...)
		if len(verdicts) == 0 {
			return nil, "", &Error{Kind: ErrNotFound, Err: errors.New("the group holds no mask")}
		}
		done, err = g.settle(ctx, doc, there, verdicts, &CompleteOptions{VerifyContent: true, MaxPixels: o.MaxPixels})
		if err != nil {
			return nil, "", err
		}
		same, err := g.stillHolds(ctx, listed)
		if err == nil && !same {
			err = &Error{Kind: ErrUnavailable, Err: errors.New("two listings of the group differ; try again when nobody writes there")}
		}
		return doc, etag, err
	})
	switch {
	case err == nil:
		done.Manifest = &doc.Manifest
	case !errors.Is(err, ErrIncomplete):
		done = nil
	}
	return done, g.failed("Adopt", err)
}
