package maskstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/pacs-extension/maskstore"
)

// server is a storage and what answers its signed URLs.
type server interface {
	maskstore.ObjectStorage
	serve(w http.ResponseWriter, r *http.Request)
	tagOf(key string) string // "" for what is not there
}

type plainServer struct{ *maskstore.Memory }

func (s *plainServer) serve(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(w, r) }

func (s *plainServer) tagOf(key string) string {
	info, _ := s.Stat(context.Background(), key)
	return info.ETag
}

// opaqueServer is a Memory whose ETags are not MD5s: those of a content with a salt, or unique to each write, as with
// encryption by AWS's key service.
type opaqueServer struct {
	*maskstore.Memory
	unique bool
	writes int
	tags   map[string]string // by key
	inner  map[string]string // the Memory's, by ours
	signed map[string]string // what a URL is conditional on
}

func newOpaque(unique bool) *opaqueServer {
	return &opaqueServer{newMemory(), unique, 0, make(map[string]string), make(map[string]string), make(map[string]string)}
}

func (s *opaqueServer) tagOf(key string) string { return s.tags[key] }

// wrote gives what was written its ETag.
func (s *opaqueServer) wrote(info *maskstore.ObjectInfo) {
	s.writes++
	sum := sha256.Sum256([]byte("salt" + info.ETag))
	tag := hex.EncodeToString(sum[:8])
	if s.unique {
		tag = fmt.Sprintf("write-%d", s.writes)
	}
	s.tags[info.Key], s.inner[tag] = tag, info.ETag
	info.ETag = tag
}

var errTag = fmt.Errorf("the object has another ETag: %w", maskstore.ErrPreconditionFailed)

func (s *opaqueServer) Put(
	ctx context.Context, key string, body io.Reader, opts *maskstore.PutOptions,
) (maskstore.ObjectInfo, error) {
	o := *opts
	if o.IfMatch != "" {
		if s.tags[key] != o.IfMatch {
			return maskstore.ObjectInfo{}, errTag
		}
		o.IfMatch = s.inner[o.IfMatch]
	}
	info, err := s.Memory.Put(ctx, key, body, &o)
	if err == nil {
		s.wrote(&info)
	}
	return info, err
}

func (s *opaqueServer) Get(ctx context.Context, key string, opts *maskstore.GetOptions) (*maskstore.Object, error) {
	o := maskstore.GetOptions{}
	if opts != nil {
		o = *opts
	}
	if o.IfMatch != "" && s.tags[key] != "" {
		if s.tags[key] != o.IfMatch {
			return nil, errTag
		}
		o.IfMatch = s.inner[o.IfMatch]
	}
	obj, err := s.Memory.Get(ctx, key, &o)
	if err == nil {
		obj.ETag = s.tags[key]
	}
	return obj, err
}

func (s *opaqueServer) Stat(ctx context.Context, key string) (maskstore.ObjectInfo, error) {
	info, err := s.Memory.Stat(ctx, key)
	info.ETag = s.tags[key]
	return info, err
}

func (s *opaqueServer) Delete(ctx context.Context, keys ...string) error {
	err := s.Memory.Delete(ctx, keys...)
	if err == nil {
		for _, key := range keys {
			delete(s.tags, key)
		}
	}
	return err
}

func (s *opaqueServer) List(
	ctx context.Context, prefix string, opts *maskstore.ListOptions,
) iter.Seq2[maskstore.ObjectInfo, error] {
	return func(yield func(maskstore.ObjectInfo, error) bool) {
		for info, err := range s.Memory.List(ctx, prefix, opts) {
			if info.ETag = s.tags[info.Key]; !yield(info, err) {
				return
			}
		}
	}
}

func (s *opaqueServer) UploadURL(
	ctx context.Context, key string, opts *maskstore.UploadURLOptions,
) (maskstore.SignedURL, error) {
	o := *opts
	o.IfMatch = s.inner[o.IfMatch]
	url, err := s.Memory.UploadURL(ctx, key, &o)
	s.signed[url.URL] = opts.IfMatch
	return url, err
}

func (s *opaqueServer) serve(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(r.URL.Path, "/masks/")
	if r.Method == http.MethodGet {
		if tag := strings.Trim(r.Header.Get("If-Match"), `"`); tag != "" {
			r.Header.Set("If-Match", `"`+s.inner[tag]+`"`)
			if s.tags[key] != tag {
				r.Header.Set("If-Match", `"none"`)
			}
		}
		s.ServeHTTP(w, r)
		return
	}
	body := &lastLook{ReadCloser: r.Body, other: func() bool {
		tag := s.signed[r.URL.String()]
		return tag != "" && s.tags[key] != "" && s.tags[key] != tag
	}}
	r.Body = body
	answer := httptest.NewRecorder()
	s.ServeHTTP(answer, r)
	switch {
	case body.failed:
		answer.Code = http.StatusPreconditionFailed
	case answer.Code == http.StatusOK:
		info := maskstore.ObjectInfo{Key: key, ETag: strings.Trim(answer.Header().Get("ETag"), `"`)}
		s.wrote(&info)
		w.Header().Set("ETag", `"`+info.ETag+`"`)
	}
	w.WriteHeader(answer.Code)
}

// lastLook is a body that breaks off at its end where another ETag is there by then than the request wants.
type lastLook struct {
	io.ReadCloser
	other  func() bool
	failed bool
}

func (b *lastLook) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.other() {
		b.failed = true
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// stops is the storage as one actor has it: it stops at each call. It has no Unwrap, and As finds no capability in it.
type stops struct{ a *actor }

func (stops) As(any) bool { return false }

func (s stops) UploadURL(ctx context.Context, key string, opts *maskstore.UploadURLOptions) (maskstore.SignedURL, error) {
	url, err := s.a.w.server.UploadURL(ctx, key, opts)
	s.a.signed = append(s.a.signed, &givenURL{
		SignedURL: url, key: key, writeCondition: writeCondition{opts.IfMatch, opts.NoOverwrite},
	})
	return url, err
}

func (s stops) DownloadURL(
	ctx context.Context, key string, opts *maskstore.DownloadURLOptions,
) (maskstore.SignedURL, error) {
	return s.a.w.server.DownloadURL(ctx, key, opts)
}

func (s stops) Put(
	ctx context.Context, key string, body io.Reader, opts *maskstore.PutOptions,
) (maskstore.ObjectInfo, error) {
	a := s.a
	data, err := io.ReadAll(body)
	if err != nil {
		return maskstore.ObjectInfo{}, err
	}
	var info maskstore.ObjectInfo
	writer, condition := a.writer(), writeCondition{opts.IfMatch, opts.NoOverwrite}
	c := call{op: "Put", key: key, isPut: condition != writeCondition{}, isWrite: true}
	answered, err := a.do(ctx, c, func(ctx context.Context) (err error) {
		before := a.w.ledger.at(key)
		info, err = a.w.server.Put(ctx, key, bytes.NewReader(data), opts)
		if err == nil {
			a.w.wrote(writer, before, key, info.ETag, data, condition)
		}
		return err
	})
	if answered {
		a.saw("put", kindOf(err), a.w.version(key))
	}
	return info, err
}

func (s stops) Get(ctx context.Context, key string, opts *maskstore.GetOptions) (obj *maskstore.Object, err error) {
	answered, err := s.a.do(ctx, call{op: "Get", key: key}, func(ctx context.Context) (err error) {
		obj, err = s.a.w.server.Get(ctx, key, opts)
		return err
	})
	if answered {
		s.a.saw("get", kindOf(err), s.a.w.version(key))
	}
	if err != nil {
		obj = nil
	}
	return obj, err
}

func (s stops) Stat(ctx context.Context, key string) (info maskstore.ObjectInfo, err error) {
	answered, err := s.a.do(ctx, call{op: "Stat", key: key}, func(ctx context.Context) (err error) {
		info, err = s.a.w.server.Stat(ctx, key)
		return err
	})
	if answered {
		s.a.saw("stat", kindOf(err), s.a.w.version(key))
	}
	return info, err
}

func (s stops) Delete(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	a := s.a
	c := call{op: "Delete", key: strings.Join(keys, " "), isWrite: true}
	answered, err := a.do(ctx, c, func(ctx context.Context) error {
		var rules []error
		for _, key := range keys {
			rules = append(rules, a.w.ledger.judgeDelete(a, key))
		}
		err := a.w.server.Delete(ctx, keys...)
		if err == nil {
			for i, key := range keys {
				a.w.deleted(key, rules[i])
			}
		}
		return err
	})
	if answered {
		a.saw("delete", kindOf(err))
	}
	return err
}

func (s stops) List(ctx context.Context, prefix string, opts *maskstore.ListOptions) iter.Seq2[maskstore.ObjectInfo, error] {
	return func(yield func(maskstore.ObjectInfo, error) bool) {
		var all []maskstore.ObjectInfo
		answered, err := s.a.do(ctx, call{op: "List", key: prefix}, func(ctx context.Context) error {
			for info, err := range s.a.w.server.List(ctx, prefix, opts) {
				if err != nil {
					return err
				}
				all = append(all, info)
			}
			return nil
		})
		if answered {
			for _, info := range all {
				s.a.saw("list", info.Key, s.a.w.version(info.Key))
			}
			s.a.saw("listed", kindOf(err))
		}
		for _, info := range all {
			if answered && !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(maskstore.ObjectInfo{}, err)
		}
	}
}

// batchStops is one that puts batches, mask by mask and without conditions. It stops at the two that others may put as well;
// the rest comes with the second.
type batchStops struct{ stops }

func (s batchStops) As(target any) bool {
	batch, ok := target.(*maskstore.BatchPutter)
	if ok {
		*batch = s
	}
	return ok
}

func (s batchStops) PutBatch(
	ctx context.Context, items []maskstore.UploadItem, opts *maskstore.ParallelOptions,
) ([]maskstore.ObjectInfo, error) {
	infos, err := maskstore.UploadAll(ctx, s.stops, items[:2], opts)
	if err != nil || s.a.gone {
		return infos, err
	}
	s.a.free = true
	defer func() { s.a.free = false }()
	rest, err := maskstore.UploadAll(ctx, s.stops, items[2:], opts)
	return append(infos, rest...), err
}
