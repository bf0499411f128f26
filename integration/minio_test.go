// Package integration runs the library against a real MinIO server.
package integration

import (
	"crypto/md5"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/integration/miniotest"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

var plain, secure *miniotest.Server

func TestMain(m *testing.M) {
	if os.Getenv(clientVariable) != "" {
		beClient()
	}
	miniotest.Main(m, map[**miniotest.Server]miniotest.Options{&plain: {}, &secure: {TLS: true, KMS: true}})
}

// newMinIO gives a storage on a new bucket of the server.
func newMinIO(t *testing.T, server *miniotest.Server, change func(*maskstore.S3Options)) *maskstore.MinIO {
	t.Helper()
	opts := newBucket(t, server)
	if change != nil {
		change(&opts)
	}
	s, err := maskstore.NewMinIO(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newBucket(t *testing.T, server *miniotest.Server) maskstore.S3Options {
	t.Helper()
	bucket, err := server.NewBucket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return server.Options(bucket)
}

// unwrapper adds nothing to a storage.
type unwrapper struct{ maskstore.ObjectStorage }

func (u unwrapper) Unwrap() maskstore.ObjectStorage { return u.ObjectStorage }

// conformance runs both suites over a storage on the server, after which nothing is left below mask/.
func conformance(
	t *testing.T, server *miniotest.Server, change func(*maskstore.S3Options),
	wrap func(*maskstore.MinIO) maskstore.ObjectStorage,
) {
	t.Parallel() // most of it waits for the server
	for name, suite := range map[string]func(
		*testing.T, func(*testing.T) maskstore.ObjectStorage, *maskstoretest.Options,
	){"Storage": maskstoretest.Test, "Groups": maskstoretest.TestGroups} {
		t.Run(name, func(t *testing.T) {
			begun := &begunUploads{RoundTripper: server.Client.Transport, keys: map[string]bool{}}
			s := newMinIO(t, server, func(o *maskstore.S3Options) {
				o.HTTPClient = &http.Client{Transport: begun}
				change(o)
			})
			suite(t, func(t *testing.T) maskstore.ObjectStorage { return wrap(s) }, &maskstoretest.Options{Client: server.Client})
			begun.wantNothingLeft(t, s)
		})
	}
}

// begunUploads notes the keys of the multipart uploads that requests begin: MinIO lists those that are open by key alone.
type begunUploads struct {
	http.RoundTripper
	mu   sync.Mutex
	keys map[string]bool
}

func (b *begunUploads) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost && r.URL.Query().Has("uploads") {
		_, key, _ := strings.Cut(r.URL.Path[1:], "/") // behind the bucket
		b.mu.Lock()
		b.keys[key] = true
		b.mu.Unlock()
	}
	return b.RoundTripper.RoundTrip(r)
}

// wantNothingLeft fails where there is an object, or an open upload.
func (b *begunUploads) wantNothingLeft(t *testing.T, s *maskstore.MinIO) {
	t.Helper()
	for info, err := range s.List(t.Context(), "mask/", nil) {
		t.Errorf("left over: %s, %v", info.Key, err)
	}
	for key := range b.keys {
		for up, err := range s.ListMultipartUploads(t.Context(), key) {
			t.Errorf("left open: upload %s of %s, %v", up.UploadID, key, err)
		}
	}
	if !t.Failed() {
		t.Logf("%s: 0 left over, of %d keys with uploads in parts too", t.Name(), len(b.keys))
	}
}

func bare(s *maskstore.MinIO) maskstore.ObjectStorage { return s }

func unchanged(*maskstore.S3Options) {}

func TestMinIO(t *testing.T) { conformance(t, plain, unchanged, bare) }

func TestMinIOOverTLSWithEncryption(t *testing.T) {
	conformance(t, secure, func(o *maskstore.S3Options) { o.Encryption = "AES256" }, bare)
}

// TestMinIOObserved runs what hands out the capabilities itself, each wrapped too.
func TestMinIOObserved(t *testing.T) {
	conformance(t, plain, unchanged, func(s *maskstore.MinIO) maskstore.ObjectStorage {
		return new(maskstoretest.Faulty).Storage(s)
	})
}

// TestS3 runs the S3 storage, which MinIO differs from in its defaults alone, against a server that is compatible with it.
func TestS3(t *testing.T) {
	t.Parallel()
	maskstoretest.Test(t, func(t *testing.T) maskstore.ObjectStorage {
		s, err := maskstore.NewS3(t.Context(), newBucket(t, secure))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}, &maskstoretest.Options{Client: secure.Client, NoBatch: true})
}

// Keys that XML cannot hold, which others may have put beside ours, are listed.
func TestControlCharacters(t *testing.T) {
	opts := newBucket(t, plain)
	want := []string{"mask/a/g/\x01", "mask/a/g/\x02+%2B 간", "mask/a/g/x.png"}
	for _, key := range want {
		_, err := sdkOf(opts).PutObject(t.Context(), &s3.PutObjectInput{Bucket: &opts.Bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := maskstore.NewMinIO(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for info, err := range s.List(t.Context(), "mask/", nil) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Key)
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed are %q; want %q", got, want)
	}
}

// Encrypted by the server's key, an object still has its MD5 as its ETag, by which a batch is verified.
func TestETagOfEncrypted(t *testing.T) {
	s := newMinIO(t, secure, func(o *maskstore.S3Options) { o.Encryption = "AES256" })
	info, err := s.Put(t.Context(), "mask/a/g/0001_x.png", strings.NewReader("x"), nil)
	if want := fmt.Sprintf("%x", md5.Sum([]byte("x"))); err != nil || info.ETag != want {
		t.Errorf("ETag is %s, %v; want %s", info.ETag, err, want)
	}
}

// A page of any origin may put by a signed URL with all that it binds, and may read the ETag.
func TestCORS(t *testing.T) {
	u, err := newMinIO(t, plain, nil).UploadURL(t.Context(), "mask/a/g/0001_x.png", &maskstore.UploadURLOptions{
		ContentType: "image/png", Size: 1, SHA256: maskstore.SumSHA256([]byte("x")), NoOverwrite: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	const origin = "https://pacs.example"
	ask, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, u.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	ask.Header.Set("Access-Control-Request-Method", u.Method)
	ask.Header.Set("Access-Control-Request-Headers", "content-type,if-none-match,x-amz-checksum-sha256")
	put, err := u.Request(t.Context(), strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*http.Request{ask, put} {
		r.Header.Set("Origin", origin)
		resp, err := plain.Client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		h := resp.Header
		if allowed := h.Get("Access-Control-Allow-Origin"); resp.StatusCode >= 300 || allowed != origin && allowed != "*" ||
			r == put && !strings.Contains(strings.ToLower(h.Get("Access-Control-Expose-Headers")), "etag") {
			t.Errorf("%s: %s, %v", r.Method, resp.Status, h)
		}
	}
}

// TestServerRefusals holds what a storage that is set up wrongly gets.
func TestServerRefusals(t *testing.T) {
	untrusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{}}}
	for name, test := range map[string]struct {
		server *miniotest.Server
		change func(*maskstore.S3Options)
		want   error
		says   string
	}{
		"wrong region":          {plain, func(o *maskstore.S3Options) { o.Region = "us-west-2" }, maskstore.ErrWrongRegion, plain.Region},
		"unknown access key":    {plain, func(o *maskstore.S3Options) { o.AccessKey = "nobody" }, maskstore.ErrUnauthenticated, ""},
		"wrong secret key":      {plain, func(o *maskstore.S3Options) { o.SecretKey = "wrong-secret" }, maskstore.ErrUnauthenticated, "SignatureDoesNotMatch"},
		"missing bucket":        {plain, func(o *maskstore.S3Options) { o.Bucket = "test-missing" }, maskstore.ErrNoSuchBucket, ""},
		"encryption, no key":    {plain, func(o *maskstore.S3Options) { o.Encryption = "AES256" }, maskstore.ErrUnsupported, ""},
		"untrusted certificate": {secure, func(o *maskstore.S3Options) { o.HTTPClient = untrusting }, maskstore.ErrUnavailable, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newMinIO(t, test.server, test.change)
			_, err := s.Put(t.Context(), "mask/a/g/0001_x.png", strings.NewReader("x"), nil)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v; want %v that says %q", err, test.want, test.says)
			}
			if err != nil && strings.Contains(err.Error(), test.server.SecretKey) {
				t.Error("the error holds the secret key")
			}
		})
	}
}
