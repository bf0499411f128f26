package maskstore

import (
	"cmp"
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

// How S3 and MinIO refuse a signature for its time.
var (
	tooEarly  = answer{status: 403, code: "AccessDenied", text: "Request is not valid yet"}
	tooLate   = answer{status: 403, code: "AccessDenied", text: "Request has expired"}
	tooSkewed = answer{
		status: 403, code: "RequestTimeTooSkewed",
		text: "The difference between the request time and the server's time is too large.",
	}
)

// by gives an answer of a server that this machine's clock is ahead of.
func (a answer) by(ahead time.Duration) *scripted {
	a.header = map[string]string{"Date": time.Now().Add(-ahead).UTC().Format(http.TimeFormat)}
	return &scripted{answers: []answer{a}}
}

// A clock that is wrong by more than a signature allows says so, and by how much.
func TestFaultsClock(t *testing.T) {
	for _, row := range []struct {
		ahead  time.Duration // of the server's clock
		answer answer
		says   string
	}{
		{20 * time.Minute, tooEarly, "it is 20m0s ahead"},
		{-20 * time.Minute, tooLate, "it is 20m0s behind"},
		{20 * time.Minute, tooSkewed, "it is 20m0s ahead"},
		{-20 * time.Minute, tooSkewed, "it is 20m0s behind"},
	} {
		inBubble(t, fmt.Sprint(row.answer.text, row.ahead), func(t *testing.T) {
			time.Sleep(700 * time.Millisecond) // a Date has whole seconds
			server := row.answer.by(row.ahead)
			calls := append(s3Calls(), s3Call{"Upload", func(ctx context.Context, s *S3) error {
				return uploadTo(ctx, s.http, time.Now().Add(DefaultTTL))
			}})
			for _, call := range calls {
				err := call.call(t.Context(), testS3(t, server))
				if !errors.Is(err, ErrClockSkew) || !strings.Contains(err.Error(), row.says) {
					t.Errorf("%s: %v; want one that says %q", call.op, err, row.says)
				}
			}
			t.Logf("faults: a clock %v off, %s: %d requests, all refused as %v, all say %q", row.ahead, row.answer.code,
				len(server.bodies), ErrClockSkew, row.says)
		})
	}
}

// uploadTo puts a body to a URL that was signed to expire at that time.
func uploadTo(ctx context.Context, client *http.Client, expires time.Time) error {
	u := signedTest("PUT")
	u.Expires = expires
	_, err := (&DirectUploader{Client: client}).Upload(ctx, u, BytesBody(smallBody))
	return err
}

// Who was given a URL may have it from a machine whose clock is wrong, or have kept it for too long.
func TestFaultsClockOfAnother(t *testing.T) {
	for _, row := range []struct {
		name          string
		ahead         time.Duration // of the server's clock
		answer        answer
		left          time.Duration // until the URL expires
		skew, expired bool
		says          string // of our clock; empty: nothing
	}{
		{"old, all clocks right", 0, tooLate, -time.Second, false, true, ""},
		{"old, ours is behind", -20 * time.Minute, tooLate, time.Minute, true, true, "it is 20m0s behind"},
		{"old, ours a second behind", -time.Second, tooLate, time.Millisecond, true, true, "it is 1s behind"},
		{"old in this moment", 0, tooLate, time.Millisecond, false, true, ""},
		{"old by both clocks, ours a second behind", -time.Second, tooLate, -time.Millisecond, false, true, ""},
		{"of credentials that have ended", -time.Second, answer{status: 400, code: "ExpiredToken"}, time.Minute, false, true, ""},
		{"signed by a clock that is ahead", 0, tooEarly, 30 * time.Minute, true, false, ""},
		{"signed right, ours is ahead", 20 * time.Minute, tooLate, -time.Second, false, true, ""},
	} {
		inBubble(t, row.name, func(t *testing.T) {
			err := uploadTo(t.Context(), serve(t, row.answer.by(row.ahead)), time.Now().Add(row.left))
			says := strings.Contains(err.Error(), cmp.Or(row.says, "this machine's clock"))
			if errors.Is(err, ErrClockSkew) != row.skew || errors.Is(err, ErrExpired) != row.expired || says != (row.says != "") {
				t.Errorf("error is %v", err)
			}
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
	pair := aws.Credentials{
		AccessKeyID: fmt.Sprint("KEY", len(r.pairs)), SecretAccessKey: "secret", CanExpire: true, Expires: time.Now().Add(r.last),
	}
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
			t.Logf("faults: credentials %s: %d of %d masks put, with %d key pairs, %d requests with one that had ended: %v", name,
				len(b.objects), masks, len(provider.pairs), refused, err)
			if row.want == nil && (err != nil || len(b.objects) != masks || len(provider.pairs) < 3) || !errors.Is(err, row.want) ||
				refused > 0 {
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
		if e, ok := err.(*Error); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "SlowDown") || !ok ||
			e.Kind != nil {
			t.Errorf("error is %v", err)
		}
	})
}
