package integration

import (
	"crypto/md5"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/pacs-extension/maskstore"
)

// What MinIO would obey of a signed PUT though nobody signed it makes a request that it refuses.
func TestUnsignedHeaders(t *testing.T) {
	opts := newBucket(t, secure) // MinIO takes a client's encryption key over TLS alone
	s, err := maskstore.NewMinIO(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	const secret, key = "mask/another/g/0001_x.png", "mask/a/g/0001_x.png"
	if _, err := s.Put(t.Context(), secret, strings.NewReader("another's"), nil); err != nil {
		t.Fatal(err)
	}
	uploadID, err := s.CreateMultipartUpload(t.Context(), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	bound := maskstore.UploadURLOptions{Size: 4, SHA256: maskstore.SumSHA256([]byte("mine"))}
	part, err := s.UploadPartURL(t.Context(), key, uploadID, 1, &bound)
	if err != nil {
		t.Fatal(err)
	}
	bound.NoOverwrite, bound.ContentType = true, "image/png"
	whole, err := s.UploadURL(t.Context(), key, &bound)
	if err != nil {
		t.Fatal(err)
	}
	ofClient := strings.Repeat("k", 32)
	sum := md5.Sum([]byte(ofClient))
	const encryption = "X-Amz-Server-Side-Encryption-Customer-"
	send := func(u maskstore.SignedURL, header map[string]string) int {
		r, err := u.Request(t.Context(), strings.NewReader("mine"))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range header {
			r.Header.Set(name, value)
		}
		resp, err := secure.Client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for name, header := range map[string]map[string]string{
		"a copy": {"X-Amz-Copy-Source": "/" + opts.Bucket + "/" + secret},
		"a client's key": {encryption + "Algorithm": "AES256", encryption + "Key-Md5": base64.StdEncoding.EncodeToString(sum[:]),
			encryption + "Key": base64.StdEncoding.EncodeToString([]byte(ofClient))},
		"an ETag":         {"X-Minio-Source-Etag": strings.Repeat("0", 32)},
		"a tar to unpack": {"X-Amz-Meta-Snowball-Auto-Extract": "true"},
	} {
		for to, u := range map[string]maskstore.SignedURL{"object": whole, "part": part} {
			if status := send(u, header); status != http.StatusForbidden && status != http.StatusBadRequest {
				t.Errorf("%s, to the %s: status %d; want 403 or 400", name, to, status)
			}
		}
		if data, err := readAll(t.Context(), s, key, nil); !errors.Is(err, maskstore.ErrNotFound) {
			info, statErr := s.Stat(t.Context(), key)
			t.Errorf("%s: %q, %v lies there; Stat gives %+v, %v", name, data, err, info, statErr)
			if err := s.Delete(t.Context(), key); err != nil {
				t.Error(err)
			}
		}
	}
	if one, other := send(part, nil), send(whole, nil); one != http.StatusOK || other != http.StatusOK {
		t.Errorf("as they were signed: status %d and %d", one, other)
	}
	if err := s.AbortMultipartUpload(t.Context(), key, uploadID); err != nil {
		t.Error(err)
	}
}
