package maskstore

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// shortReads gives few bytes at a time, as a network may.
type shortReads struct{ r io.Reader }

func (s shortReads) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), 100)]) }

// TestHandlerWhiteSpace: what a body costs goes by its length, in however many pieces it arrives.
func TestHandlerWhiteSpace(t *testing.T) {
	h := NewHandler(new(Memory), &HandlerOptions{Authorize: authorizeBearer, MaxBodyBytes: 2 << 20})
	for _, before := range []string{"", `{`, `{"masks":[`, `{"etags":{`, `{"metadata":`} {
		req := httptest.NewRequestWithContext(t.Context(), "POST", groupsPath, shortReads{repeated(before, " ", 1<<40)})
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer anna")
		rec := httptest.NewRecorder()
		begun := time.Now()
		h.ServeHTTP(rec, req)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("white space after %q took %v", before, took)
		}
		if want := http.StatusRequestEntityTooLarge; before != `{"etags":{` && rec.Code != want {
			t.Errorf("white space after %q: status %d, want %d", before, rec.Code, want)
		}
	}
}
