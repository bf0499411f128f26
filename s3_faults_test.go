package maskstore

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"
)

// An upload that begins as its context ends is aborted, not forgotten.
func TestS3UploadBegunTooLate(t *testing.T) {
	name, _ := writeTestFile(t, maxSinglePut+1)
	inBubble(t, "", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := newBucket(func(_ http.ResponseWriter, r *http.Request, _ func()) bool {
			if sortOf(r) == createUpload {
				cancel()
				time.Sleep(time.Second) // of the bubble's time: the answer comes after the end
			}
			return false
		})
		_, err := UploadFile(ctx, testS3(t, b), testKey, name, nil)
		if !errors.Is(err, context.Canceled) || !slices.Equal(b.requests, []string{createUpload, abortUpload}) || len(b.uploads) > 0 {
			t.Errorf("%v; %q, %d uploads left", err, b.requests, len(b.uploads))
		}
	})
}
