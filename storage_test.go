package maskstore

import (
	"context"
	"encoding/json"
	"mime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type (
	plainStorage    struct{ ObjectStorage }
	copyingStorage  struct{ plainStorage }
	unwrapped       struct{ plainStorage }
	deciding        struct{ plainStorage }
	decidingCopier  struct{ copyingStorage }
	decidingUnwraps struct{ unwrapped }
	promising       struct{ plainStorage }
)

func (copyingStorage) Copy(context.Context, string, string, *CopyOptions) (ObjectInfo, error) {
	return ObjectInfo{}, nil
}

func (u unwrapped) Unwrap() ObjectStorage { return u.ObjectStorage }

// As hands out a Copier of its own where what is below has one, and nothing else.
func (d deciding) As(target any) bool { return asCopier(d.ObjectStorage, target) }

func (d decidingCopier) As(any) bool         { return false }
func (d decidingUnwraps) As(target any) bool { return asCopier(nil, target) }

// As says that it has all, and gives nothing.
func (promising) As(any) bool { return true }

type ownCopier struct{ Copier }

func asCopier(below ObjectStorage, target any) bool {
	copier, ok := As[Copier](below)
	if t, is := target.(*Copier); is && ok {
		*t = ownCopier{copier}
		return true
	}
	return false
}

func TestAs(t *testing.T) {
	plain, copying := plainStorage{}, copyingStorage{}
	over := func(s ObjectStorage) plainStorage { return plainStorage{s} }
	tests := []struct {
		name string
		s    ObjectStorage
		want string // the type of the Copier found; empty: none
	}{
		{"nil", nil, ""},
		{"none", plain, ""},
		{"itself", copying, "copyingStorage"},
		{"embedding is not wrapping", over(copying), ""},
		{"unwrapped", unwrapped{over(copying)}, "copyingStorage"},
		{"unwrapped twice", unwrapped{over(unwrapped{over(copying)})}, "copyingStorage"},
		{"unwrapped to none", unwrapped{over(plain)}, ""},
		{"unwrapped to nil", unwrapped{}, ""},
		{"As says yes", deciding{over(copying)}, "ownCopier"},
		{"As says yes, below an Unwrap", unwrapped{over(deciding{over(copying)})}, "ownCopier"},
		{"As says no", deciding{over(plain)}, ""},
		{"As that says no ends the search", decidingUnwraps{unwrapped{over(copying)}}, ""},
		{"itself comes before its As", decidingCopier{}, "decidingCopier"},
		{"As says yes and gives none", promising{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := As[Copier](tt.s)
			name := ""
			switch got.(type) {
			case copyingStorage:
				name = "copyingStorage"
			case ownCopier:
				name = "ownCopier"
			case decidingCopier:
				name = "decidingCopier"
			}
			if name != tt.want || ok != (tt.want != "") {
				t.Errorf("got %T, %v, want %q", got, ok, tt.want)
			}
		})
	}
	if _, ok := As[MultipartStorage](deciding{over(copying)}); ok {
		t.Error("a capability was found that nobody has")
	}
}

func TestSHA256(t *testing.T) {
	sum := SumSHA256([]byte("mask"))
	const hexSum = "ca9cc85fb5a0fabc1b37263e95d43bbec38ed1c4bab6c1ae9cd1ccce9b9b7d21"
	tests := []struct {
		name, json string
		want       SHA256
		bad        bool
	}{
		{"set", `{"sum":"` + sum.String() + `"}`, sum, false},
		{"upper case", `{"sum":"` + strings.ToUpper(sum.String()) + `"}`, sum, false},
		{"empty", `{"sum":""}`, SHA256{}, false},
		{"none", `{}`, SHA256{}, false},
		{"null", `{"sum":null}`, SHA256{}, false},
		{"short", `{"sum":"` + hexSum[:62] + `"}`, SHA256{}, true},
		{"odd", `{"sum":"` + hexSum[:63] + `"}`, SHA256{}, true},
		{"long", `{"sum":"` + hexSum + `00"}`, SHA256{}, true},
		{"no hex", `{"sum":"` + hexSum[:63] + `g"}`, SHA256{}, true},
		{"base64", `{"sum":"` + sum.Base64() + `"}`, SHA256{}, true},
	}
	type holder struct {
		Sum SHA256 `json:"sum,omitzero"`
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got holder
			err := json.Unmarshal([]byte(tt.json), &got)
			if tt.bad {
				wantInputError(t, err, ErrInvalidArgument, "sha256")
			} else if err != nil {
				t.Error(err)
			}
			if got.Sum != tt.want {
				t.Errorf("got %v", got.Sum)
			}
		})
	}
	if text, err := (SHA256{}).MarshalText(); text == nil || len(text) > 0 || err != nil {
		t.Errorf("unset it is marshalled as %#v, %v", text, err)
	}
	for _, s := range []SHA256{sum, {}} {
		data, err := json.Marshal(holder{s})
		want := `{"sum":"` + s.String() + `"}`
		if s.IsZero() {
			want = `{}`
		}
		if string(data) != want || err != nil {
			t.Errorf("got %s, %v", data, err)
		}
	}
	if got := SumSHA256(nil).Base64(); got != "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" || SumSHA256(nil).IsZero() {
		t.Errorf("the hash of nothing is %s", got)
	}
	if (SHA256{}).Base64() != "" || (SHA256{}).String() != "" {
		t.Error("an unset hash prints something")
	}
}

func TestCheckTTL(t *testing.T) {
	tests := []struct {
		ttl, def, limit time.Duration
		want            time.Duration // 0: refused
	}{
		{0, 0, 0, 600 * time.Second},
		{0, time.Minute, 0, time.Minute},
		{0, time.Hour, time.Minute, time.Minute},
		{0, 1500 * time.Millisecond, 0, time.Second},
		{time.Second, 0, 0, time.Second},
		{1500 * time.Millisecond, 0, 0, time.Second},
		{time.Hour, 0, 0, time.Hour},
		{2 * time.Hour, 0, 2 * time.Hour, 2 * time.Hour},
		{-time.Second, 0, 0, 0},
		{-1, 0, 0, 0},
		{1, 0, 0, 0},
		{500 * time.Millisecond, 0, 0, 0},
		{time.Second - 1, 0, 0, 0},
		{time.Hour + 1, 0, 0, 0},
		{2 * time.Minute, 0, time.Minute, 0},
	}
	for _, tt := range tests {
		got, err := checkTTL(tt.ttl, tt.def, tt.limit)
		if tt.want == 0 {
			wantInputError(t, err, ErrInvalidArgument, "TTL")
		} else if err != nil {
			t.Error(err)
		}
		if got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	sum := SumSHA256(nil)
	tests := []struct {
		opts  interface{ check() error }
		field string // empty: right
	}{
		{&UploadURLOptions{}, ""},
		{&UploadURLOptions{ContentType: "image/png", Size: MaxPutSize, SHA256: sum, IfMatch: "d41d8cd98f00b204-2"}, ""},
		{&UploadURLOptions{NoOverwrite: true}, ""},
		{&UploadURLOptions{Size: MaxPutSize + 1}, "Size"},
		{&UploadURLOptions{Size: -1}, "Size"},
		{&UploadURLOptions{IfMatch: "x", NoOverwrite: true}, "NoOverwrite"},
		{&UploadURLOptions{ContentType: "png"}, "ContentType"},
		{&UploadURLOptions{ContentType: "image/png\r\nX-Evil: 1"}, "ContentType"},
		{&UploadURLOptions{IfMatch: `"quoted"`}, "IfMatch"},
		{&UploadURLOptions{IfMatch: "a\r\nb"}, "IfMatch"},
		{&UploadURLOptions{IfMatch: "a b"}, "IfMatch"},
		{&DownloadURLOptions{}, ""},
		{&DownloadURLOptions{ContentType: "image/png", Filename: "간 \"1\".png"}, ""},
		{&DownloadURLOptions{ContentType: "image/png\r\nX-Evil: 1"}, "ContentType"},
		{&DownloadURLOptions{Filename: "a\r\nb.png"}, "Filename"},
		{&DownloadURLOptions{Filename: "\xff.png"}, "Filename"},
		{&PutOptions{}, ""},
		{&PutOptions{ContentType: "text/plain; charset=utf-8", Size: MaxPutSize + 1}, ""},
		{&PutOptions{Size: -1}, "Size"},
		{&PutOptions{IfMatch: "é"}, "IfMatch"},
		{&GetOptions{Offset: 5, Length: 7, IfMatch: "x"}, ""},
		{&GetOptions{SHA256: sum}, ""},
		{&GetOptions{Offset: -1}, "Offset"},
		{&GetOptions{Length: -1}, "Length"},
		{&GetOptions{Offset: 1, SHA256: sum}, "SHA256"},
		{&GetOptions{Length: 1, SHA256: sum}, "SHA256"},
		{&GetOptions{IfMatch: "*\n"}, "IfMatch"},
		{&ListOptions{Delimiter: "/", StartAfter: "mask/a/", Limit: 1}, ""},
		{&ListOptions{Delimiter: "_"}, "Delimiter"},
		{&ListOptions{Limit: -1}, "Limit"},
		{&ListOptions{StartAfter: "other/"}, "prefix"},
	}
	for _, tt := range tests {
		err := tt.opts.check()
		if tt.field == "" {
			if err != nil {
				t.Errorf("%+v: %v", tt.opts, err)
			}
			continue
		}
		kind := ErrInvalidArgument
		if tt.field == "prefix" {
			kind = ErrInvalidKey
		}
		wantInputError(t, err, kind, tt.field)
	}
}

func TestTypeAndDisposition(t *testing.T) {
	for key, want := range map[string]string{
		"mask/a/g/0001_liver.png": "image/png",
		"mask/a/g/metadata.json":  "application/json",
		"mask/a/g/x.html":         "application/octet-stream",
		"mask/a.png/x":            "application/octet-stream",
	} {
		if got := typeByName(key); got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
	}
	for _, tt := range []struct{ filename, want string }{
		{"", "0001_liver.png"},
		{"my mask.png", "my mask.png"},
		{`a"b\c.png`, `a"b\c.png`},
		{"간.png", "간.png"},
		{"a\r\nSet-Cookie: x", "a\r\nSet-Cookie: x"},
	} {
		got := disposition("mask/a/g/0001_liver.png", tt.filename)
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q is not printable ASCII: %q", tt.filename, got)
		}
		how, params, err := mime.ParseMediaType(got)
		if diff := cmp.Diff(map[string]string{"filename": tt.want}, params); how != "attachment" || diff != "" || err != nil {
			t.Errorf("%q: %s %v\n%s", tt.filename, got, err, diff)
		}
	}
}
