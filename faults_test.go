package maskstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// A clock that is wrong by more than a signature allows says so, and by how much.
func TestFaultsClock(t *testing.T) {
	for _, row := range []struct {
		ahead         time.Duration // of the server's clock
		code, message string        // as S3 and MinIO word it
		says          string
	}{
		{20 * time.Minute, "AccessDenied", "Request is not valid yet", "it is 20m0s ahead"},
		{-20 * time.Minute, "AccessDenied", "Request has expired", "it is 20m0s behind"},
		{20 * time.Minute, "RequestTimeTooSkewed", "The difference between the request time and the server's time is too large.", "it is 20m0s ahead"},
		{-20 * time.Minute, "RequestTimeTooSkewed", "The difference between the request time and the server's time is too large.", "it is 20m0s behind"},
	} {
		inBubble(t, fmt.Sprint(row.code, row.ahead), func(t *testing.T) {
			server := &scripted{answers: []answer{{status: 403, code: row.code, text: row.message,
				header: map[string]string{"Date": time.Now().Add(-row.ahead).UTC().Format(http.TimeFormat)}}}}
			for _, call := range s3Calls() {
				err := call.call(t.Context(), testS3(t, server))
				if !errors.Is(err, ErrClockSkew) || !strings.Contains(err.Error(), row.says) {
					t.Errorf("%s: %v; want one that says %q", call.op, err, row.says)
				}
			}
			t.Logf("faults: a clock %v off, %s: %d requests, all refused as %v, all say %q", row.ahead, row.code, len(server.bodies), ErrClockSkew, row.says)
		})
	}
}

// rotating gives key pairs that last for a time, a new one each time it is asked.
type rotating struct {
	mu    sync.Mutex
	last  time.Duration // how long a pair does
	pairs []aws.Credentials
	fail  error
}

func (r *rotating) Retrieve(context.Context) (aws.Credentials, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil && len(r.pairs) > 0 {
		return aws.Credentials{}, r.fail
	}
	pair := aws.Credentials{AccessKeyID: fmt.Sprint("KEY", len(r.pairs)), SecretAccessKey: "secret", CanExpire: true, Expires: time.Now().Add(r.last)}
	r.pairs = append(r.pairs, pair)
	return pair, nil
}

// expired tells whether the request is signed with a pair that has.
func (r *rotating) expired(req *http.Request) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pair := range r.pairs {
		if strings.HasPrefix(req.URL.Query().Get("X-Amz-Credential"), pair.AccessKeyID+"/") {
			return !time.Now().Before(pair.Expires)
		}
	}
	return true
}

// Credentials that end, or are withdrawn, while the masks of a group are put.
func TestFaultsCredentials(t *testing.T) {
	const masks = 200 // which take over a minute
	for name, row := range map[string]struct {
		fail    error  // what the provider gives after the first pair; nil: another pair
		revoked string // the code by which the server refuses all after half a minute; empty: it does not
		want    error
	}{
		"renewed":               {},
		"cannot be renewed":     {fail: errors.New("the role is gone"), want: ErrUnauthenticated},
		"rotated":               {revoked: "InvalidAccessKeyId", want: ErrUnauthenticated},
		"ended before the time": {revoked: "ExpiredToken", want: ErrExpired},
	} {
		inBubble(t, name, func(t *testing.T) {
			provider := &rotating{last: 20 * time.Second, fail: row.fail}
			begun, refused := time.Now(), 0
			b := newBucket(func(w http.ResponseWriter, r *http.Request, _ func()) bool {
				time.Sleep(5 * time.Second) // of the bubble's time
				code := ""
				if row.revoked != "" && time.Since(begun) > 30*time.Second {
					code = row.revoked
				}
				if code != "" {
					w.WriteHeader(403)
					fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
				}
				return code != ""
			})
			s := testS3(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if provider.expired(r) {
					provider.mu.Lock()
					refused++
					provider.mu.Unlock()
				}
				b.ServeHTTP(w, r)
			}))
			s.credentials = aws.NewCredentialsCache(provider)
			items := make([]UploadItem, masks)
			for i := range items {
				items[i] = UploadItem{Key: fmt.Sprintf("mask/a/g/%04d_x.png", i), Body: BytesBody(smallBody), NoOverwrite: true}
			}
			_, err := UploadAll(t.Context(), s, items, nil)
			b.mu.Lock() // requests that were cut off may still be under way
			defer b.mu.Unlock()
			provider.mu.Lock()
			defer provider.mu.Unlock()
			t.Logf("faults: credentials %s: %d of %d masks put, with %d key pairs, %d requests with one that had ended: %v", name, len(b.objects), masks, len(provider.pairs), refused, err)
			if row.want == nil && (err != nil || len(b.objects) != masks || len(provider.pairs) < 3) || !errors.Is(err, row.want) || refused > 0 {
				t.Errorf("error is %v; want %v", err, row.want)
			}
		})
	}
}

// A disk that is full does not empty itself, and a deadline does not hide what it was spent on.
func TestFaultsSayWhy(t *testing.T) {
	full := answer{status: 507, code: "XMinioStorageFull"}
	slow := answer{status: 503, code: "SlowDown"}
	for _, call := range s3Calls() {
		inBubble(t, call.op+", disk full", func(t *testing.T) {
			server := &scripted{answers: []answer{full}}
			err := call.call(t.Context(), testS3(t, server))
			if !errors.Is(err, ErrUnavailable) || len(server.bodies) != 1 && call.op != "Put" {
				t.Errorf("%v after %d requests", err, len(server.bodies))
			}
		})
	}
	inBubble(t, "deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		err := testS3(t, &scripted{answers: []answer{slow}}).Delete(ctx, testKey)
		if e, ok := err.(*Error); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "SlowDown") || !ok || e.Kind != nil {
			t.Errorf("error is %v", err)
		}
	})
}
