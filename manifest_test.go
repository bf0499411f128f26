package maskstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func testDocument() *document {
	key := MaskKey{"a", "g", 3, "간_liver"}
	mask := Mask{Key: key.String(), Slice: 3, Label: "간_liver", Size: 70, SHA256: SumSHA256([]byte("x")), ETag: "e1"}
	open := mask
	open.ETag = ""
	return &document{
		WriteID: "w",
		Manifest: Manifest{
			SchemaVersion: 1, Annotation: "a", Group: "g", Revision: 2, UploadID: "u", Creator: "ann",
			BegunAt: time.Unix(1e9, 0).UTC(), CommittedAt: time.Unix(1e9+5, 0).UTC(),
			Metadata: Metadata{
				StudyInstanceUID: "1.2.840", Width: 512, Height: 512,
				Segments: []Segment{{
					Number: 1, Label: "간_liver", AlgorithmType: "MANUAL", Colour: "#aa0000",
					Type:  &Code{Scheme: "SCT", Value: "10200004", Meaning: "Liver"},
					extra: extraMembers{"opacity": json.RawMessage("0.5")},
				}},
			},
			Masks:      []Mask{mask},
			Unexpected: []UnexpectedObject{{"mask/a/g/old", "e0"}},
		},
		URLsUntil: time.Unix(1e9+600, 0).UTC(),
		Pending: &pending{
			UploadID: "v", Revision: 3, BegunAt: time.Unix(2e9, 0).UTC(), URLsUntil: time.Unix(2e9, 0).UTC(),
			Metadata: &Metadata{Width: 1, Height: 1}, Masks: []Mask{open}, Base: map[string]string{mask.Key: "e1"},
		},
		extra: extraMembers{"reviewed_by": json.RawMessage(`"dr"`)},
	}
}

var compareDocuments = cmp.Options{
	cmp.AllowUnexported(document{}, Mask{}, Segment{}, Code{}),
	cmpopts.EquateEmpty(),
}

func TestDocumentRoundTrip(t *testing.T) {
	doc := testDocument()
	data, err := doc.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeDocument(data, "a", "g")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(doc, got, compareDocuments); diff != "" {
		t.Errorf("document read back (-written +read):\n%s", diff)
	}
}

// TestManifestNames holds the names in metadata.json, which other programs read.
func TestManifestNames(t *testing.T) {
	data, err := testDocument().encode()
	if err != nil {
		t.Fatal(err)
	}
	var names map[string]any
	if err := json.Unmarshal(data, &names); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"schema_version", "annotation_id", "group_id", "revision", "upload_id", "creator", "begun_at", "committed_at",
		"study_instance_uid", "width", "height", "segments.segment_number", "segments.segment_label",
		"segments.segment_algorithm_type", "segments.recommended_display_colour",
		"segments.segmented_property_type.code_value", "masks.key", "masks.slice", "masks.label", "masks.size",
		"masks.sha256", "masks.etag", "unexpected.key", "urls_until", "pending.upload_id", "pending.urls_until",
		"pending.masks.key", "pending.base_etags", "reviewed_by",
	} {
		var at any = names
		for name := range strings.SplitSeq(path, ".") {
			if list, ok := at.([]any); ok {
				at = list[0]
			}
			at = at.(map[string]any)[name]
		}
		if at == nil {
			t.Errorf("%s is not there", path)
		}
	}
}

func TestDecodeDocumentRefuses(t *testing.T) {
	for name, data := range map[string]string{
		"empty":          "",
		"no object":      "[]",
		"null":           "null",
		"cut":            `{"schema_version": 1, "annotation_id": "a"`,
		"older schema":   `{"annotation_id": "a", "group_id": "g"}`,
		"newer schema":   `{"schema_version": 2, "annotation_id": "a", "group_id": "g"}`,
		"another group":  `{"schema_version": 1, "annotation_id": "a", "group_id": "h"}`,
		"foreign key":    `{"schema_version": 1, "annotation_id": "a", "group_id": "g", "revision": 1, "masks": [{"key": "mask/b/g/0001_x.png", "slice": 1, "label": "x", "size": 1, "etag": "e"}]}`,
		"escaping label": `{"schema_version": 1, "annotation_id": "a", "group_id": "g", "revision": 1, "masks": [{"key": "mask/a/g/0001_../x.png", "slice": 1, "label": "../x", "size": 1, "etag": "e"}]}`,
		"pending key":    `{"schema_version": 1, "annotation_id": "a", "group_id": "g", "pending": {"masks": [{"key": "mask/b/g/0001_x.png", "slice": 1, "label": "x", "size": 1}]}}`,
		"header in etag": `{"schema_version": 1, "annotation_id": "a", "group_id": "g", "revision": 1, "masks": [{"key": "mask/a/g/0001_x.png", "slice": 1, "label": "x", "size": 1, "etag": "e\"\r\nX: y"}]}`,
		"deep":           strings.Repeat(`{"x":`, 20_000) + "1" + strings.Repeat("}", 20_000),
	} {
		if _, err := decodeDocument([]byte(data), "a", "g"); !errors.Is(err, ErrInvalidManifest) {
			t.Errorf("%s: error is %v; want ErrInvalidManifest", name, err)
		}
	}
}

// sameValue compares JSON by what it says.
var sameValue = cmp.Transformer("value", func(raw json.RawMessage) (v any) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return err.Error()
	}
	return v
})

// TestForeignMembersStayAsTheyAre: a file that is rewritten again and again does not grow.
func TestForeignMembersStayAsTheyAre(t *testing.T) {
	doc := testDocument()
	doc.extra["linked"] = json.RawMessage(`[{"key":1}]`)
	first, err := doc.encode()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if doc, err = decodeDocument(first, "a", "g"); err != nil {
			t.Fatal(err)
		}
		again, err := doc.encode()
		if diff := cmp.Diff(string(first), string(again)); diff != "" || err != nil {
			t.Fatalf("%v\n%s", err, diff)
		}
	}
}

// FuzzDecodeDocument: what is read can be written and read again, and the fast way reads what the slow one does.
func FuzzDecodeDocument(f *testing.F) {
	data, err := testDocument().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"schema_version": 1, "annotation_id": "a", "group_id": "g", "masks": null, "\u0000": {}}`))
	for _, text := range hostileManifests() {
		if len(text) < 1000 {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := decodeDocument(data, "a", "g")
		if err != nil {
			if !errors.Is(err, ErrInvalidManifest) || len(err.Error()) > 2000 {
				t.Fatalf("error of %d bytes: %v", len(err.Error()), err)
			}
			return
		}
		if slow, err := decodeSlow(data); err != nil {
			t.Fatalf("only the fast way reads it: %v", err)
		} else if diff := cmp.Diff(slow, doc, compareDocuments); diff != "" {
			t.Fatalf("the fast way reads it otherwise (-slow +fast):\n%s", diff)
		}
		again, err := doc.encode()
		if err != nil {
			t.Fatalf("a manifest that was read cannot be written: %v", err)
		}
		got, err := decodeDocument(again, "a", "g")
		if err != nil {
			t.Fatalf("a manifest that was written cannot be read: %v\n%s", err, again)
		}
		if diff := cmp.Diff(doc, got, compareDocuments, sameValue); diff != "" {
			t.Fatalf("read back differently:\n%s", diff)
		}
	})
}

// What holds a Mask marshals whole: the Mask's own methods would leave out the rest.
func TestMasksMarshalWhole(t *testing.T) {
	mask := Mask{Key: "mask/a/g/0001_x.png", Slice: 1, Label: "x", Size: 4, extra: extraMembers{"url": json.RawMessage("1")}}
	const members = `"key":"mask/a/g/0001_x.png","slice":1,"label":"x","size":4`
	url := SignedURL{Method: "PUT", URL: "http://s3.test/masks/x?sig=1"}
	for _, row := range []struct {
		v    any
		want string
	}{
		{MaskURL{Mask: mask, URL: url}, `{` + members + `,"url":"PUT http://s3.test/masks/x?[redacted]"}`},
		{&MaskURL{Mask: mask, Unchanged: true}, `{` + members + `,"unchanged":true}`},
		{MaskData{mask, []byte("data")}, `{` + members + `,"data":"ZGF0YQ=="}`},
		{(&GroupUpload{Masks: []MaskURL{{Mask: mask, Unchanged: true}}}).Masks, `[{` + members + `,"unchanged":true}]`},
	} {
		got, err := json.Marshal(row.v)
		if err != nil || string(got) != row.want {
			t.Errorf("%T marshals as %s, %v; want %s", row.v, got, err, row.want)
		}
	}
	mask.extra = nil
	for _, v := range []any{MaskURL{Mask: mask, Unchanged: true}, MaskData{mask, []byte("data")}} {
		data, err := json.Marshal(v)
		back := reflect.New(reflect.TypeOf(v))
		if err == nil {
			err = json.Unmarshal(data, back.Interface())
		}
		if err != nil || !reflect.DeepEqual(back.Elem().Interface(), v) {
			t.Errorf("%s comes back as %+v, %v", data, back.Elem(), err)
		}
	}
	if data, _ := json.Marshal(MaskURL{Mask: mask, URL: url}); json.Unmarshal(data, new(MaskURL)) == nil {
		t.Error("a redacted URL was taken for one")
	}
}

// How many masks a manifest has room for in a re-save is what MaxGroupMasks says.
func TestRoomForMasks(t *testing.T) {
	for _, row := range []struct {
		id, label string
		least     int
	}{
		{"x", strings.Repeat("간", 60), MaxGroupMasks}, // the key has 198 bytes, and all but 18 of them are the label's
		{strings.Repeat("x", 128), strings.Repeat("\U00020000", 61), 28_000},
	} {
		g, err := NewGroup(new(Memory), row.id, row.id, nil)
		if err != nil {
			t.Fatal(err)
		}
		size := func(n int) int {
			doc := g.newDocument()
			doc.Pending = &pending{Base: make(map[string]string)}
			for i := range n {
				key, etag := MaskKey{row.id, row.id, 9000 + i, row.label}, md5Hex(nil)
				if err := key.Validate(); err != nil {
					t.Fatal(err)
				}
				m := Mask{Key: key.String(), Slice: key.Slice, Label: key.Label, Size: DefaultMaxMaskBytes, SHA256: SumSHA256(nil)}
				doc.Pending.Masks = append(doc.Pending.Masks, m)
				doc.Pending.Base[m.Key] = etag
				m.ETag = etag
				doc.Masks = append(doc.Masks, m)
			}
			data, err := doc.encode()
			if err != nil {
				t.Fatal(err)
			}
			return len(data)
		}
		if each := size(2) - size(1); maxManifestBytes/each < row.least {
			t.Errorf("room for %d masks of %d bytes each; want %d", maxManifestBytes/each, each, row.least)
		}
	}
}

func TestManifestOfTooManyMasks(t *testing.T) {
	masks := make([]Mask, MaxGroupMasks+1)
	for i := range masks {
		key := MaskKey{"a", "g", i % (MaxSlice + 1), fmt.Sprint(i / (MaxSlice + 1))}
		masks[i] = Mask{Key: key.String(), Slice: key.Slice, Label: key.Label, Size: 1, ETag: "e"}
	}
	if err := validateMasks(masks[1:], "mask/a/g/"); err != nil {
		t.Error(err)
	}
	if validateMasks(masks, "mask/a/g/") == nil {
		t.Errorf("%d masks are not too many", len(masks))
	}
}
