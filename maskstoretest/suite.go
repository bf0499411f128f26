// Package maskstoretest holds storages to the contract of maskstore.ObjectStorage. Over a storage of one's own:
//
//	func TestStorage(t *testing.T)       { maskstoretest.Test(t, newStorage, opts) }
//	func TestStorageGroups(t *testing.T) { maskstoretest.TestGroups(t, newStorage, opts) }
//
//	var opts = &maskstoretest.Options{NoBatch: true}
//
// The URLs that it signs must be served, a Memory's by an httptest.Server that is its BaseURL. What a storage cannot do, its
// Options must say: NoSigning of one that signs none, NoBatch of one that is no BatchPutter, such as Memory and S3.
package maskstoretest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pacs-extension/maskstore"
)

// Options say what a storage cannot do. It must then say so too: what is set here is tested for as well.
type Options struct {
	Client *http.Client // sends the signed requests; nil: http.DefaultClient
	// NoSigning: UploadURL, UploadPartURL and DownloadURL give an *Error that is errors.ErrUnsupported. A Memory's never do:
	// without a BaseURL it asks for one. To run it unserved, wrap it in a type that embeds *maskstore.Memory and has the three.
	NoSigning   bool
	NoCopy      bool // maskstore.As finds no Copier
	NoMultipart bool // maskstore.As finds no MultipartStorage
	NoBatch     bool // maskstore.As finds no BatchPutter
}

// Test holds a storage to what maskstore.ObjectStorage and its optional capabilities promise. It makes one storage,
// works under annotations with random IDs, and fails where anything is left under one. Nil options are of a storage that can
// do everything.
func Test(t *testing.T, newStorage func(t *testing.T) maskstore.ObjectStorage, opts *Options) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	storage, leaves := newStorage(t), 0
	for _, area := range o.areas() {
		t.Run(area.name, func(t *testing.T) {
			for name, test := range area.tests {
				t.Run(name, func(t *testing.T) {
					leaves++
					e := &env{T: t, Options: o, storage: storage, prefix: "mask/test-" + strings.ToLower(rand.Text()) + "/"}
					t.Cleanup(e.cleanUp)
					test(e)
				})
			}
		})
	}
	t.Logf("%s: %d leaves over %T", t.Name(), leaves, storage)
}

type area struct {
	name  string
	tests map[string]func(*env)
}

func (o *Options) areas() []area {
	areas := []area{
		{"Put", putTests}, {"Get", getTests}, {"Write", writeTests}, {"List", listTests}, {"Delete", deleteTests},
		{"Input", inputTests},
	}
	if o.NoSigning {
		areas = append(areas, area{"NoSigning", noSigningTests})
	} else {
		areas = append(areas, area{"Sign", signTests}, area{"SignedGet", signedGetTests}, area{"SignInput", signInputTests},
			area{"Tamper", tamperTests}, area{"Unsigned", unsignedTests})
	}
	if o.NoCopy {
		areas = append(areas, area{"NoCopy", noCopyTests})
	} else {
		areas = append(areas, area{"Copy", copyTests})
	}
	if o.NoBatch {
		areas = append(areas, area{"NoBatch", noBatchTests})
	} else {
		areas = append(areas, area{"Batch", batchTests})
	}
	if o.NoMultipart {
		areas = append(areas, area{"NoMultipart", noMultipartTests})
	} else {
		areas = append(areas, area{"Multipart", multipartTests})
		if o.NoSigning {
			areas = append(areas, area{"NoSignedParts", noSignedPartTests})
		} else {
			areas = append(areas, area{"SignedParts", signedPartTests})
		}
	}
	return areas
}

// env is what one test works with.
type env struct {
	*testing.T
	Options
	storage maskstore.ObjectStorage
	prefix  string // no other test's keys begin so
	named   []string
}

// key gives a key of this test's own, under which no upload may be left open.
func (e *env) key(name string) string {
	key := e.prefix + name
	if !slices.Contains(e.named, key) {
		e.named = append(e.named, key)
	}
	return key
}

// cleanUp deletes the test's objects. What then is still there fails the test.
func (e *env) cleanUp() {
	ctx := context.Background() // the test's own has ended
	if _, err := maskstore.DeletePrefix(ctx, e.storage, e.prefix, nil); err != nil {
		e.Error(err)
	}
	for info, err := range e.storage.List(ctx, e.prefix, nil) {
		e.Errorf("left over: %s, %v", info.Key, err)
	}
	multipart, ok := maskstore.As[maskstore.MultipartStorage](e.storage)
	if !ok {
		return
	}
	for _, key := range e.named {
		for up, err := range multipart.ListMultipartUploads(ctx, key) {
			e.Errorf("left open: upload %s of %s, %v", up.UploadID, up.Key, err)
			if err == nil {
				multipart.AbortMultipartUpload(ctx, up.Key, up.UploadID)
			}
		}
	}
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// wantErr fails unless err is want, and an *Error as all of a storage are.
func (e *env) wantErr(err, want error) {
	e.Helper()
	var typed *maskstore.Error
	if !errors.Is(err, want) || !errors.As(err, &typed) || typed.Op == "" {
		e.Fatalf("error is %T %v; want an *Error with its Op that is %q", err, err, want)
	}
}

// put stores an object.
func (e *env) put(key, content string, opts *maskstore.PutOptions) maskstore.ObjectInfo {
	e.Helper()
	info, err := e.storage.Put(e.Context(), key, strings.NewReader(content), opts)
	e.must(err)
	return info
}

// get reads an object, or the part that opts say.
func (e *env) get(key string, opts *maskstore.GetOptions) (maskstore.ObjectInfo, string, error) {
	obj, err := e.storage.Get(e.Context(), key, opts)
	if err != nil {
		return maskstore.ObjectInfo{}, "", err
	}
	defer obj.Body.Close()
	data, err := io.ReadAll(obj.Body)
	return obj.ObjectInfo, string(data), err
}

// wantContent fails unless this is what lies at key.
func (e *env) wantContent(key, want string) {
	e.Helper()
	_, got, err := e.get(key, nil)
	e.must(err)
	if got != want {
		e.Fatalf("%s holds %s; want %s", key, brief(got), brief(want))
	}
}

// wantAbsent fails unless nothing lies at key.
func (e *env) wantAbsent(key string) {
	e.Helper()
	info, err := e.storage.Stat(e.Context(), key)
	if err == nil {
		e.Fatalf("%s has %d bytes; want none to be there", key, info.Size)
	}
	e.wantErr(err, maskstore.ErrNotFound)
}

// list gives what is listed under the test's prefix and name, the keys without the test's prefix.
func (e *env) list(name string, opts *maskstore.ListOptions) []maskstore.ObjectInfo {
	e.Helper()
	var infos []maskstore.ObjectInfo
	for info, err := range e.storage.List(e.Context(), e.prefix+name, opts) {
		e.must(err)
		info.Key = strings.TrimPrefix(info.Key, e.prefix)
		infos = append(infos, info)
	}
	return infos
}

// wantKeys fails unless these, in this order, are listed.
func (e *env) wantKeys(name string, opts *maskstore.ListOptions, want ...string) {
	e.Helper()
	var got []string
	for _, info := range e.list(name, opts) {
		got = append(got, info.Key)
	}
	if !slices.Equal(got, want) {
		e.Errorf("List(%q, %+v) gives %q; want %q", name, opts, got, want)
	}
}

// pattern gives n bytes, at most 16 MiB, no two parts of which are alike.
func pattern(n int) string { return allOfPattern()[:n] }

var allOfPattern = sync.OnceValue(func() string {
	b := make([]byte, 0, 16<<20)
	for i := uint32(1); len(b) < cap(b); i++ {
		b = binary.BigEndian.AppendUint32(b, i*2654435761) // which spreads i over all bits
	}
	return string(b)
})

// brief prints s as far as people can read it.
func brief(s string) string { return fmt.Sprintf("%d bytes %.60q", len(s), s) }
