package maskstore

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// failWith makes every read of the storage fail.
func failWith(err error) func(ObjectStorage) ObjectStorage {
	return func(s ObjectStorage) ObjectStorage {
		return failing{s, opError("Get", "mask/ct-1/g/metadata.json", nil, err)}
	}
}

func TestHandlerErrors(t *testing.T) {
	const (
		mask    = `{"slice":1,"label":"liver","size":9}`
		masks   = `"masks":[` + mask + `]`
		group   = groupsPath + "/done"
		hash    = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
		ok      = `{` + masks + `}`
		invalid = "invalid_argument"
	)
	storageSays := errors.New("bucket hospital-7 at 10.0.0.7")
	kind := func(kind error) error { return &Error{Kind: kind, Err: storageSays} }
	long := strings.Repeat("x", 300)
	limits := HandlerOptions{MaxMasks: 3, MaxMaskBytes: 100, MaxBodyBytes: 2000}
	for _, test := range []struct {
		name         string
		method, path string
		body         string
		status       int
		code, field  string
		// what is unusual
		user   string // anna
		media  string // application/json
		reads  error  // of the storage
		opts   *HandlerOptions
		header map[string]string // that the answer must have
	}{
		// Paths and methods.
		{name: "unknown path", method: "GET", path: "/api/annotations", status: 404, code: "no_such_path"},
		{name: "unknown step", method: "POST", path: group + "/finish", status: 404, code: "no_such_path"},
		{name: "trailing slash", method: "GET", path: groupsPath + "/", status: 404, code: "no_such_path"},
		{name: "no annotation", method: "GET", path: "/api/annotations//mask-groups", status: 404, code: "no_such_path"},
		{name: "dots", method: "GET", path: groupsPath + "/../mask-groups", status: 404, code: "no_such_path"},
		{name: "PUT on groups", method: "PUT", path: groupsPath, status: 405, code: "method_not_allowed", header: map[string]string{"Allow": "GET, HEAD, POST"}},
		{name: "POST on a group", method: "POST", path: group, status: 405, code: "method_not_allowed", header: map[string]string{"Allow": "DELETE, GET, HEAD"}},
		{name: "GET on complete", method: "GET", path: group + "/complete", status: 405, code: "method_not_allowed", header: map[string]string{"Allow": "POST"}},

		// The hook.
		{name: "nobody", method: "GET", path: group, user: "-", status: 401, code: "unauthenticated", header: map[string]string{"WWW-Authenticate": "Bearer"}},
		{name: "nobody, challenged", method: "GET", path: group, user: "-", opts: &HandlerOptions{Challenge: `Basic realm="pacs"`}, status: 401, code: "unauthenticated", header: map[string]string{"WWW-Authenticate": `Basic realm="pacs"`}},
		{name: "nobody, with a bad ID", method: "GET", path: groupsPath + "/_x", user: "-", status: 401, code: "unauthenticated"},
		{name: "may not write", method: "POST", path: groupsPath, user: "reader", body: ok, status: 403, code: "access_denied"},
		{name: "may not complete", method: "POST", path: group + "/complete", user: "reader", status: 403, code: "access_denied"},
		{name: "may not renew", method: "POST", path: group + "/renew", user: "reader", status: 403, code: "access_denied"},
		{name: "may not delete", method: "DELETE", path: group, user: "reader", status: 403, code: "access_denied"},
		{name: "refused before the body is read", method: "POST", path: groupsPath, user: "reader", body: "{", media: "text/plain", status: 403, code: "access_denied"},
		{name: "the hook fails", method: "GET", path: group, user: "broken", status: 500, code: "internal"},
		{name: "the hook panics", method: "GET", path: group, user: "panic", status: 500, code: "internal"},
		{name: "a user that cannot be stored", method: "POST", path: groupsPath, user: long, body: ok, status: 500, code: "internal"},

		// IDs and queries.
		{name: "annotation", method: "GET", path: "/api/annotations/_x/mask-groups", status: 400, code: invalid, field: "annotation_id"},
		{name: "annotation with a slash", method: "GET", path: "/api/annotations/a%2Fb/mask-groups/g", status: 400, code: invalid, field: "annotation_id"},
		{name: "annotation too long", method: "POST", path: "/api/annotations/" + long + "/mask-groups", body: ok, status: 400, code: invalid, field: "annotation_id"},
		{name: "group", method: "GET", path: groupsPath + "/_x", status: 400, code: invalid, field: "group_id"},
		{name: "group to complete", method: "POST", path: groupsPath + "/a%20b/complete", status: 400, code: invalid, field: "group_id"},
		{name: "group to renew", method: "POST", path: groupsPath + "/é/renew", status: 400, code: invalid, field: "group_id"},
		{name: "group to delete", method: "DELETE", path: groupsPath + "/%2E%2E", status: 400, code: invalid, field: "group_id"},
		{name: "group to begin", method: "POST", path: groupsPath, body: `{"group_id":"..",` + masks + `}`, status: 400, code: invalid, field: "group_id"},
		{name: "group of encoded dots and slashes", method: "GET", path: groupsPath + "/..%2F..%2Fother", status: 400, code: invalid, field: "group_id"},
		{name: "group encoded twice", method: "GET", path: groupsPath + "/%252e%252e%252f", status: 400, code: invalid, field: "group_id"},
		{name: "group with a backslash", method: "DELETE", path: groupsPath + "/..%5C..", status: 400, code: invalid, field: "group_id"},
		{name: "group of full-width dots", method: "DELETE", path: groupsPath + "/%EF%BC%8E%EF%BC%8E", status: 400, code: invalid, field: "group_id"},
		{name: "group with a NUL", method: "DELETE", path: groupsPath + "/g%00", status: 400, code: invalid, field: "group_id"},
		{name: "group of broken UTF-8", method: "POST", path: groupsPath + "/g%FF/complete", status: 400, code: invalid, field: "group_id"},
		{name: "annotation that escapes", method: "POST", path: "/api/annotations/..%2F..%2Fx/mask-groups", body: ok, status: 400, code: invalid, field: "annotation_id"},
		{name: "group of the library's own", method: "DELETE", path: groupsPath + "/_batch", status: 400, code: invalid, field: "group_id"},
		{name: "group to begin, escaped", method: "POST", path: groupsPath, body: `{"group_id":"\u002e\u002e\u002f",` + masks + `}`, status: 400, code: invalid, field: "group_id"},
		{name: "limit 0", method: "GET", path: groupsPath + "?limit=0", status: 400, code: invalid, field: "limit"},
		{name: "limit too high", method: "GET", path: groupsPath + "?limit=1001", status: 400, code: invalid, field: "limit"},
		{name: "limit no number", method: "GET", path: groupsPath + "?limit=ten", status: 400, code: invalid, field: "limit"},
		{name: "start_after", method: "GET", path: groupsPath + "?start_after=../x", status: 400, code: invalid, field: "start_after"},

		// Bodies.
		{name: "no body", method: "POST", path: groupsPath, status: 400, code: invalid, field: "body"},
		{name: "type", method: "POST", path: groupsPath, body: ok, media: "text/plain", status: 415, code: "unsupported_media_type", field: "Content-Type"},
		{name: "no type", method: "POST", path: groupsPath, body: ok, media: "-", status: 415, code: "unsupported_media_type", field: "Content-Type"},
		{name: "type to complete", method: "POST", path: group + "/complete", body: `{}`, media: "image/png", status: 415, code: "unsupported_media_type", field: "Content-Type"},
		{name: "too large", method: "POST", path: groupsPath, body: `{"group_id":"` + strings.Repeat("x", 2000) + `"}`, status: 413, code: "body_too_large", field: "body"},
		{name: "no JSON", method: "POST", path: groupsPath, body: `masks`, status: 400, code: invalid, field: "body"},
		{name: "broken JSON", method: "POST", path: groupsPath, body: `{"masks":[{"slice":1,}]}`, status: 400, code: invalid, field: "body"},
		{name: "cut JSON", method: "POST", path: groupsPath, body: `{"masks":[` + mask, status: 400, code: invalid, field: "body"},
		{name: "no object", method: "POST", path: groupsPath, body: `[` + mask + `]`, status: 400, code: invalid, field: "body"},
		{name: "trailing data", method: "POST", path: groupsPath, body: ok + `{}`, status: 400, code: invalid, field: "body"},
		{name: "unknown member", method: "POST", path: groupsPath, body: `{"colour":1,` + masks + `}`, status: 400, code: invalid, field: "colour"},
		{name: "member in another case", method: "POST", path: groupsPath, body: `{"Masks":[]}`, status: 400, code: invalid, field: "Masks"},
		{name: "a member twice", method: "POST", path: groupsPath, body: `{"keep":true,"keep":false,` + masks + `}`, status: 400, code: invalid, field: "keep"},
		{name: "a member of a mask twice", method: "POST", path: groupsPath, body: `{"masks":[{"slice":1,"label":"x","slice":2,"size":1}]}`, status: 400, code: invalid, field: "masks[0].slice"},
		{name: "a member of a mask twice, in another case", method: "POST", path: groupsPath, body: `{"masks":[{"slice":1,"label":"x","Slice":2,"size":1}]}`, status: 400, code: invalid, field: "masks[0]"},
		{name: "metadata in another case", method: "POST", path: groupsPath, body: `{"metadata":{"Width":1},` + masks + `}`, status: 400, code: invalid, field: "metadata"},
		{name: "a member of a segment twice", method: "POST", path: groupsPath, body: `{"metadata":{"segments":[{"segment_number":1,"segment_label":"x","segment_label":"y"}]},` + masks + `}`, status: 400, code: invalid, field: "metadata.segment_label"},
		{name: "an etag twice", method: "POST", path: group + "/complete", body: `{"etags":{"k":"a","k":"b"}}`, status: 400, code: invalid, field: `etags["k"]`},
		{name: "broken UTF-8", method: "POST", path: groupsPath, body: "{\"masks\":[{\"slice\":1,\"label\":\"\xff\",\"size\":1}]}", status: 400, code: invalid, field: "body"},
		{name: "a deep mask", method: "POST", path: groupsPath, body: `{"masks":[` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `]}`, status: 400, code: invalid, field: "body"},
		{name: "keep no boolean", method: "POST", path: groupsPath, body: `{"keep":1,` + masks + `}`, status: 400, code: invalid, field: "keep"},
		{name: "group_id no string", method: "POST", path: groupsPath, body: `{"group_id":7}`, status: 400, code: invalid, field: "group_id"},

		// Masks.
		{name: "masks absent", method: "POST", path: groupsPath, body: `{}`, status: 400, code: invalid, field: "masks"},
		{name: "masks null", method: "POST", path: groupsPath, body: `{"masks":null}`, status: 400, code: invalid, field: "masks"},
		{name: "masks empty", method: "POST", path: groupsPath, body: `{"masks":[]}`, status: 400, code: invalid, field: "masks"},
		{name: "masks no array", method: "POST", path: groupsPath, body: `{"masks":` + mask + `}`, status: 400, code: invalid, field: "masks"},
		{name: "too many masks", method: "POST", path: groupsPath, body: `{"masks":[` + strings.Repeat(mask+",", 3) + mask + `]}`, status: 400, code: invalid, field: "masks"},
		{name: "a mask twice", method: "POST", path: groupsPath, body: `{"masks":[` + mask + `,` + mask + `]}`, status: 400, code: invalid, field: "masks[1]"},
		{name: "a mask no object", method: "POST", path: groupsPath, body: `{"masks":[7]}`, status: 400, code: invalid, field: "masks[0]"},
		{name: "unknown member of a mask", method: "POST", path: groupsPath, body: `{"masks":[` + mask + `,{"slice":1,"colour":2}]}`, status: 400, code: invalid, field: "masks[1].colour"},
		{name: "slice too high", method: "POST", path: groupsPath, body: `{"masks":[` + mask + `,{"slice":10000,"label":"x","size":1}]}`, status: 400, code: invalid, field: "masks[1].slice"},
		{name: "slice no integer", method: "POST", path: groupsPath, body: `{"masks":[{"slice":1.5,"label":"x","size":1}]}`, status: 400, code: invalid, field: "masks[0].slice"},
		{name: "slice a string", method: "POST", path: groupsPath, body: `{"masks":[{"slice":"1","label":"x","size":1}]}`, status: 400, code: invalid, field: "masks[0].slice"},
		{name: "label", method: "POST", path: groupsPath, body: `{"masks":[{"slice":1,"label":"a/b","size":1}]}`, status: 400, code: invalid, field: "masks[0].label"},
		{name: "label absent", method: "POST", path: groupsPath, body: `{"masks":[{"slice":1,"size":1}]}`, status: 400, code: invalid, field: "masks[0].label"},
		{name: "label not in NFC", method: "POST", path: groupsPath, body: `{"masks":[{"slice":1,"label":"e\u0301","size":1}]}`, status: 400, code: invalid, field: "masks[0].label"},
		{name: "size absent", method: "POST", path: groupsPath, body: `{"masks":[{"slice":1,"label":"x"}]}`, status: 400, code: invalid, field: "masks[0].size"},
		{name: "size negative", method: "POST", path: groupsPath, body: `{"masks":[{"slice":1,"label":"x","size":-1}]}`, status: 400, code: invalid, field: "masks[0].size"},
		{name: "size over the limit", method: "POST", path: groupsPath, body: `{"masks":[{"slice":1,"label":"x","size":101}]}`, status: 400, code: invalid, field: "masks[0].size"},
		{name: "size over all integers", method: "POST", path: groupsPath, body: `{"masks":[{"slice":1,"label":"x","size":1e30}]}`, status: 400, code: invalid, field: "masks[0].size"},
		{name: "sha256", method: "POST", path: groupsPath, body: `{"masks":[{"slice":1,"label":"x","size":1,"sha256":"` + hash + `0"}]}`, status: 400, code: invalid, field: "masks[0].sha256"},

		// Metadata.
		{name: "unknown metadata", method: "POST", path: groupsPath, body: `{"metadata":{"patient":"x"},` + masks + `}`, status: 400, code: invalid, field: "metadata.patient"},
		{name: "metadata type", method: "POST", path: groupsPath, body: `{"metadata":{"width":"x"},` + masks + `}`, status: 400, code: invalid, field: "metadata.width"},
		{name: "metadata no object", method: "POST", path: groupsPath, body: `{"metadata":[],` + masks + `}`, status: 400, code: invalid, field: "metadata"},
		{name: "metadata too large", method: "POST", path: groupsPath, opts: &HandlerOptions{}, body: `{"metadata":{"segments":[` + strings.Repeat("{},", 90_000) + `{}]}}`, status: 400, code: invalid, field: "metadata"},
		{name: "UID", method: "POST", path: groupsPath, body: `{"metadata":{"study_instance_uid":"x"},` + masks + `}`, status: 400, code: invalid, field: "metadata.study_instance_uid"},
		{name: "unknown member of a segment", method: "POST", path: groupsPath, body: `{"metadata":{"segments":[{"segment_number":1,"segment_label":"x","patient":"x"}]},` + masks + `}`, status: 400, code: invalid, field: "metadata.segments[0].patient"},
		{name: "segment", method: "POST", path: groupsPath, body: `{"metadata":{"segments":[{"segment_number":0,"segment_label":"x"}]},` + masks + `}`, status: 400, code: invalid, field: "metadata.segments[0].segment_number"},

		// Reports.
		{name: "upload_id no string", method: "POST", path: group + "/complete", body: `{"upload_id":7}`, status: 400, code: invalid, field: "upload_id"},
		{name: "etags no object", method: "POST", path: group + "/renew", body: `{"etags":[]}`, status: 400, code: invalid, field: "etags"},
		{name: "etag no string", method: "POST", path: group + "/renew", body: `{"etags":{"k":1}}`, status: 400, code: invalid, field: `etags["k"]`},
		{name: "too many etags", method: "POST", path: group + "/complete", body: `{"etags":{"a":"","b":"","c":"","d":""}}`, status: 400, code: invalid, field: "etags"},
		{name: "unknown member of a report", method: "POST", path: group + "/complete", body: `{"etag":{}}`, status: 400, code: invalid, field: "etag"},

		// The state of groups.
		{name: "no such group", method: "GET", path: groupsPath + "/none", status: 404, code: "not_found"},
		{name: "no such group to complete", method: "POST", path: groupsPath + "/none/complete", status: 404, code: "not_found"},
		{name: "no such group to renew", method: "POST", path: groupsPath + "/none/renew", status: 404, code: "not_found"},
		{name: "nothing committed", method: "GET", path: groupsPath + "/open", status: 409, code: "incomplete"},
		{name: "nothing put", method: "POST", path: groupsPath + "/open/complete", status: 409, code: "incomplete"},
		{name: "an upload that is not open", method: "POST", path: groupsPath + "/open/complete", body: `{"upload_id":"x"}`, status: 409, code: "superseded"},
		{name: "another's upload is open", method: "POST", path: groupsPath, user: "ben", body: `{"group_id":"open",` + masks + `}`, status: 409, code: "upload_open"},
		{name: "no_overwrite", method: "POST", path: groupsPath, body: `{"group_id":"done","no_overwrite":true,` + masks + `}`, status: 409, code: "precondition_failed"},
		{name: "deleted", method: "GET", path: groupsPath + "/deleted", status: 410, code: "deleted"},
		{name: "begin over deleted", method: "POST", path: groupsPath, body: `{"group_id":"deleted",` + masks + `}`, status: 410, code: "deleted"},
		{name: "complete deleted", method: "POST", path: groupsPath + "/deleted/complete", status: 410, code: "deleted"},
		{name: "no manifest of ours", method: "GET", path: groupsPath + "/bad", status: 500, code: "invalid_manifest"},

		// The storage.
		{name: "throttled", method: "GET", path: group, reads: kind(ErrThrottled), status: 503, code: "throttled", header: map[string]string{"Retry-After": retryLater}},
		{name: "unavailable", method: "POST", path: group + "/complete", reads: kind(ErrUnavailable), status: 503, code: "unavailable", header: map[string]string{"Retry-After": retryLater}},
		{name: "the storage denies", method: "GET", path: group, reads: kind(ErrAccessDenied), status: 502, code: "storage_failed"},
		{name: "the storage knows not who", method: "DELETE", path: group, reads: kind(ErrUnauthenticated), status: 502, code: "storage_failed"},
		{name: "the credentials expired", method: "GET", path: group, reads: kind(ErrExpired), status: 502, code: "storage_failed"},
		{name: "no bucket", method: "GET", path: group, reads: kind(ErrNoSuchBucket), status: 502, code: "storage_failed"},
		{name: "wrong region", method: "GET", path: group, reads: kind(ErrWrongRegion), status: 502, code: "storage_failed"},
		{name: "bad response", method: "GET", path: group, reads: kind(ErrBadResponse), status: 502, code: "storage_failed"},
		{name: "unknown error", method: "GET", path: group, reads: storageSays, status: 500, code: "internal"},
		{name: "bad key", method: "GET", path: group, reads: keyError("key", "mask//", "is bad", ""), status: 500, code: "internal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			opts := limits
			if test.opts != nil {
				opts = *test.opts
			}
			var wrap func(ObjectStorage) ObjectStorage
			if test.reads != nil {
				wrap = failWith(test.reads)
			}
			s := newSite(t, wrap, opts)
			s.prepare()

			var body io.Reader
			if test.body != "" {
				body = strings.NewReader(test.body)
			}
			req, err := http.NewRequestWithContext(t.Context(), test.method, s.pacs.URL+test.path, body)
			if err != nil {
				t.Fatal(err)
			}
			media := test.media
			if media == "" {
				media = "application/json; charset=utf-8"
			}
			if media != "-" {
				req.Header.Set("Content-Type", media)
			}
			user := test.user
			if user == "" {
				user = "anna"
			}
			if user != "-" {
				req.Header.Set("Authorization", "Bearer "+user)
			}
			resp := s.send(req)
			data, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			var p problem
			if err := json.Unmarshal(data, &p); err != nil {
				t.Fatalf("%v: %s", err, data)
			}
			type summary struct {
				Status            int
				Code, Field, Type string
			}
			wanted := summary{test.status, test.code, test.field, "application/problem+json"}
			if diff := cmp.Diff(wanted, summary{resp.StatusCode, p.Code, p.Field, resp.Header.Get("Content-Type")}); diff != "" {
				t.Errorf("%s\n%s", diff, data)
			}
			if p.Type != "about:blank" || p.Title != http.StatusText(test.status) || p.Status != test.status || p.Detail == "" {
				t.Errorf("no problem document: %s", data)
			}
			if path, _, _ := strings.Cut(test.path, "?"); p.Instance != path && p.Instance != req.URL.EscapedPath() {
				t.Errorf("instance %q, want %q", p.Instance, path)
			}
			for name, value := range test.header {
				if got := strings.Join(resp.Header.Values(name), ", "); got != value {
					t.Errorf("%s is %q, want %q", name, got, value)
				}
			}
			for _, secret := range []string{"10.0.0.7", "hospital-7", "secret", "goroutine", "X-Amz"} {
				if strings.Contains(string(data), secret) {
					t.Errorf("the answer holds %q: %s", secret, data)
				}
			}
		})
	}
}

// prepare lays out a group in each state.
func (s *site) prepare() {
	ctx := s.t.Context()
	data := testPNG(s.t, 1)
	files := []MaskFile{{Slice: 1, Label: "liver", Body: BytesBody(data)}}
	fail := func(err error) {
		if err != nil {
			s.t.Fatal(err)
		}
	}
	group := func(id string) *Group {
		g, err := NewGroup(s.storage, "ct-1", id, nil)
		fail(err)
		return g
	}
	for _, id := range []string{"done", "deleted"} {
		_, err := group(id).Upload(ctx, files, nil)
		fail(err)
	}
	fail(group("deleted").Delete(ctx))
	_, err := group("open").Begin(ctx, []MaskSpec{files[0].Spec()}, &BeginOptions{Creator: "anna"})
	fail(err)
	_, err = s.storage.Put(ctx, "mask/ct-1/bad/metadata.json", strings.NewReader(`{"schema_version":99}`), nil)
	fail(err)
}

func TestHandlerWithoutHook(t *testing.T) {
	h := NewHandler(new(Memory), nil)
	for _, route := range []string{
		"GET " + groupsPath, "POST " + groupsPath, "GET " + groupsPath + "/g", "DELETE " + groupsPath + "/g",
		"POST " + groupsPath + "/g/complete", "POST " + groupsPath + "/g/renew", "GET " + groupsPath + "/_bad",
	} {
		method, path, _ := strings.Cut(route, " ")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		if rec.Code != http.StatusForbidden {
			t.Errorf("%s: %d", route, rec.Code)
		}
	}
}

func TestHandlerRefusesOptions(t *testing.T) {
	for field, o := range map[string]HandlerOptions{
		"MaxMasks":           {MaxMasks: -1},
		"MaxMaskBytes":       {MaxMaskBytes: -1},
		"MaxBodyBytes":       {MaxBodyBytes: -1},
		"Complete.MaxPixels": {Complete: CompleteOptions{MaxPixels: -1}},
		"Group.Concurrency":  {Group: GroupOptions{Concurrency: -1}},
		"TTL":                {TTL: 2 * time.Hour},
	} {
		s3 := openS3(t, S3Options{
			Bucket: "masks", Region: "eu-central-1", HTTPClient: &http.Client{Transport: noRequests{t}},
		})
		for _, s := range []ObjectStorage{new(Memory), s3} {
			err := func() (err error) {
				defer func() { err, _ = recover().(error) }()
				NewHandler(s, &o)
				return nil
			}()
			wantInputError(t, err, ErrInvalidArgument, field)
		}
	}
	NewHandler(new(Memory), &HandlerOptions{TTL: time.Hour, MaxMasks: 1, MaxMaskBytes: MaxPutSize + 1})
}

// A user whom the hook names and no manifest can is the server's own mistake, whatever the request.
func TestHandlerRefusesUser(t *testing.T) {
	for _, user := range []string{strings.Repeat("u", 257), "a\nb"} {
		s := newSite(t, nil, HandlerOptions{Authorize: func(*http.Request, string, Action) (string, error) { return user, nil }})
		for _, method := range []string{"GET", "POST"} {
			rec := httptest.NewRecorder()
			s.pacs.Config.Handler.ServeHTTP(rec,
				httptest.NewRequestWithContext(t.Context(), method, groupsPath, strings.NewReader("{")))
			if rec.Code != http.StatusInternalServerError || !strings.Contains(s.log.String(), "at most 256 bytes") {
				t.Errorf("%s by %.5q: %d; the log: %s", method, user, rec.Code, s.log)
			}
		}
	}
}
