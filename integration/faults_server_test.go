package integration

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

// A server whose disk is full, that stalls, or that sends a byte a second. Each call tells, within the caller's deadline.
func TestFaultsSickServer(t *testing.T) {
	e := newFaultEnv(t)
	full := &maskstoretest.Answer{Status: http.StatusInsufficientStorage,
		Body: "<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its minimum free drive threshold. " +
			"Please delete a few objects to proceed.</Message></Error>"}
	type row struct {
		name  string
		fault maskstoretest.Fault
		ops   []string // that it strikes; nil: all
		want  []error
		says  string
		// deadline is the caller's: 2 s unless that is too little for what comes before the fault.
		deadline time.Duration
	}
	rows := []row{
		{"disk full", maskstoretest.Fault{Answer: full}, []string{"PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "CopyObject"},
			[]error{maskstore.ErrUnavailable}, "XMinioStorageFull", time.Minute},
		{"no answer", maskstoretest.Fault{Delay: time.Hour}, nil, []error{context.DeadlineExceeded}, "", 0},
		{"refuses for long", maskstoretest.Fault{Answer: &maskstoretest.Answer{Status: 503, Body: "<Error><Code>SlowDown</Code></Error>"}},
			[]string{
				"PutObject", "UploadPart", "CompleteMultipartUpload", "DeleteObject", "DeleteObjects", "GetObject", "ListObjectsV2",
			},
			[]error{context.DeadlineExceeded}, "SlowDown", 6 * time.Second},
		{"stalls as it reads", maskstoretest.Fault{Request: maskstoretest.Damage{StallAt: 100}}, []string{"PutObject", "UploadPart"}, []error{context.DeadlineExceeded}, "", 0},
		{"stalls as it answers", maskstoretest.Fault{Response: maskstoretest.Damage{StallAt: 100}}, []string{"GetObject", "CopyObject", "CreateMultipartUpload", "CompleteMultipartUpload"},
			[]error{context.DeadlineExceeded}, "", 0},
		{"reads a byte a second", maskstoretest.Fault{Request: maskstoretest.Damage{Every: time.Second}}, []string{"PutObject", "UploadPart"}, []error{context.DeadlineExceeded}, "", 0},
		{"sends a byte a second", maskstoretest.Fault{Response: maskstoretest.Damage{Every: time.Second}}, []string{"GetObject", "CopyObject", "CreateMultipartUpload", "CompleteMultipartUpload"},
			[]error{context.DeadlineExceeded}, "", 0},
	}
	each(rows, len(rows), func(row row) {
		figures := newTally(t)
		deadline := cmp.Or(row.deadline, 2*time.Second)
		var longest time.Duration
		calls := append(mutations(e),
			mutation{"get", "GetObject", setUpOld, func(ctx context.Context, s *maskstore.MinIO, key string) error {
				_, err := readAll(ctx, s, key, nil)
				return err
			}, nil, nil},
			mutation{"list", "ListObjectsV2", setUpOld, func(ctx context.Context, s *maskstore.MinIO, key string) error {
				for _, err := range s.List(ctx, key, nil) {
					if err != nil {
						return err
					}
				}
				return nil
			}, nil, nil})
		each(calls, 16, func(m mutation) {
			// What cannot be aborted stays.
			if m.op == "AbortMultipartUpload" || row.ops != nil && !slices.Contains(row.ops, m.op) {
				return
			}
			figures.count("calls")
			key := m.prepare(e)
			s, f := e.faulty(always(m.op, row.fault))
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			begun := time.Now()
			err := m.do(ctx, s, key)
			took := time.Since(begun)
			figures.hit(len(f.Fired()), "%s, %s", row.name, m.name)
			figures.mu.Lock()
			longest = max(longest, took)
			figures.mu.Unlock()
			if took > deadline+patience {
				figures.count("late")
				t.Errorf("%s, %s: came back after %v", row.name, m.name, took)
			}
			wantTyped(t, err, row.want...)
			if err == nil || !strings.Contains(err.Error(), row.says) {
				figures.count("errors that do not say why")
				t.Errorf("%s, %s: error is %v; want one that says %q", row.name, m.name, err, row.says)
			}
			_, parts := e.uploads(key)
			figures.add("parts left", parts)
		})
		figures.print(fmt.Sprintf("%s, a deadline of %v, the last back after %v", row.name, deadline,
			longest.Round(10*time.Millisecond)),
			[]string{"calls"}, "late", "errors that do not say why", "parts left")
	})
}
