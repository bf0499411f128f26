package sigv4

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/encoding/httpbinding"
)

// signing is a request and the headers that are bound.
type signing struct {
	Request
	Header []Param
}

func (r *signing) presign(s *Signer, c Credentials) string { return s.Presign(c, &r.Request, r.Header) }

// reference signs as the SDK does when nothing that is bound moves to the query. A signer of its own for each call
// has no cache to be wrong.
func reference(t testing.TB, c Credentials, r *signing) string {
	t.Helper()
	query := url.Values{"X-Amz-Expires": {strconv.FormatInt(int64(r.TTL/time.Second), 10)}}
	for _, p := range r.Query {
		query.Add(p.Name, p.Value)
	}
	req := &http.Request{
		Method: r.Method,
		URL: &url.URL{
			Scheme: r.Scheme, Host: r.Host, Path: r.Base + r.Path, RawPath: httpbinding.EscapePath(r.Base+r.Path, false),
			RawQuery: query.Encode(),
		},
		Header: http.Header{},
	}
	for _, h := range r.Header {
		if h.Name == "content-length" {
			n, err := strconv.ParseInt(h.Value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = n
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = true
		o.DisableHeaderHoisting = true
	})
	signed, _, err := signer.PresignHTTP(t.Context(), aws.Credentials{
		AccessKeyID: c.AccessKey, SecretAccessKey: c.SecretKey, SessionToken: c.SessionToken,
	}, req, payload, "s3", r.Region, r.Time)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// uploadRequest is what a storage signs for a mask.
func uploadRequest() (Credentials, *signing) {
	return Credentials{AccessKey: "AKIAIOSFODNN7EXAMPLE", SecretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}, &signing{
		Request{
			Method: "PUT", Scheme: "https", Host: "pacs-masks.s3.eu-central-1.amazonaws.com",
			Path: "/mask/annotation-1/group-1/0042_liver.png", Query: []Param{{"x-id", "PutObject"}},
			Region: "eu-central-1", Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), TTL: 600 * time.Second,
		},
		[]Param{
			{"content-type", "image/png"},
			{"content-length", "2711"},
			{"if-none-match", "*"},
			{"x-amz-checksum-sha256", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
			{"x-amz-server-side-encryption", "AES256"},
		},
	}
}

// TestDocumented is the example of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html.
func TestDocumented(t *testing.T) {
	c, _ := uploadRequest()
	got := new(Signer).Presign(c, &Request{
		Method: "GET", Scheme: "https", Host: "examplebucket.s3.amazonaws.com", Path: "/test.txt",
		Region: "us-east-1", Time: time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC), TTL: 24 * time.Hour,
	}, nil)
	const want = "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&" +
		"X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&" +
		"X-Amz-Expires=86400&X-Amz-SignedHeaders=host&" +
		"X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// random makes requests of every shape that HTTP can carry.
type random struct{ *rand.Rand }

var alphabets = []string{
	"abcXYZ019", "-._~", "!*'();:@&=+$,/?#[]", `"<>\^{|}` + "`", " ", "  ", "%", "%2F", "äßéñ", "간엽신장", "肝臓", "печень", "كبد",
	"כבד", "यकृत्",
	"ตับ", "🫀👩‍⚕️", "e\u0301", "\u200b\ufeff\u2028", "\U0010ffff",
}

func (r random) text(n int) string {
	var b strings.Builder
	for range r.IntN(n + 1) {
		runes := []rune(alphabets[r.IntN(len(alphabets))])
		b.WriteRune(runes[r.IntN(len(runes))])
	}
	return b.String()
}

// value is a header's: what ends in blanks, has runs of them within, or is empty.
func (r random) value() string {
	parts := []string{" ", "  ", "   ", "\t", " \t ", "\u00a0", "a", "b,c", "image/png", `"quoted  text"`, "=", r.text(4)}
	var b strings.Builder
	for range r.IntN(7) {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	return b.String()
}

func pick[T any](r random, from ...T) T { return from[r.IntN(len(from))] }

func (r random) request() (Credentials, *signing) {
	c := Credentials{AccessKey: "AK" + r.text(6), SecretKey: r.text(40)}
	if r.IntN(3) == 0 {
		c.SessionToken = "T" + r.text(60)
	}
	req := &signing{Request: Request{
		Method: pick(r, "GET", "PUT", "HEAD", "DELETE", "POST"),
		Scheme: pick(r, "http", "https"),
		Host: pick(r, "localhost", "b.s3.amazonaws.com", "127.0.0.1", "[::1]", "[2001:db8::1]", "xn--hnsl-loa.example") +
			pick(r, "", "", ":80", ":443", ":9000", ":8080", ":180"),
		Base:   "/" + r.text(5),
		Path:   r.text(30),
		Region: pick(r, "us-east-1", "eu-central-1", "ap-northeast-2", "local", r.text(5)),
		Time:   time.Unix(r.Int64N(4e9)-1e9, r.Int64N(1e9)).In(time.FixedZone("", r.IntN(100000)-50000)),
		TTL:    time.Duration(r.Int64N(int64(maxTTL))),
	}}
	for range r.IntN(4) {
		name := pick(r, "response-content-type", "response-content-disposition", "partNumber", "uploadId", "X-Amy", "X-B", "A",
			"a", "a-", "a0", r.text(5))
		req.Query = append(req.Query, Param{name, r.text(12)})
	}
	if r.IntN(2) == 0 {
		req.Header = append(req.Header, Param{"content-length", strconv.FormatInt(1+r.Int64N(1<<40), 10)})
	}
	for range r.IntN(6) {
		name := pick(r, "content-type", "if-match", "if-none-match", "x-amz-checksum-sha256", "x-amz-server-side-encryption",
			"x-amz-meta-a", "x-amz-meta-a-b", "range", "cache-control", "x-other")
		req.Header = append(req.Header, Param{name, r.value()})
	}
	return c, req
}

// TestAgainstSDK compares whole URLs with those of the SDK's signer. One Signer makes them all, so that a key
// wrongly remembered would show.
func TestAgainstSDK(t *testing.T) {
	cases := 120_000
	if testing.Short() {
		cases = 5_000
	}
	r := random{rand.New(rand.NewPCG(1, 2))}
	var s Signer
	var c Credentials
	for i := range cases {
		fresh, req := r.request()
		if i%4 == 0 {
			c = fresh // else the pair stays, and often only a part of it or the region changes
		} else if i%4 == 1 {
			c.SecretKey = fresh.SecretKey
		}
		if got, want := req.presign(&s, c), reference(t, c, req); got != want {
			t.Fatalf("case %d, %+v:\ngot  %s\nwant %s", i, req, got, want)
		}
	}
}

func FuzzPresign(f *testing.F) {
	f.Add("mask/a/g/0001_liver.png", "x-id", "PutObject", "image/png", "minio:9000", "token", int64(1_772_000_000), 600)
	f.Add("mask/가/ /..", "X-Amz", "+%&=", "  a   b  ", "[::1]:443", "", int64(-1), 1)
	f.Fuzz(func(t *testing.T, path, name, value, header, host, token string, at int64, seconds int) {
		u, err := url.Parse("http://" + host + "/")
		if err != nil || u.Host != host || u.String() != "http://"+host+"/" || at < -62e9 || at > 253e9 || seconds < 0 ||
			seconds > 1e6 {
			return // the SDK cannot sign it
		}
		if strings.HasPrefix(name, "X-Amz-") {
			name = "x" + name // which are not for a caller
		}
		c := Credentials{"AK", "SK", token}
		req := &signing{Request{
			Method: "PUT", Scheme: "http", Host: host, Path: "/" + path, Query: []Param{{name, value}},
			Region: "r", Time: time.Unix(at, 0), TTL: time.Duration(seconds) * time.Second,
		}, []Param{{"content-type", header}}}
		if got, want := req.presign(new(Signer), c), reference(t, c, req); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestSignerConcurrently(t *testing.T) {
	var s Signer
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			c, req := uploadRequest()
			c.SecretKey += strconv.Itoa(g % 3)
			req.Time = req.Time.AddDate(0, 0, g%2)
			want := reference(t, c, req)
			for range 500 {
				if got := req.presign(&s, c); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestPresignKeepsRequest: a Request may be shared.
func TestPresignKeepsRequest(t *testing.T) {
	c, req := uploadRequest()
	req.Query = append(req.Query, Param{"a", "b"})
	before := fmt.Sprint(req)
	req.presign(new(Signer), c)
	if after := fmt.Sprint(req); after != before {
		t.Errorf("before %s\nafter  %s", before, after)
	}
}

func BenchmarkPresign(b *testing.B) {
	c, req := uploadRequest()
	var s Signer
	b.ReportAllocs()
	for b.Loop() {
		req.presign(&s, c)
	}
}

func BenchmarkVerify(b *testing.B) {
	c, req := uploadRequest()
	r := received(b, req.presign(new(Signer), c), req)
	b.ReportAllocs()
	for b.Loop() {
		if err := Verify(r, req.Region, req.Time, pair(c)); err != nil {
			b.Fatal(err)
		}
	}
}
