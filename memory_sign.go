package maskstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

const memoryRegion = "us-east-1"

// UploadURL signs a PUT that ServeHTTP will answer. It needs BaseURL.
func (m *Memory) UploadURL(ctx context.Context, key string, opts *UploadURLOptions) (SignedURL, error) {
	o := or(opts)
	if err := cmp.Or(ValidKey(key), o.check()); err != nil {
		return SignedURL{}, opError("UploadURL", key, nil, err)
	}
	signed, err := m.sign(ctx, key, o.TTL, o.Size, &sigv4.Request{Method: http.MethodPut}, uploadHeaders(nil, o))
	return signed, opError("UploadURL", key, nil, err)
}

// UploadPartURL signs the PUT of a part that ServeHTTP will answer. It needs BaseURL.
func (m *Memory) UploadPartURL(
	ctx context.Context, key, uploadID string, partNumber int, opts *UploadURLOptions,
) (SignedURL, error) {
	const op = "UploadPartURL"
	o := or(opts)
	if err := checkPartURL(key, uploadID, partNumber, o); err != nil {
		return SignedURL{}, opError(op, key, nil, err)
	}
	r := &sigv4.Request{Method: http.MethodPut, Query: partQuery(uploadID, partNumber)}
	signed, err := m.sign(ctx, key, o.TTL, o.Size, r, uploadHeaders(nil, o))
	return signed, opError(op, key, nil, err)
}

// DownloadURL signs a GET that ServeHTTP will answer. It needs BaseURL.
func (m *Memory) DownloadURL(ctx context.Context, key string, opts *DownloadURLOptions) (SignedURL, error) {
	o := or(opts)
	if err := cmp.Or(ValidKey(key), o.check()); err != nil {
		return SignedURL{}, opError("DownloadURL", key, nil, err)
	}
	signed, err := m.sign(ctx, key, o.TTL, 0, &sigv4.Request{Method: http.MethodGet, Query: downloadQuery(key, o)}, nil)
	return signed, opError("DownloadURL", key, nil, err)
}

// sign fills in what all requests of this Memory share, and signs.
func (m *Memory) sign(
	ctx context.Context, key string, ttl time.Duration, size int64, r *sigv4.Request, bound []sigv4.Param,
) (SignedURL, error) {
	ttl, err := m.ttl(ttl)
	if err := cmp.Or(err, m.checkOrigin(), checkBucket("Bucket", m.bucket()), ctx.Err()); err != nil {
		return SignedURL{}, err
	}
	r.Scheme, r.Host, _ = strings.Cut(strings.ToLower(strings.TrimRight(m.BaseURL, "/")), "://") // as browsers send it
	r.Base, r.Path = "/"+m.bucket()+"/", key
	r.Region, r.Time, r.TTL = memoryRegion, m.now(), ttl
	return presign(&m.signer, m.keyPair(), r, bound, size), nil
}

func (m *Memory) checkOrigin() error {
	if !strings.Contains(m.BaseURL, "://") {
		return inputError("BaseURL", fmt.Sprintf("%.100q is no origin", m.BaseURL),
			"the one at which clients reach this Memory, such as http://127.0.0.1:9000")
	}
	return checkEndpoint("BaseURL", strings.ToLower(m.BaseURL), m.AllowHTTP)
}

func (m *Memory) ttl(asked time.Duration) (time.Duration, error) {
	ttl, err := checkTTL(asked, m.DefaultTTL, min(m.MaxTTL, MaxURLTTL))
	if err == nil && ttl < time.Second {
		err = inputError("DefaultTTL", "or MaxTTL is under 1s", "1s or more, or 0 for the package's")
	}
	return ttl, err
}

func (m *Memory) keyPair() sigv4.Credentials {
	m.keys.Do(func() { m.credentials = sigv4.Credentials{AccessKey: "MEMORY" + rand.Text(), SecretKey: rand.Text()} })
	return m.credentials
}
