package maskstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzCheckText: of JSON, that is refused which encoding/json's own tokens show to be two-faced, or too deep.
func FuzzCheckText(f *testing.F) {
	for _, text := range []string{
		`{"a":{"a":1},"b":[{"a":1},{"a":2}]}`, `{"a":1,"\u0061":2}`, `{"a":"\\\"","a" :1}`, `[[],{},"",1]`, `{"a/B":1,"A":2}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := checkText(data)
		if !json.Valid(data) {
			return
		}
		if want := twoFaced(data); want != (err != nil) {
			t.Errorf("%q: %v, want an error: %v", data, err, want)
		}
	})
}

func twoFaced(data []byte) bool {
	if !utf8.Valid(data) {
		return true
	}
	type level struct {
		names  map[string]bool // of an object; nil: an array
		inName bool
	}
	var levels []level
	dec := json.NewDecoder(bytes.NewReader(data))
	for {
		token, err := dec.Token()
		if err != nil {
			return false
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			levels = levels[:len(levels)-1]
			continue
		}
		if n := len(levels); n > 0 && levels[n-1].names != nil {
			at := &levels[n-1]
			if at.inName = !at.inName; at.inName {
				if name := token.(string); at.names[name] {
					return true
				} else {
					at.names[name] = true
				}
				continue
			}
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{names: make(map[string]bool)})
		case json.Delim('['):
			levels = append(levels, level{})
		}
		if len(levels) > maxManifestDepth {
			return true
		}
	}
}

// FuzzHandler: whatever a request's path and body hold, the answer is a document, no fault of the server, and nothing is
// written elsewhere than in the annotation that was let in.
func FuzzHandler(f *testing.F) {
	for _, body := range []string{
		`{"masks":[{"slice":1,"label":"liver","size":9}]}`,
		`{"group_id":"g","keep":true,"masks":[{"slice":1,"label":"x","size":1,"sha256":""}]}`,
		`{"upload_id":"x","etags":{"mask/ct-1/g/0001_x.png":"e"}}`,
		`{"metadata":{"width":1,"segments":[{"segment_number":1,"segment_label":"x"}]}}`, `{"masks":null}`, `[`, ``,
	} {
		for step := range uint8(4) {
			f.Add(step, "g", []byte(body))
		}
	}
	f.Add(uint8(1), "..%2f..", []byte("{}"))
	f.Fuzz(func(t *testing.T, step uint8, group string, body []byte) {
		path := []string{"", "/" + group, "/" + group + "/complete", "/" + group + "/renew"}[step%4]
		method := []string{"POST", "GET", "POST", "POST", "DELETE"}[step%5]
		req, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+groupsPath+path, bytes.NewReader(body))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", "application/json")
		s := &Memory{BaseURL: "http://localhost"}
		h := NewHandler(s, &HandlerOptions{Authorize: func(*http.Request, string, Action) (string, error) { return "anna", nil }})
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if rec.Code >= 500 || rec.Code != http.StatusNoContent && !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%s %s %q: %d %s", method, path, body, rec.Code, rec.Body)
		}
		if rec.Body.Len() > 16<<10+8*len(body) {
			t.Errorf("the answer to %d bytes has %d", len(body), rec.Body.Len())
		}
		for info, err := range s.List(t.Context(), "mask/", nil) {
			if err != nil || !strings.HasPrefix(info.Key, "mask/ct-1/") || strings.Count(info.Key, "/") != 3 {
				t.Errorf("%q was written, %v", info.Key, err)
			}
		}
	})
}

// FuzzDecodeConfig: a configuration is read, or is an error that names a key; neither shows the secret.
func FuzzDecodeConfig(f *testing.F) {
	f.Add("[object_storage]\nprovider = \"s3\"\nbucket_name = \"masks\"\nregion = \"eu\"\n[signed_url]\ndefault_ttl = 600\n")
	f.Add("[object_storage]\nsecret_key = 7")
	f.Add("object_storage.path_style = true\n[signed_url")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := decodeConfig("c.toml", text)
		if err == nil {
			err = c.Validate()
		}
		var input *InputError
		if err != nil && (!errors.Is(err, ErrInvalidArgument) || !errors.As(err, &input) || input.Field == "") {
			t.Errorf("%q: %v", text, err)
		}
		const secret = "hunter2"
		c, err = decodeConfig("c.toml", "[object_storage]\nsecret_key = \""+secret+"\"\n"+strings.ReplaceAll(text, secret, ""))
		if shown := fmt.Sprintf("%v %+v %#v", err, c, c); strings.Contains(shown, secret) {
			t.Errorf("%q shows the secret: %s", text, shown)
		}
	})
}
