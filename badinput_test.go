package maskstore

import (
	"cmp"
	"errors"
	"iter"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// noRequests is a transport that fails the test when it is used.
type noRequests struct{ t *testing.T }

func (n noRequests) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Fatalf("a request was sent: %s %s", r.Method, redactURL(r.URL.String())) // now, and not after all retries
	return nil, errors.New("there is no network here")
}

func offlineS3(t *testing.T) *S3 {
	return openS3(t, S3Options{
		Bucket: "masks", Region: "eu-central-1", AccessKey: "key", SecretKey: "secret",
		HTTPClient: &http.Client{Transport: noRequests{t}},
	})
}

// TestBadInput holds what bad input gets: an error of the right kind that names the fault and, where there is one, the
// remedy, before any request.
func TestBadInput(t *testing.T) {
	s := offlineS3(t)
	const key = "mask/a/g/0001_liver.png"
	ctx := t.Context()
	put := func(key, body string, o PutOptions) error {
		_, err := s.Put(ctx, key, strings.NewReader(body), &o)
		return err
	}
	upload := func(o UploadURLOptions) error { _, err := s.UploadURL(ctx, key, &o); return err }
	get := func(o GetOptions) error { _, err := s.Get(ctx, key, &o); return err }
	list := func(prefix string, o ListOptions) error { return firstError(s.List(ctx, prefix, &o)) }
	begin := func(o *BeginOptions, masks ...MaskSpec) error {
		g, err := NewGroup(s, "a", "g", nil)
		if err != nil {
			return err
		}
		_, err = g.Begin(ctx, masks, o)
		return err
	}
	good := MaskSpec{Slice: 1, Label: "liver", Size: 10}
	s3options := func(change func(*S3Options)) error {
		o := S3Options{Bucket: "masks", Region: "eu-central-1"}
		change(&o)
		_, err := NewS3(ctx, o)
		return err
	}
	file := func(content string) error {
		name := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			return err
		}
		c, err := LoadConfig(name)
		return cmp.Or(err, c.Validate())
	}
	for _, row := range []struct {
		name string
		err  error
		kind error
		says string
	}{
		{"key outside mask/", put("other/x.png", "x", PutOptions{}), ErrInvalidKey, "outside mask/"},
		{"empty key", put("", "x", PutOptions{}), ErrInvalidKey, "outside mask/"},
		{"key of a folder", put("mask/a/", "x", PutOptions{}), ErrInvalidKey, "empty segment"},
		{"empty segment", put("mask//x.png", "x", PutOptions{}), ErrInvalidKey, "empty segment"},
		{"dot segment", put("mask/./x.png", "x", PutOptions{}), ErrInvalidKey, "segment ."},
		{"escaping key", put("mask/../secret", "x", PutOptions{}), ErrInvalidKey, "segment .."},
		{"control character", put("mask/a\x01b", "x", PutOptions{}), ErrInvalidKey, "control character"},
		{"key that is not UTF-8", put("mask/\xff", "x", PutOptions{}), ErrInvalidKey, "UTF-8"},
		{"long segment", put("mask/"+strings.Repeat("x", 256), "x", PutOptions{}), ErrInvalidKey, "at most 255"},
		{"long key", put("mask/"+strings.Repeat("x/", 512), "x", PutOptions{}), ErrInvalidKey, "at most 1024"},
		{"prefix outside mask/", list("", ListOptions{}), ErrInvalidKey, "outside mask/"},
		{"StartAfter outside mask/", list("mask/", ListOptions{StartAfter: "x"}), ErrInvalidKey, "outside mask/"},
		{"another delimiter", list("mask/", ListOptions{Delimiter: "_"}), ErrInvalidArgument, "Delimiter"},
		{"negative limit", list("mask/", ListOptions{Limit: -1}), ErrInvalidArgument, "Limit"},
		{"not a mask's key", second(ParseMaskKey("mask/a/g/1_liver.png")), ErrInvalidKey, "NNNN_label.png"},
		{"empty ID", MaskKey{"", "g", 1, "x"}.Validate(), ErrInvalidArgument, "annotation is empty"},
		{"ID with a slash", MaskKey{"a/b", "g", 1, "x"}.Validate(), ErrInvalidArgument, "beginning with a letter or digit"},
		{"ID that begins with _", MaskKey{"a", "_g", 1, "x"}.Validate(), ErrInvalidArgument, "group"},
		{"long ID", MaskKey{strings.Repeat("x", 129), "g", 1, "x"}.Validate(), ErrInvalidArgument, "129 bytes"},
		{"negative slice", MaskKey{"a", "g", -1, "x"}.Validate(), ErrInvalidArgument, "0 to 9999"},
		{"slice of five digits", MaskKey{"a", "g", 10000, "x"}.Validate(), ErrInvalidArgument, "0 to 9999"},
		{"empty label", MaskKey{"a", "g", 1, ""}.Validate(), ErrInvalidArgument, "NormalizeLabel"},
		{"label with a space", MaskKey{"a", "g", 1, "left kidney"}.Validate(), ErrInvalidArgument, `holds ' '`},
		{"label in NFD", MaskKey{"a", "g", 1, "e\u0301"}.Validate(), ErrInvalidArgument, "NFC"},
		{"long label", MaskKey{"a", "g", 1, strings.Repeat("x", 65)}.Validate(), ErrInvalidArgument, "65 runes"},
		{"label over a segment", MaskKey{"a", "g", 1, strings.Repeat("𝐀", 64)}.Validate(), ErrInvalidArgument, "at most 246 bytes"},
		{"nothing to make a label of", second(NormalizeLabel("???")), ErrInvalidArgument, "at least one"},
		{"TTL under a second", upload(UploadURLOptions{TTL: 500 * time.Millisecond}), ErrInvalidArgument, "under 1s"},
		{"negative TTL", upload(UploadURLOptions{TTL: -time.Second}), ErrInvalidArgument, "negative"},
		{"TTL over the maximum", upload(UploadURLOptions{TTL: 2 * time.Hour}), ErrInvalidArgument, "over the maximum"},
		{"negative size", upload(UploadURLOptions{Size: -1}), ErrInvalidArgument, "negative"},
		{"size over one PUT", upload(UploadURLOptions{Size: MaxPutSize + 1}), ErrInvalidArgument, "multipart"},
		{"no media type", upload(UploadURLOptions{ContentType: "png"}), ErrInvalidArgument, "image/png"},
		{"two conditions", upload(UploadURLOptions{IfMatch: "e", NoOverwrite: true}), ErrInvalidArgument, "one of them"},
		{"quoted ETag", upload(UploadURLOptions{IfMatch: `"e"`}), ErrInvalidArgument, "without quotes"},
		{"no body", second(s.Put(ctx, key, nil, nil)), ErrInvalidArgument, "body is nil"},
		{"body shorter than declared", put(key, "short", PutOptions{Size: 6}), ErrChecksum, "5 bytes, not 6"},
		{"body longer than declared", put(key, "longer", PutOptions{Size: 5}), ErrChecksum, "longer than 5"},
		{"body of another hash", put(key, "x", PutOptions{SHA256: SumSHA256([]byte("y"))}), ErrChecksum, "SHA-256"},
		{"negative offset", get(GetOptions{Offset: -1}), ErrInvalidArgument, "Offset"},
		{"negative length", get(GetOptions{Length: -1}), ErrInvalidArgument, "Length"},
		{"hash of a part", get(GetOptions{Length: 1, SHA256: SumSHA256(nil)}), ErrInvalidArgument, "whole read"},
		{"no masks", begin(nil), ErrInvalidArgument, "masks are none"},
		{"a mask twice", begin(nil, good, good), ErrInvalidArgument, "same slice and label as masks[0]"},
		{"mask without a size", begin(nil, MaskSpec{Slice: 1, Label: "x"}), ErrInvalidArgument, "masks[0].size"},
		{"bad label of a mask", begin(nil, good, MaskSpec{Slice: 1, Label: "a b", Size: 1}), ErrInvalidArgument, "masks[1].label"},
		{"bad UID", begin(&BeginOptions{Metadata: &Metadata{SeriesInstanceUID: "x"}}, good), ErrInvalidArgument, "series_instance_uid"},
		{"bad creator", begin(&BeginOptions{Creator: "a\x00"}, good), ErrInvalidArgument, "creator"},
		{"bad group ID", second(NewGroup(s, "a", "..", nil)), ErrInvalidArgument, "group"},
		{"negative concurrency", second(NewGroup(s, "a", "", &GroupOptions{Concurrency: -1})), ErrInvalidArgument, "Concurrency"},
		{"concurrency over the most", second(NewGroup(s, "a", "", &GroupOptions{Concurrency: math.MaxInt})), ErrInvalidArgument, "1 to 1024"},
		{"deletes over the most", second(DeletePrefix(ctx, s, "mask/a/", &ParallelOptions{Concurrency: math.MaxInt})), ErrInvalidArgument, "1 to 1024"},
		{"negative grace", second(Sweep(ctx, s, &SweepOptions{Grace: -1})), ErrInvalidArgument, "Grace"},
		{"not a PNG", second(ReadPNGHeader(strings.NewReader("GIF89a"), 0)), ErrNotPNG, "signature"},
		{"all there is", second(DeletePrefix(ctx, s, "mask/", nil)), ErrInvalidKey, "all there is"},
		{"prefix of two groups", second(DeletePrefix(ctx, s, "mask/a/g", nil)), ErrInvalidKey, `does not end in "/"`},
		{"object over all parts", second(s.Put(ctx, key, iotest.ErrReader(errors.New("must not be read")), &PutOptions{Size: MaxObjectSize + 1})), ErrTooLarge, "is the most"},
		{"part 0", second(s.UploadPart(ctx, key, "id", 0, BytesBody(nil))), ErrInvalidArgument, "1 to 10000"},
		{"parts out of order", second(s.CompleteMultipartUpload(ctx, key, "id", []Part{{PartNumber: 2}, {PartNumber: 1}}, nil)), ErrInvalidArgument, "in order"},
		{"missing bucket", s3options(func(o *S3Options) { o.Bucket = "" }), ErrInvalidArgument, "Bucket is missing"},
		{"http to a foreign host", s3options(func(o *S3Options) { o.Endpoint = "http://minio.example" }), ErrInvalidArgument, "plain http"},
		{"endpoint with a path", s3options(func(o *S3Options) { o.Endpoint = "https://minio.example/x" }), ErrInvalidArgument, "path"},
		{"half a key pair", s3options(func(o *S3Options) { o.AccessKey = "k" }), ErrInvalidArgument, "SecretKey is missing"},
		{"missing region", s3options(func(o *S3Options) { o.Region = "" }), ErrInvalidArgument, "Region is missing"},
		{"unknown encryption", s3options(func(o *S3Options) { o.Encryption = "rot13" }), ErrInvalidArgument, "AES256 or none"},
		{"unknown provider", file("[object_storage]\nprovider = \"gcs\""), ErrInvalidArgument, "provider"},
		{"unknown TOML key", file("[object_storage]\nbucket = \"x\""), ErrInvalidArgument, "object_storage.bucket"},
		{"TOML value of another type", file("[signed_url]\ndefault_ttl = \"600\""), ErrInvalidArgument, "default_ttl"},
		{"no origin to sign for", second(new(Memory).UploadURL(ctx, key, nil)), ErrInvalidArgument, "BaseURL"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if !errors.Is(row.err, row.kind) || !strings.Contains(row.err.Error(), row.says) {
				t.Fatalf("error is %v; want %v that says %q", row.err, row.kind, row.says)
			}
			if _, ok := errors.AsType[*Error](row.err); !ok {
				t.Errorf("%v is no *Error", row.err)
			}
			input, ok := errors.AsType[*InputError](row.err)
			isInput := row.kind == ErrInvalidKey || row.kind == ErrInvalidArgument
			if isInput && (!ok || input.Field == "" || input.Want == "") {
				t.Errorf("%v does not name the field and what would be right", row.err)
			}
		})
	}
}

// TestEveryMethodRefusesKeys: no method of a storage takes a key outside mask/, nor sends a request for it.
func TestEveryMethodRefusesKeys(t *testing.T) {
	const key, good = "other/x.png", "mask/a/g/0001_liver.png"
	ctx := t.Context()
	bound := &UploadURLOptions{SHA256: SumSHA256(nil)}
	for _, s := range []interface {
		ObjectStorage
		Copier
		MultipartStorage
	}{offlineS3(t), &Memory{BaseURL: "http://localhost:9000"}} {
		for method, err := range map[string]error{
			"UploadURL":               second(s.UploadURL(ctx, key, nil)),
			"DownloadURL":             second(s.DownloadURL(ctx, key, nil)),
			"Put":                     second(s.Put(ctx, key, strings.NewReader("x"), nil)),
			"Get":                     second(s.Get(ctx, key, nil)),
			"Stat":                    second(s.Stat(ctx, key)),
			"Delete":                  s.Delete(ctx, key),
			"Delete of several":       s.Delete(ctx, good, key),
			"List":                    firstError(s.List(ctx, key, nil)),
			"Copy from":               second(s.Copy(ctx, key, good, nil)),
			"Copy to":                 second(s.Copy(ctx, good, key, nil)),
			"CreateMultipartUpload":   second(s.CreateMultipartUpload(ctx, key, nil)),
			"UploadPart":              second(s.UploadPart(ctx, key, "id", 1, BytesBody(nil))),
			"UploadPartURL":           second(s.UploadPartURL(ctx, key, "id", 1, bound)),
			"ListParts":               firstError(s.ListParts(ctx, key, "id")),
			"CompleteMultipartUpload": second(s.CompleteMultipartUpload(ctx, key, "id", []Part{{PartNumber: 1}}, nil)),
			"AbortMultipartUpload":    s.AbortMultipartUpload(ctx, key, "id"),
			"ListMultipartUploads":    firstError(s.ListMultipartUploads(ctx, key)),
		} {
			if !errors.Is(err, ErrInvalidKey) {
				t.Errorf("%T: %s: %v", s, method, err)
			}
		}
	}
}

func firstError[T any](list iter.Seq2[T, error]) error {
	for _, err := range list {
		return err
	}
	return nil
}

func second[T any](_ T, err error) error { return err }
