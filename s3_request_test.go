package maskstore

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Each attempt is signed for itself: what a pause outlasted would be refused as if the clocks differed.
func TestS3SignsEachAttempt(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		var attempts int
		s := testS3(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			attempts++
			signed, err := time.Parse("20060102T150405Z", r.URL.Query().Get("X-Amz-Date"))
			if age := time.Since(signed); err != nil || age > time.Second {
				t.Errorf("attempt %d was signed %v ago, %v", attempts, age, err)
			}
			if got := r.URL.Query().Get("X-Amz-Security-Token"); got != "token "+strconv.Itoa(attempts) {
				t.Errorf("attempt %d is signed with %q", attempts, got)
			}
			if attempts == 3 {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		asked := 0
		s.credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			asked++
			return aws.Credentials{
				AccessKeyID: "AKIDTEST", SecretAccessKey: "secret", SessionToken: "token " + strconv.Itoa(asked),
			}, nil
		})
		if err := s.Delete(t.Context(), testKey); err != nil || attempts != 3 {
			t.Errorf("%v after %d attempts", err, attempts)
		}
	})
}

// A word of a user's or a policy's name in a denial says nothing about clocks.
func TestDeniedIsNotExpired(t *testing.T) {
	for message, want := range map[string]error{
		"Request has expired":      ErrExpired,
		"Request is not valid yet": ErrClockSkew,
		"Access Denied":            ErrAccessDenied,
		"User: arn:aws:iam::1:user/expired is not authorized to perform: s3:PutObject": ErrAccessDenied,
		"Denied by the policy expired-studies, which is not valid yet-another":         ErrAccessDenied,
	} {
		if got := kindOfCode("AccessDenied", strings.ToLower(message)); got != want {
			t.Errorf("%q: %v; want %v", message, got, want)
		}
	}
}
