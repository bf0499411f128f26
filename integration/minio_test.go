// Package integration runs the library against a real MinIO server.
package integration

import (
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

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

// conformance runs both suites over a storage on the server.
func conformance(t *testing.T, server *miniotest.Server, newStorage func(t *testing.T) maskstore.ObjectStorage) {
	t.Parallel() // most of it waits for the server
	opts := &maskstoretest.Options{Client: server.Client}
	t.Run("Storage", func(t *testing.T) { maskstoretest.Test(t, newStorage, opts) })
	t.Run("Groups", func(t *testing.T) { maskstoretest.TestGroups(t, newStorage, opts) })
}

func TestMinIO(t *testing.T) {
	conformance(t, plain, func(t *testing.T) maskstore.ObjectStorage { return newMinIO(t, plain, nil) })
}

func TestMinIOOverTLSWithEncryption(t *testing.T) {
	conformance(t, secure, func(t *testing.T) maskstore.ObjectStorage {
		return newMinIO(t, secure, func(o *maskstore.S3Options) { o.Encryption = "AES256" })
	})
}

func TestMinIOWrapped(t *testing.T) {
	conformance(t, plain, func(t *testing.T) maskstore.ObjectStorage { return unwrapper{newMinIO(t, plain, nil)} })
}

// TestMinIOObserved runs what hands out the capabilities itself, each wrapped too.
func TestMinIOObserved(t *testing.T) {
	t.Parallel()
	maskstoretest.Test(t, func(t *testing.T) maskstore.ObjectStorage {
		return new(maskstoretest.Faulty).Storage(newMinIO(t, plain, nil))
	}, &maskstoretest.Options{Client: plain.Client})
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
