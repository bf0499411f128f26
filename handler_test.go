package maskstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// site is a PACS server and the storage behind it, both on loopback.
type site struct {
	t       *testing.T
	storage *Memory
	pacs    *httptest.Server
	log     *bytes.Buffer
}

const groupsPath = "/api/annotations/ct-1/mask-groups"

// newSite lets in whoever says a name as "Authorization: Bearer <name>".
func newSite(t *testing.T, wrap func(ObjectStorage) ObjectStorage, opts HandlerOptions) *site {
	s := &site{t: t, storage: new(Memory), log: new(bytes.Buffer)}
	server := httptest.NewServer(s.storage)
	t.Cleanup(server.Close)
	s.storage.BaseURL = server.URL
	if opts.Authorize == nil {
		opts.Authorize = authorizeBearer
	}
	opts.Logger = slog.New(slog.NewTextHandler(s.log, nil))
	var storage ObjectStorage = s.storage
	if wrap != nil {
		storage = wrap(storage)
	}
	s.pacs = httptest.NewServer(NewHandler(storage, &opts))
	t.Cleanup(s.pacs.Close)
	return s
}

func authorizeBearer(r *http.Request, _ string, action Action) (string, error) {
	user, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	said := errors.New("the directory at 10.0.0.7 says so")
	switch user {
	case "":
		return "", &Error{Kind: ErrUnauthenticated, Err: said}
	case "reader":
		if action != ActionRead {
			return "", &Error{Kind: ErrAccessDenied, Err: said}
		}
	case "broken":
		return "", errors.New("the directory at 10.0.0.7 is down")
	case "panic":
		panic("the secret of the hook")
	}
	return user, nil
}

// do makes a request as user. A body that is no io.Reader goes as JSON; nil is none.
func (s *site) do(user, method, path string, body any) *http.Response {
	s.t.Helper()
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.pacs.URL+path, reader)
	if err != nil {
		s.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+user)
	return s.send(req)
}

func (s *site) send(req *http.Request) *http.Response {
	s.t.Helper()
	resp, err := s.pacs.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// want checks the status and decodes the body.
func want[T any](t *testing.T, resp *http.Response, status int) T {
	t.Helper()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("status %d, want %d: %s", resp.StatusCode, status, data)
	}
	for name, value := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		if got := resp.Header.Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	var v T
	if status == http.StatusNoContent {
		return v
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return v
}

type object map[string]any

// masksOf declares a PNG for each slice.
func masksOf(pngs map[int][]byte) []MaskSpec {
	var specs []MaskSpec
	for slice := range 10_000 {
		if data, ok := pngs[slice]; ok {
			specs = append(specs, MaskSpec{Slice: slice, Label: "liver", Size: int64(len(data)), SHA256: SumSHA256(data)})
		}
	}
	return specs
}

func testPNG(t testing.TB, shade uint8) []byte {
	img := image.NewGray(image.Rect(0, 0, 16, 16))
	img.SetGray(3, 5, color.Gray{shade})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func testPNGs(t testing.TB, n int, shade uint8) map[int][]byte {
	pngs := make(map[int][]byte)
	for slice := range n {
		pngs[slice] = testPNG(t, shade+uint8(slice))
	}
	return pngs
}

// put puts the masks as a viewer does that knows nothing but the answer, and gives the ETags.
func (s *site) put(up uploadAnswer, pngs map[int][]byte) map[string]string {
	s.t.Helper()
	etags := make(map[string]string)
	for _, m := range up.Masks {
		if m.Unchanged {
			continue
		}
		req, err := http.NewRequestWithContext(s.t.Context(), m.URL.Method, m.URL.URL, bytes.NewReader(pngs[m.Slice]))
		if err != nil {
			s.t.Fatal(err)
		}
		for name, value := range m.URL.Headers {
			req.Header.Set(name, value)
		}
		resp := s.send(req)
		if resp.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(resp.Body)
			s.t.Fatalf("PUT of %s: %s\n%s", m.Key, resp.Status, body)
		}
		etags[m.Key] = resp.Header.Get("ETag")
	}
	return etags
}

// save saves the masks as a group, whole.
func (s *site) save(user, group string, pngs map[int][]byte) completeAnswer {
	s.t.Helper()
	up := want[uploadAnswer](s.t, s.do(user, "POST", groupsPath, object{"group_id": group, "masks": masksOf(pngs)}),
		http.StatusCreated)
	body := object{"upload_id": up.UploadID, "etags": s.put(up, pngs)}
	return want[completeAnswer](s.t, s.do(user, "POST", groupsPath+"/"+up.Group+"/complete", body), http.StatusOK)
}

func TestHandlerFlow(t *testing.T) {
	s := newSite(t, nil, HandlerOptions{Complete: CompleteOptions{VerifyPNG: true}})
	pngs := testPNGs(t, 5, 10)
	metadata := object{"width": 16, "height": 16, "segments": []object{{"segment_number": 1, "segment_label": "liver"}}}

	resp := s.do("anna", "POST", groupsPath, object{"masks": masksOf(pngs), "metadata": metadata})
	up := want[uploadAnswer](t, resp, http.StatusCreated)
	location, err := resp.Location()
	if err != nil || location.Path != groupsPath+"/"+up.Group {
		t.Errorf("Location is %v, %v", location, err)
	}
	if up.Annotation != "ct-1" || up.Revision != 1 || up.UploadID == "" || len(up.Masks) != 5 || up.Metadata.Width != 16 ||
		!up.Expires.After(time.Now()) {
		t.Errorf("begun: %+v", up)
	}
	group := groupsPath + "/" + up.Group

	p := want[problem](t, s.do("anna", "GET", group, nil), http.StatusConflict)
	if p.Code != "incomplete" {
		t.Errorf("before the commit GET is %+v", p)
	}
	etags := s.put(up, map[int][]byte{0: pngs[0], 1: pngs[1], 2: pngs[2], 3: pngs[3], 4: pngs[4]})
	done := want[completeAnswer](t, s.do("anna", "POST", group+"/complete", object{"upload_id": up.UploadID, "etags": etags}),
		http.StatusOK)
	if done.Manifest.Revision != 1 || done.Manifest.Creator != "anna" || len(done.Verdicts) != 5 ||
		done.Verdicts[0].Problem != "" {
		t.Errorf("completed: %+v", done)
	}
	again := want[completeAnswer](t, s.do("anna", "POST", group+"/complete", nil), http.StatusOK)
	if diff := cmp.Diff(done.Manifest.UploadID, again.Manifest.UploadID); diff != "" {
		t.Error(diff)
	}

	got := want[getAnswer](t, s.do("reader", "GET", group, nil), http.StatusOK)
	if len(got.Masks) != 5 || got.Manifest.Revision != 1 {
		t.Fatalf("got: %+v", got)
	}
	for _, m := range got.Masks {
		req, err := m.URL.SignedURL().Request(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(s.send(req).Body)
		if err != nil || !bytes.Equal(data, pngs[m.Slice]) {
			t.Errorf("slice %d came back as %d bytes, %v", m.Slice, len(data), err)
		}
	}

	pngs[2] = testPNG(t, 200)
	up = want[uploadAnswer](t, s.do("anna", "POST", groupsPath, object{"group_id": up.Group, "masks": masksOf(pngs)}),
		http.StatusCreated)
	for _, m := range up.Masks {
		if m.Unchanged != (m.Slice != 2) || m.Unchanged != (m.URL == nil) {
			t.Errorf("re-saved: %+v", m)
		}
	}
	etags = s.put(up, pngs)
	done = want[completeAnswer](t, s.do("anna", "POST", group+"/complete", object{"etags": etags}), http.StatusOK)
	if len(etags) != 1 || done.Manifest.Revision != 2 || len(done.Manifest.Masks) != 5 {
		t.Errorf("re-saved with %d PUTs: %+v", len(etags), done.Manifest)
	}

	want[struct{}](t, s.do("anna", "DELETE", group, nil), http.StatusNoContent)
	if p := want[problem](t, s.do("anna", "GET", group, nil), http.StatusGone); p.Code != "deleted" {
		t.Errorf("after the deletion GET is %+v", p)
	}
	want[struct{}](t, s.do("anna", "DELETE", group, nil), http.StatusNoContent)
	for info, err := range s.storage.List(t.Context(), "mask/ct-1/", nil) {
		if err != nil || !strings.HasSuffix(info.Key, "/metadata.json") {
			t.Errorf("left: %q, %v", info.Key, err)
		}
	}
}

func TestHandlerNamesWhatIsMissing(t *testing.T) {
	s := newSite(t, nil, HandlerOptions{})
	pngs := testPNGs(t, 3, 10)
	up := want[uploadAnswer](t, s.do("anna", "POST", groupsPath, object{"masks": masksOf(pngs)}), http.StatusCreated)
	group := groupsPath + "/" + up.Group
	some := up
	some.Masks = up.Masks[:2]
	etags := s.put(some, pngs)

	p := want[problem](t, s.do("anna", "POST", group+"/complete", object{"upload_id": up.UploadID, "etags": etags}),
		http.StatusConflict)
	if p.Code != "incomplete" || len(p.Verdicts) != 3 || p.Verdicts[1].Problem != "" ||
		p.Verdicts[2].Problem != ProblemMissing {
		t.Fatalf("%+v", p)
	}
	if p.Detail != "1 of 3 masks are not there as declared" {
		t.Errorf("detail %q", p.Detail)
	}

	renewed := want[uploadAnswer](t, s.do("anna", "POST", group+"/renew", object{"upload_id": up.UploadID, "etags": etags}),
		http.StatusOK)
	if renewed.UploadID != up.UploadID || !renewed.Masks[0].Unchanged || !renewed.Masks[1].Unchanged ||
		renewed.Masks[2].Unchanged {
		t.Fatalf("renewed: %+v", renewed)
	}
	s.put(renewed, pngs)
	done := want[completeAnswer](t, s.do("anna", "POST", group+"/complete", object{"upload_id": up.UploadID}), http.StatusOK)
	if done.Manifest.Revision != 1 {
		t.Errorf("completed: %+v", done.Manifest)
	}
}

// An older viewer hashes nothing and completes without a body.
func TestHandlerOlderViewer(t *testing.T) {
	s := newSite(t, nil, HandlerOptions{})
	pngs := testPNGs(t, 3, 10)
	var masks []object
	for _, m := range masksOf(pngs) {
		masks = append(masks, object{"slice": m.Slice, "label": m.Label, "size": m.Size})
	}
	up := want[uploadAnswer](t, s.do("anna", "POST", groupsPath, object{"masks": masks}), http.StatusCreated)
	s.put(up, pngs)

	reports := want[problem](t, s.do("anna", "POST", groupsPath+"/"+up.Group+"/complete", object{"etags": object{}}),
		http.StatusConflict)
	if reports.Verdicts[0].Problem != ProblemNotThisUpload {
		t.Errorf("a client that reports, and reported nothing: %+v", reports.Verdicts)
	}
	done := want[completeAnswer](t, s.do("anna", "POST", groupsPath+"/"+up.Group+"/complete", nil), http.StatusOK)
	if done.Manifest.Revision != 1 || len(done.Manifest.Masks) != 3 {
		t.Errorf("completed: %+v", done.Manifest)
	}
}

func TestHandlerOpenUpload(t *testing.T) {
	s := newSite(t, nil, HandlerOptions{})
	begin := func(user string, more object) *http.Response {
		body := object{"group_id": "g", "masks": masksOf(testPNGs(t, 2, 10))}
		for k, v := range more {
			body[k] = v
		}
		return s.do(user, "POST", groupsPath, body)
	}
	first := want[uploadAnswer](t, begin("anna", nil), http.StatusCreated)

	p := want[problem](t, begin("ben", nil), http.StatusConflict)
	if p.Code != "upload_open" || p.Creator != "anna" || p.Until.Before(first.Expires) || !strings.Contains(p.Detail, "anna") {
		t.Errorf("another user: %+v; the URLs live until %v", p, first.Expires)
	}
	second := want[uploadAnswer](t, begin("anna", nil), http.StatusCreated)
	third := want[uploadAnswer](t, begin("ben", object{"supersede": true}), http.StatusCreated)
	if first.UploadID == second.UploadID || second.UploadID == third.UploadID {
		t.Error("an upload ID stands twice")
	}
	for _, step := range []string{"complete", "renew"} {
		p := want[problem](t, s.do("anna", "POST", groupsPath+"/g/"+step, object{"upload_id": second.UploadID}),
			http.StatusConflict)
		if p.Code != "superseded" {
			t.Errorf("%s: %+v", step, p)
		}
	}
}

func TestHandlerPages(t *testing.T) {
	s := newSite(t, nil, HandlerOptions{})
	for i := range 7 {
		s.save("anna", fmt.Sprintf("g%d", i), testPNGs(t, 1+i%2, 10))
	}
	want[uploadAnswer](t, s.do("ben", "POST", groupsPath, object{"group_id": "open", "masks": masksOf(testPNGs(t, 4, 10))}),
		http.StatusCreated)
	if _, err := s.storage.Put(t.Context(), "mask/ct-1/bad/metadata.json", strings.NewReader("{"), nil); err != nil {
		t.Fatal(err)
	}
	var pages [][]string
	var all []groupAnswer
	for next := ""; ; {
		page := want[listAnswer](t, s.do("reader", "GET", groupsPath+"?limit=3&start_after="+next, nil), http.StatusOK)
		var ids []string
		for _, g := range page.Groups {
			ids = append(ids, g.Group)
		}
		pages, all = append(pages, ids), append(all, page.Groups...)
		if next = page.Next; next == "" {
			break
		}
	}
	if diff := cmp.Diff([][]string{{"bad", "g0", "g1"}, {"g2", "g3", "g4"}, {"g5", "g6", "open"}}, pages); diff != "" {
		t.Fatal(diff)
	}
	if bad := all[0]; bad.Problem != "invalid_manifest" {
		t.Errorf("bad: %+v", bad)
	}
	if g := all[2]; g.Revision != 1 || g.Masks != 2 || g.Creator != "anna" || g.CommittedAt.IsZero() || g.Open != nil {
		t.Errorf("committed: %+v", g)
	}
	if g := all[8]; g.Revision != 0 || g.Open == nil || g.Open.Creator != "ben" || g.Open.Masks != 4 {
		t.Errorf("open: %+v", g)
	}
	empty := want[map[string]any](t, s.do("reader", "GET", "/api/annotations/none/mask-groups", nil), http.StatusOK)
	if diff := cmp.Diff(map[string]any{"annotation_id": "none", "groups": []any{}}, empty); diff != "" {
		t.Error(diff)
	}
}

func TestHandlerLogsNoSignature(t *testing.T) {
	s := newSite(t, func(m ObjectStorage) ObjectStorage { return m }, HandlerOptions{})
	s.save("anna", "g", testPNGs(t, 2, 10))
	s.do("anna", "GET", groupsPath+"/g?token=t0psecret", nil)
	s.do("broken", "GET", groupsPath+"/g", nil)
	s.pacs.Close() // waits for what is in flight
	log := s.log.String()
	for _, secret := range []string{"X-Amz", "Bearer", "t0psecret"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q:\n%s", secret, log)
		}
	}
	for _, told := range []string{
		"user=anna", "status=201", "method=POST", "path=" + groupsPath + "/g", "the directory at 10.0.0.7 is down",
	} {
		if !strings.Contains(log, told) {
			t.Errorf("the log does not hold %q:\n%s", told, log)
		}
	}
}

// A reader of n bytes that repeats pattern after prefix.
func repeated(prefix, pattern string, n int64) io.Reader {
	return io.LimitReader(io.MultiReader(strings.NewReader(prefix), &repeater{pattern: strings.Repeat(pattern, 1000)}), n)
}

type repeater struct {
	pattern string
	at      int
}

func (r *repeater) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		copied := copy(p[n:], r.pattern[r.at:])
		r.at = (r.at + copied) % len(r.pattern)
		n += copied
	}
	return n, nil
}

func TestHandlerBoundsMemory(t *testing.T) {
	const size, bound = 100 << 20, 48 << 20
	h := NewHandler(new(Memory), &HandlerOptions{Authorize: authorizeBearer})
	for _, test := range []struct {
		name, prefix, pattern string
		known                 bool // the length is said beforehand
		status                int
	}{
		{"length known", `{"masks":[`, `{},`, true, http.StatusRequestEntityTooLarge},
		{"no masks", `{"masks":[`, `{},`, false, http.StatusBadRequest},
		{"masks", `{"masks":[`, `{"slice":1,"label":"liver","size":1},`, false, http.StatusBadRequest},
		{"one string", `{"group_id":"`, `x`, false, http.StatusRequestEntityTooLarge},
		{"white space", ``, ` `, false, http.StatusRequestEntityTooLarge},
		{"segments", `{"metadata":{"segments":[`, `{},`, false, http.StatusRequestEntityTooLarge},
		{"segments within the limit", `{"metadata":{"segments":[` + strings.Repeat(`{},`, 3<<20) + `{}]}}`, " ", false, http.StatusBadRequest},
		{"depth", `{"metadata":`, `[`, false, http.StatusBadRequest},
		{"no JSON", ``, "\x00", false, http.StatusBadRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			req := httptest.NewRequestWithContext(t.Context(), "POST", groupsPath, repeated(test.prefix, test.pattern, size))
			req.ContentLength = -1
			if test.known {
				req.ContentLength = size
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer anna")
			rec := httptest.NewRecorder()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			h.ServeHTTP(rec, req)
			runtime.ReadMemStats(&after)
			if rec.Code != test.status {
				t.Errorf("status %d, want %d: %s", rec.Code, test.status, rec.Body)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > bound {
				t.Errorf("allocated %d MiB, want under %d", got>>20, bound>>20)
			}
			if rec.Body.Len() > 4<<10 {
				t.Errorf("the answer has %d bytes", rec.Body.Len())
			}
		})
	}
}

// failing is a storage whose reads fail.
type failing struct {
	ObjectStorage
	err error
}

func (f failing) Get(context.Context, string, *GetOptions) (*Object, error) { return nil, f.err }
