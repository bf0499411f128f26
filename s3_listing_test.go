package maskstore

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// xmlListing is a page as encoding/xml reads it.
type xmlListing struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	IsTruncated           bool
	NextContinuationToken string
	Contents              []struct {
		Key, ETag    string
		Size         int64
		LastModified time.Time
	}
	CommonPrefixes []struct{ Prefix string }
}

func (x *xmlListing) entries(t *testing.T) (entries []ObjectInfo) {
	for _, c := range x.Contents {
		entries = append(entries, ObjectInfo{
			Key: c.Key, Size: c.Size, ETag: strings.Trim(c.ETag, `"`), LastModified: c.LastModified,
		})
	}
	for _, p := range x.CommonPrefixes {
		entries = append(entries, ObjectInfo{Key: p.Prefix, IsPrefix: true})
	}
	for i := range entries {
		key, err := url.QueryUnescape(entries[i].Key)
		if err != nil {
			t.Fatal(err)
		}
		entries[i].Key = key
	}
	slices.SortFunc(entries, func(a, b ObjectInfo) int { return strings.Compare(a.Key, b.Key) })
	return entries
}

// testListing is a page as AWS and MinIO write it.
func testListing(n int) []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header + `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">` +
		"<Name>b</Name><Prefix>mask/a/g/</Prefix><StartAfter/><KeyCount>3</KeyCount><MaxKeys>1000</MaxKeys>" +
		"<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b&lt;c</NextContinuationToken>\n")
	for i := range n {
		fmt.Fprintf(&b, `<Contents><Key>mask/a/g/%04d_%s.png</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>`+
			"<ETag>&#34;%032x&#34;</ETag><Size>%d</Size><Owner><ID>x</ID><DisplayName></DisplayName></Owner>"+
			"<StorageClass>STANDARD</StorageClass></Contents>",
			i, url.QueryEscape("왼쪽 콩팥+&"), i, i)
	}
	b.WriteString(`<CommonPrefixes><Prefix>mask/a/g/0000_a/</Prefix></CommonPrefixes></ListBucketResult>`)
	return b.Bytes()
}

func TestParseListing(t *testing.T) {
	data := testListing(3)
	var want xmlListing
	if err := xml.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	got, err := parseListing(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.entries(t), got.entries); diff != "" {
		t.Error(diff)
	}
	if !got.isTruncated || got.next != want.NextContinuationToken {
		t.Errorf("goes on with %q, %v; want %q", got.next, got.isTruncated, want.NextContinuationToken)
	}
	for end := range data {
		if _, err := parseListing(data[:end]); err == nil {
			t.Fatalf("cut after %d bytes it passes for a listing", end)
		}
	}
}

// Keys that XML cannot hold, which others may have put beside ours, are listed: a server escapes them where it is asked to.
func TestControlCharacters(t *testing.T) {
	keys := []string{"mask/a/\x01", "mask/a/\x02+%2B 간", "mask/a/\ufffe"}
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // a page for each
		q := r.URL.Query()
		escape := func(s string) string {
			return strings.Map(func(r rune) rune { // as MinIO
				if r < ' ' || r == '\ufffe' {
					return '\ufffd'
				}
				return r
			}, s)
		}
		if q.Get("encoding-type") == "url" {
			escape = url.QueryEscape
		}
		last, _ := url.QueryUnescape(q.Get("continuation-token"))
		i := slices.Index(keys, last+q.Get("key-marker")) + 1
		root, entry := "ListBucketResult", "Contents"
		if q.Has("uploads") {
			root, entry = "ListMultipartUploadsResult", "Upload"
		}
		fmt.Fprintf(w, "<%s><Bucket>bucket</Bucket><EncodingType>%s</EncodingType><IsTruncated>%v</IsTruncated>"+
			"<NextContinuationToken>%s</NextContinuationToken><NextKeyMarker>%s</NextKeyMarker>"+
			"<%s><Key>%[5]s</Key><UploadId>id</UploadId></%[6]s></%[1]s>",
			root, q.Get("encoding-type"), i+1 < len(keys), url.QueryEscape(keys[i]), escape(keys[i]), entry)
	})
	s := testS3(t, server)
	var listed, open []string
	for info, err := range s.List(t.Context(), "mask/", nil) {
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, info.Key)
	}
	for upload, err := range s.ListMultipartUploads(t.Context(), "mask/") {
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, upload.Key)
	}
	if !slices.Equal(listed, keys) || !slices.Equal(open, keys) {
		t.Errorf("listed are %q and %q; want %q", listed, open, keys)
	}
}

func TestParseListingRefuses(t *testing.T) {
	for name, data := range map[string]string{
		"another root":       "<Error><Code>InternalError</Code></Error>",
		"HTML":               "<!DOCTYPE html><html></html>",
		"CDATA":              "<ListBucketResult><Contents><Key><![CDATA[x]]></Key></Contents></ListBucketResult>",
		"crossed tags":       "<ListBucketResult><Contents><Key>x</Contents></Key></ListBucketResult>",
		"no key":             "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
		"no number":          "<ListBucketResult><Contents><Key>x</Key><Size>many</Size></Contents></ListBucketResult>",
		"no time":            "<ListBucketResult><Contents><Key>x</Key><LastModified>now</LastModified></Contents></ListBucketResult>",
		"key that is escape": "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%zz</Key></Contents></ListBucketResult>",
		"deep":               "<ListBucketResult>" + strings.Repeat("<a>", 1000),
	} {
		if l, err := parseListing([]byte(data)); err == nil {
			t.Errorf("%s: got %+v", name, l)
		}
	}
}

// FuzzParseListing holds that no answer makes it panic, and that what it gives is in order.
func FuzzParseListing(f *testing.F) {
	f.Add(testListing(2))
	f.Add([]byte("<ListBucketResult></ListBucketResult>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseListing(data)
		if err != nil {
			return
		}
		if !slices.IsSortedFunc(got.entries, func(a, b ObjectInfo) int { return strings.Compare(a.Key, b.Key) }) {
			t.Error("the entries are not in order")
		}
	})
}

func BenchmarkParseListing(b *testing.B) {
	data := testListing(1000)
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			if _, err := parseListing(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-xml", func(b *testing.B) {
		for b.Loop() {
			if err := xml.Unmarshal(data, new(xmlListing)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
