package maskstore

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hostileManifests are files that someone put in place of the metadata.json of group g of annotation a.
func hostileManifests() map[string]string {
	const (
		head = `{"schema_version":1,"annotation_id":"a","group_id":"g","revision":1`
		mask = `{"key":"mask/a/g/0001_x.png","slice":1,"label":"x","size":1,"etag":"e"}`
	)
	with := func(more string) string { return head + `,"masks":[` + mask + `]` + more + `}` }
	masks := func(masks string) string { return head + `,"masks":[` + masks + `]}` }
	open := func(pending string) string { return with(`,"pending":{"upload_id":"u","revision":2,` + pending + `}`) }
	return map[string]string{
		"empty":                     "",
		"no JSON":                   "<html>",
		"no object":                 "[]",
		"null":                      "null",
		"cut":                       with("")[:100],
		"more after it":             with("") + "{}",
		"a string without end":      `{"`,
		"older schema":              strings.Replace(with(""), `"schema_version":1,`, "", 1),
		"newer schema":              strings.Replace(with(""), `"schema_version":1`, `"schema_version":2`, 1),
		"another group's":           strings.Replace(with(""), `"group_id":"g"`, `"group_id":"h"`, 1),
		"group that escapes":        strings.Replace(with(""), `"group_id":"g"`, `"group_id":"../h"`, 1),
		"another group's key":       masks(strings.ReplaceAll(mask, "/g/", "/h/")),
		"key outside mask/":         masks(strings.ReplaceAll(mask, "mask/a/g/", "secret/")),
		"key that escapes":          masks(strings.ReplaceAll(mask, "mask/a/g/", "mask/a/g/../h/")),
		"label that escapes":        masks(`{"key":"mask/a/g/0001_../x.png","slice":1,"label":"../x","size":1,"etag":"e"}`),
		"key of another slice":      masks(strings.ReplaceAll(mask, `"slice":1`, `"slice":2`)),
		"slice of five digits":      masks(`{"key":"mask/a/g/10000_x.png","slice":10000,"label":"x","size":1,"etag":"e"}`),
		"a mask twice":              masks(mask + "," + mask),
		"masks of no revision":      strings.Replace(with(""), `"revision":1`, `"revision":0`, 1),
		"negative revision":         strings.Replace(with(""), `"revision":1`, `"revision":-1`, 1),
		"last revision of all":      strings.Replace(with(""), `"revision":1`, `"revision":9223372036854775807`, 1),
		"huge revision":             strings.Replace(with(""), `"revision":1`, `"revision":1e400`, 1),
		"negative size":             masks(strings.ReplaceAll(mask, `"size":1`, `"size":-1`)),
		"huge size":                 masks(strings.ReplaceAll(mask, `"size":1`, `"size":9223372036854775807`)),
		"size over all integers":    masks(strings.ReplaceAll(mask, `"size":1`, `"size":`+strings.Repeat("9", 10_000))),
		"no etag":                   masks(strings.ReplaceAll(mask, `,"etag":"e"`, ``)),
		"header in an etag":         masks(strings.ReplaceAll(mask, `"e"`, `"e\"\r\nX: y"`)),
		"half a checksum":           masks(strings.ReplaceAll(mask, `"size"`, `"sha256":"00","size"`)),
		"a member twice":            with(`,"revision":1`),
		"masks twice":               with(`,"masks":[]`),
		"escaped, twice":            with(`,"\u006dasks":[]`),
		"twice in a mask":           masks(strings.ReplaceAll(mask, `"size"`, `"slice":1,"size"`)),
		"twice in what we know not": with(`,"x":{"y":[{"z":1,"z":2}]}`),
		"another case":              strings.Replace(with(""), `"masks"`, `"Masks"`, 1),
		"another case, too":         with(`,"MASKS":[]`),
		"long s":                    with(`,"ſegments":[]`),
		"another case in a mask":    masks(strings.ReplaceAll(mask, `"etag"`, `"ETag"`)),
		"broken UTF-8":              with(`,"x":"` + "\xff" + `"`),
		"masks no array":            head + `,"masks":{}}`,
		"deep arrays":               with(`,"x":` + strings.Repeat("[", 1<<20)),
		"deep objects":              with(`,"x":` + strings.Repeat(`{"x":`, 100_000) + "1" + strings.Repeat("}", 100_000)),
		"deeper than we read":       with(`,"x":` + strings.Repeat("[", maxManifestDepth) + strings.Repeat("]", maxManifestDepth)),
		"deep masks":                masks(strings.Repeat("[", 100) + strings.Repeat("]", 100)),
		"creator too long":          with(`,"creator":"` + strings.Repeat("x", 257) + `"`),
		"creator of two lines":      with(`,"creator":"ann\nlevel=ERROR"`),
		"unexpected elsewhere":      with(`,"unexpected":[{"key":"mask/a/h/x","etag":"e"}]`),
		"pending key":               open(`"masks":[` + strings.ReplaceAll(mask, "/g/", "/h/") + `]`),
		"pending mask twice":        open(`"masks":[` + mask + "," + mask + `]`),
		"pending revision":          strings.Replace(open(`"masks":[`+mask+`]`), `"revision":2`, `"revision":-2`, 1),
		"pending creator":           open(`"creator":"a\u0000","masks":[` + mask + `]`),
		"header in a base etag":     open(`"masks":[` + mask + `],"base_etags":{"mask/a/g/0001_x.png":"e\r\nX: y"}`),
		"base of another key":       open(`"masks":[` + mask + `],"base_etags":{"mask/a/h/0001_x.png":"e"}`),
	}
}

// groupCall is a method of a group, or a function over groups, of which only the error counts.
type groupCall struct {
	name string
	call func(context.Context, ObjectStorage, *Group) error
}

func groupCalls(t *testing.T) []groupCall {
	data := testPNG(t, 1)
	files := []MaskFile{{Slice: 1, Label: "x", Body: BytesBody(data)}}
	specs := []MaskSpec{files[0].Spec()}
	return []groupCall{
		{"Manifest", func(ctx context.Context, _ ObjectStorage, g *Group) error { return second(g.Manifest(ctx)) }},
		{"DownloadURLs", func(ctx context.Context, _ ObjectStorage, g *Group) error {
			_, _, err := g.DownloadURLs(ctx, nil)
			return err
		}},
		{"Masks", func(ctx context.Context, _ ObjectStorage, g *Group) error {
			for _, err := range g.Masks(ctx) {
				return err
			}
			return nil
		}},
		{"Download", func(ctx context.Context, _ ObjectStorage, g *Group) error {
			return second(g.Download(ctx, filepath.Join(t.TempDir(), "out")))
		}},
		{"Begin", func(ctx context.Context, _ ObjectStorage, g *Group) error { return second(g.Begin(ctx, specs, nil)) }},
		{"Begin, superseding", func(ctx context.Context, _ ObjectStorage, g *Group) error {
			return second(g.Begin(ctx, specs, &BeginOptions{Supersede: true, Keep: true}))
		}},
		{"Renew", func(ctx context.Context, _ ObjectStorage, g *Group) error { return second(g.Renew(ctx, "", nil, nil)) }},
		{"Complete", func(ctx context.Context, _ ObjectStorage, g *Group) error {
			return second(g.Complete(ctx, "", nil, &CompleteOptions{VerifyContent: true}))
		}},
		{"Upload", func(ctx context.Context, _ ObjectStorage, g *Group) error { return second(g.Upload(ctx, files, nil)) }},
		{"Adopt", func(ctx context.Context, _ ObjectStorage, g *Group) error { return second(g.Adopt(ctx, nil)) }},
		{"Groups", func(ctx context.Context, s ObjectStorage, _ *Group) error {
			for _, err := range Groups(ctx, s, "a", nil) {
				return err
			}
			return nil
		}},
		{"Sweep", func(ctx context.Context, s ObjectStorage, _ *Group) error { return second(Sweep(ctx, s, nil)) }},
	}
}

func TestHostileManifest(t *testing.T) {
	for name, text := range hostileManifests() {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			s := &Memory{BaseURL: "http://localhost"}
			for key, content := range map[string]string{
				"mask/a/g/metadata.json": text, "mask/a/g/0001_x.png": "x", "mask/a/h/0001_x.png": "x",
			} {
				if _, err := s.Put(ctx, key, strings.NewReader(content), nil); err != nil {
					t.Fatal(err)
				}
			}
			before := etagsOf(t, s)
			g, err := NewGroup(s, "a", "g", nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range groupCalls(t) {
				switch err := c.call(ctx, s, g); {
				case !errors.Is(err, ErrInvalidManifest):
					t.Errorf("%s: %v; want ErrInvalidManifest", c.name, err)
				case len(err.Error()) > 2000:
					t.Errorf("%s: the error has %d bytes", c.name, len(err.Error()))
				}
			}
			if diff := cmp.Diff(before, etagsOf(t, s)); diff != "" {
				t.Fatalf("something was written:\n%s", diff)
			}
			// Whatever it is, it can be deleted, and nothing beside the group goes with it.
			if err := g.Delete(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Manifest(ctx); !errors.Is(err, ErrDeleted) {
				t.Errorf("after Delete: %v", err)
			}
			left := etagsOf(t, s)
			delete(left, "mask/a/g/metadata.json")
			if len(left) != 1 || left["mask/a/h/0001_x.png"] == "" {
				t.Errorf("Delete left %v", left)
			}
		})
	}
}

func etagsOf(t *testing.T, s ObjectStorage) map[string]string {
	t.Helper()
	etags := make(map[string]string)
	for info, err := range s.List(t.Context(), "mask/", nil) {
		if err != nil {
			t.Fatal(err)
		}
		etags[info.Key] = info.ETag
	}
	return etags
}

// vast is a storage whose metadata.json is generated as it is read.
type vast struct {
	*Memory
	text io.Reader
	size int64 // that is said
	read int64
}

func (v *vast) Get(ctx context.Context, key string, opts *GetOptions) (*Object, error) {
	obj, err := v.Memory.Get(ctx, key, opts)
	if err == nil {
		obj.Size, obj.Body = v.size, io.NopCloser(v)
	}
	return obj, err
}

func (v *vast) Read(p []byte) (int, error) {
	n, err := v.text.Read(p)
	v.read += int64(n)
	return n, err
}

// TestHugeManifest: what a metadata.json can make the library read and hold is bounded, whatever size it is said to have.
func TestHugeManifest(t *testing.T) {
	const (
		gib  = 1 << 30
		full = maxManifestBytes - 200
		head = `{"schema_version":1,"annotation_id":"a","group_id":"g","revision":1,`
	)
	for name, row := range map[string]struct {
		before, pattern, after string
		length                 int64 // of what repeats
		size                   int64 // that is said; 0: the right one
		read, alloc            int64 // at most
	}{
		"1 GiB that says so":        {head, " ", "}", gib, 0, 0, 1 << 20},
		"no end, and no size":       {head, " ", "}", 1 << 60, -1, maxManifestBytes + 1, 10 * maxManifestBytes},
		"masks":                     {head + `"masks":[`, `{},`, `{}]}`, full, 0, maxManifestBytes, 4 * maxManifestBytes},
		"members":                   {head + `"x":{`, `"a":0,`, `"b":0}}`, full, 0, maxManifestBytes, 4 * maxManifestBytes},
		"depth":                     {head + `"x":`, `[`, ``, full, 0, maxManifestBytes, 4 * maxManifestBytes},
		"as many masks as are read": {head + `"masks":[`, `{"a":0},`, `{}]}`, 8 * (maxManifestObjects - 10), 0, maxManifestBytes, 10 * maxManifestBytes},
		"one string":                {head + `"creator":"`, `x`, `"}`, full / 8, 0, maxManifestBytes, 4 * maxManifestBytes},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			s := &vast{Memory: &Memory{BaseURL: "http://localhost"}, size: row.size}
			if row.size == 0 {
				s.size = int64(len(row.before)) + row.length + int64(len(row.after))
			}
			if _, err := s.Put(ctx, "mask/a/g/metadata.json", strings.NewReader("{}"), nil); err != nil {
				t.Fatal(err)
			}
			g, err := NewGroup(s, "a", "g", nil)
			if err != nil {
				t.Fatal(err)
			}
			calls := groupCalls(t)
			if row.read > 0 {
				calls = calls[:1] // they all read it alike, which takes a second
			}
			for _, c := range calls {
				s.text = io.MultiReader(repeated(row.before, row.pattern, int64(len(row.before))+row.length),
					strings.NewReader(row.after))
				s.read = 0
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				err := c.call(ctx, s, g)
				runtime.ReadMemStats(&after)
				if !errors.Is(err, ErrInvalidManifest) {
					t.Errorf("%s: %v", c.name, err)
				}
				if s.read > row.read {
					t.Errorf("%s read %d bytes, want at most %d", c.name, s.read, row.read)
				}
				if got := int64(after.TotalAlloc - before.TotalAlloc); got > row.alloc {
					t.Errorf("%s allocated %d MiB, want at most %d", c.name, got>>20, row.alloc>>20)
				}
			}
			if err := g.Delete(ctx); err != nil {
				t.Errorf("Delete: %v", err)
			}
		})
	}
}
