package maskstore

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/norm"
)

func TestMaskKeys(t *testing.T) {
	tests := []struct {
		text string
		key  MaskKey
	}{
		{"mask/a1/g1/0000_liver.png", MaskKey{"a1", "g1", 0, "liver"}},
		{"mask/a1/g1/9999_liver.png", MaskKey{"a1", "g1", 9999, "liver"}},
		{"mask/a1/g1/0042_left_lung_upper.png", MaskKey{"a1", "g1", 42, "left_lung_upper"}},
		{"mask/a1/g1/0042__.png", MaskKey{"a1", "g1", 42, "_"}},
		{"mask/a1/g1/0042_-.png", MaskKey{"a1", "g1", 42, "-"}},
		{"mask/a1/g1/0042_0043_liver.png", MaskKey{"a1", "g1", 42, "0043_liver"}},
		{"mask/a1/g1/0007_간.png", MaskKey{"a1", "g1", 7, "간"}},
		{"mask/a1/g1/0007_간_우엽-2.png", MaskKey{"a1", "g1", 7, "간_우엽-2"}},
		{"mask/a1/g1/0007_पेट.png", MaskKey{"a1", "g1", 7, "पेट"}},
		{"mask/1.2.840.113619/2024-01-31_v2/0001_x.png", MaskKey{"1.2.840.113619", "2024-01-31_v2", 1, "x"}},
		{"mask/a/metadata.json/0001_x.png", MaskKey{"a", "metadata.json", 1, "x"}},
		{
			"mask/" + strings.Repeat("A", 128) + "/" + strings.Repeat("9", 128) + "/0001_" + strings.Repeat("간", 64) + ".png",
			MaskKey{strings.Repeat("A", 128), strings.Repeat("9", 128), 1, strings.Repeat("간", 64)},
		},
		{"mask/a/g/0001_" + strings.Repeat("𝒜", 61) + "xx.png", MaskKey{"a", "g", 1, strings.Repeat("𝒜", 61) + "xx"}}, // 246 bytes
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			if got := tt.key.String(); got != tt.text {
				t.Errorf("String: got %q, want %q", got, tt.text)
			}
			got, err := ParseMaskKey(tt.text)
			if diff := cmp.Diff(tt.key, got); diff != "" || err != nil {
				t.Errorf("ParseMaskKey: %v\n%s", err, diff)
			}
			if err := ValidKey(tt.text); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParseMaskKeyRefuses(t *testing.T) {
	for _, text := range []string{
		"",
		"mask/",
		"mask/a/g",
		"mask/a/g/",
		"mask/a/g/metadata.json",
		"Mask/a/g/0001_liver.png",
		"/mask/a/g/0001_liver.png",
		"mask/a/g/h/0001_liver.png",
		"mask/a//0001_liver.png",
		"mask//g/0001_liver.png",
		"mask/../g/0001_liver.png",
		"mask/_trash/g/0001_liver.png",
		"mask/a/.g/0001_liver.png",
		"mask/a b/g/0001_liver.png",
		"mask/주석/g/0001_liver.png",
		"mask/" + strings.Repeat("a", 129) + "/g/0001_liver.png",
		"mask/a/g/1_liver.png",
		"mask/a/g/001_liver.png",
		"mask/a/g/00001_liver.png",
		"mask/a/g/-001_liver.png",
		"mask/a/g/+001_liver.png",
		"mask/a/g/0x01_liver.png",
		"mask/a/g/١٢٣٤_liver.png", // digits, though not ASCII's
		"mask/a/g/0001liver.png",
		"mask/a/g/0001-liver.png",
		"mask/a/g/0001_.png",
		"mask/a/g/0001_liver",
		"mask/a/g/0001_liver.PNG",
		"mask/a/g/0001_liver.jpg",
		"mask/a/g/0001_liver.png.png",
		"mask/a/g/0001_left lung.png",
		"mask/a/g/0001_liver\n.png",
		"mask/a/g/0001_liver\u200b.png",
		"mask/a/g/0001_liver\xff.png",
		"mask/a/g/0001_" + norm.NFD.String("간") + ".png",
		"mask/a/g/0001_e\u0301.png",
		"mask/a/g/0001_" + strings.Repeat("x", 65) + ".png",
		"mask/a/g/0001_" + strings.Repeat("𝒜", 62) + ".png", // 248 bytes
	} {
		got, err := ParseMaskKey(text)
		_, isInput := errors.AsType[*InputError](err)
		if got != (MaskKey{}) || !errors.Is(err, ErrInvalidKey) || !isInput {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

func TestMaskKeyValidate(t *testing.T) {
	good := MaskKey{"a", "g", 1, "liver"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	tests := []struct {
		field string
		set   func(*MaskKey)
	}{
		{"annotation", func(k *MaskKey) { k.Annotation = "" }},
		{"annotation", func(k *MaskKey) { k.Annotation = "a/b" }},
		{"annotation", func(k *MaskKey) { k.Annotation = "-a" }},
		{"group", func(k *MaskKey) { k.Group = ".." }},
		{"group", func(k *MaskKey) { k.Group = strings.Repeat("g", 129) }},
		{"slice", func(k *MaskKey) { k.Slice = -1 }},
		{"slice", func(k *MaskKey) { k.Slice = 10000 }},
		{"label", func(k *MaskKey) { k.Label = "" }},
		{"label", func(k *MaskKey) { k.Label = "a/b" }},
		{"label", func(k *MaskKey) { k.Label = "a.b" }},
		{"label", func(k *MaskKey) { k.Label = strings.Repeat("x", 65) }},
	}
	for _, tt := range tests {
		k := good
		tt.set(&k)
		wantInputError(t, k.Validate(), ErrInvalidArgument, tt.field)
	}
}

func TestPrefixes(t *testing.T) {
	prefix, err := AnnotationPrefix("a1")
	if prefix != "mask/a1/" || err != nil {
		t.Error(prefix, err)
	}
	prefix, err = GroupPrefix("a1", "g1")
	if prefix != "mask/a1/g1/" || err != nil {
		t.Error(prefix, err)
	}
	key, err := MetadataKey("a1", "g1")
	if key != "mask/a1/g1/metadata.json" || err != nil {
		t.Error(key, err)
	}
	for _, id := range []string{"", "_trash", "a/b", "..", "간"} {
		_, err := AnnotationPrefix(id)
		wantInputError(t, err, ErrInvalidArgument, "annotation")
		_, err = GroupPrefix("a", id)
		wantInputError(t, err, ErrInvalidArgument, "group")
		_, err = MetadataKey(id, "g")
		wantInputError(t, err, ErrInvalidArgument, "annotation")
		wantInputError(t, ValidID(id), ErrInvalidArgument, "id")
	}
}

func TestNormalizeLabel(t *testing.T) {
	tests := []struct{ typed, want string }{
		{"liver", "liver"},
		{"Left Lung", "Left_Lung"},
		{"  left \t lung  ", "left_lung"},
		{"left__lung", "left_lung"},
		{"_liver_", "liver"},
		{"liver (segment 4/8)", "liver_segment_4_8"},
		{"../../etc/passwd", "etc_passwd"},
		{"T1-weighted", "T1-weighted"},
		{"간 우엽", "간_우엽"},
		{norm.NFD.String("간"), "간"},
		{"e\u0301", "é"},
		{"e\u200b\u0301", "é"}, // without the zero-width space they compose
		{"li\u00adver", "liver"},
		{"\ufeffliver", "liver"},
		{"a\xffb", "a_b"},
		{"a\x00b", "a_b"},
		{"tumour 🧠", "tumour"},
		{strings.Repeat("x", 65), strings.Repeat("x", 64)},
		{strings.Repeat("x", 63) + " y", strings.Repeat("x", 63)},
		{strings.Repeat("간", 70), strings.Repeat("간", 64)},
		{strings.Repeat("𝒜", 64), strings.Repeat("𝒜", 61)},
		{strings.Repeat("𝒜", 61) + "xxx", strings.Repeat("𝒜", 61) + "xx"},
	}
	for _, tt := range tests {
		got, err := NormalizeLabel(tt.typed)
		if got != tt.want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", tt.typed, got, err, tt.want)
		}
		if err := ValidLabel(got); err != nil {
			t.Errorf("%q: %v", tt.typed, err)
		}
	}
	for _, typed := range []string{"", " ", "___", "🧠", "\xff", "\u200b"} {
		got, err := NormalizeLabel(typed)
		wantInputError(t, err, ErrInvalidArgument, "label")
		if got != "" {
			t.Errorf("%q: got %q", typed, got)
		}
	}
}

func TestValidKey(t *testing.T) {
	long := func(n int) string { // a key of n bytes
		key := "mask/" + strings.Repeat(strings.Repeat("x", 200)+"/", 4)
		return key + strings.Repeat("y", n-len(key))
	}
	tests := []struct {
		key             string
		asKey, asPrefix bool // whether it is a valid key, a valid prefix
	}{
		{"mask/a", true, true},
		{"mask/a/g/0001_liver.png", true, true},
		{"mask/_trash/x", true, true},
		{"mask/a b/+&=?#%", true, true},
		{"mask/간", true, true},
		{"mask/" + norm.NFD.String("간"), true, true},
		{"mask/...", true, true},
		{"mask/.a/..b", true, true},
		{"mask/" + strings.Repeat("x", 255), true, true},
		{"mask/" + strings.Repeat("간", 85), true, true},
		{long(1024), true, true},

		{"mask/", false, true},
		{"mask/a/", false, true},
		{"mask/.", false, true}, // the beginning of mask/.a
		{"mask/..", false, true},

		{"", false, false},
		{"mask", false, false},
		{"/mask/a", false, false},
		{"masks/a", false, false},
		{"MASK/a", false, false},
		{"mask//a", false, false},
		{"mask/a//", false, false},
		{"mask/./a", false, false},
		{"mask/../other/a", false, false},
		{"mask/a/../..", false, false},
		{"mask/a/../b", false, false},
		{"mask/a\x00", false, false},
		{"mask/a\nb", false, false},
		{"mask/\x7f", false, false},
		{"mask/\ufffe", false, false},
		{"mask/\uffff/a", false, false},
		{"mask/\ufffd", true, true},
		{"mask/\u0085", false, false},
		{"mask/a\xff", false, false},
		{"mask/" + strings.Repeat("x", 256), false, false},
		{"mask/" + strings.Repeat("x", 256) + "/a", false, false},
		{"mask/" + strings.Repeat("간", 86), false, false},
		{long(1025), false, false},
	}
	for _, tt := range tests {
		check := func(field string, err error, want bool) {
			if want && err != nil {
				t.Errorf("%q as %s: %v", tt.key, field, err)
			} else if !want {
				wantInputError(t, err, ErrInvalidKey, field)
			}
		}
		check("key", ValidKey(tt.key), tt.asKey)
		check("prefix", ValidPrefix(tt.key), tt.asPrefix)
	}
}

func FuzzParseMaskKey(f *testing.F) {
	f.Add("mask/a/g/0001_liver.png")
	f.Add("mask/a/g/0001_간_우엽.png")
	f.Add("mask/a/g/0001_e\u0301.png")
	f.Add("mask/../g/0001_x.png")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseMaskKey(text)
		if err != nil {
			return
		}
		if k.String() != text {
			t.Errorf("%q became %q", text, k.String())
		}
		if err := k.Validate(); err != nil {
			t.Error(err)
		}
		if err := ValidKey(text); err != nil {
			t.Error(err)
		}
	})
}

func FuzzMaskKey(f *testing.F) {
	f.Add("a", "g", 1, "liver")
	f.Add("a.b-c_d", "1", 9999, "간_우엽")
	f.Add("a/b", "..", -1, "\u0301")
	f.Fuzz(func(t *testing.T, annotation, group string, slice int, label string) {
		k := MaskKey{annotation, group, slice, label}
		got, err := ParseMaskKey(k.String())
		if valid := k.Validate() == nil; valid && (err != nil || got != k) {
			t.Errorf("%+v became %+v, %v", k, got, err)
		} else if !valid && err == nil && got == k {
			t.Errorf("%+v is invalid and was parsed", k)
		}
	})
}

func FuzzNormalizeLabel(f *testing.F) {
	f.Add("Left  Lung")
	f.Add("간 \u1100\u1161")
	f.Add("e\u200b\u0301")
	f.Add("a" + strings.Repeat("\u0301", 100))
	f.Add(strings.Repeat("𝒜", 70))
	f.Fuzz(func(t *testing.T, typed string) {
		label, err := NormalizeLabel(typed)
		if err != nil {
			if label != "" || !errors.Is(err, ErrInvalidArgument) {
				t.Errorf("%q: %q, %v", typed, label, err)
			}
			return
		}
		if err := ValidLabel(label); err != nil {
			t.Errorf("%q became %q: %v", typed, label, err)
		}
		if again, err := NormalizeLabel(label); again != label || err != nil {
			t.Errorf("%q became %q, and that %q, %v", typed, label, again, err)
		}
	})
}

// keyRules are ValidKey's rules again, as one pattern: Go has no lookahead, so the dots are spelled out.
var keyRules = regexp.MustCompile(`^mask(/([^/.][^/]*|\.[^/.][^/]*|\.\.[^/]+))+$`)

func FuzzValidKey(f *testing.F) {
	for _, key := range []string{
		"mask/a/g/0001_liver.png", "mask//a", "mask/..", "mask/..a", "mask/.a", "mask/a\x00", "mask/\uffff", "mask/a/", "other",
	} {
		f.Add(key)
	}
	control := regexp.MustCompile(`[\p{Cc}\x{FFFE}\x{FFFF}]`)
	f.Fuzz(func(t *testing.T, key string) {
		want := utf8.ValidString(key) && len(key) <= 1024 && keyRules.MatchString(key) && !control.MatchString(key)
		for segment := range strings.SplitSeq(key, "/") {
			want = want && len(segment) <= 255
		}
		err := ValidKey(key)
		if (err == nil) != want {
			t.Errorf("%q: %v, want valid %v", key, err, want)
		}
		if err == nil {
			for i := len("mask/"); i <= len(key); i++ {
				if utf8.ValidString(key[:i]) && ValidPrefix(key[:i]) != nil {
					t.Errorf("%q is no prefix of %q", key[:i], key)
				}
			}
		}
	})
}
