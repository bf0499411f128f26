package sigv4

import (
	"bytes"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

func pair(c Credentials) func(string) (Credentials, bool) {
	return func(accessKey string) (Credentials, bool) { return c, accessKey == c.AccessKey }
}

// received is the request as a server gets it from a client that sends what was signed.
func received(t testing.TB, rawURL string, signed *signing) *http.Request {
	t.Helper()
	r, err := http.NewRequest(signed.Method, rawURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if signed.Scheme == "https" {
		r.TLS = new(tls.ConnectionState)
	}
	for _, h := range signed.Header {
		if h.Name == "content-length" {
			r.ContentLength, _ = strconv.ParseInt(h.Value, 10, 64)
			continue
		}
		r.Header.Add(h.Name, h.Value)
	}
	return r
}

func TestVerifyRandom(t *testing.T) {
	random := random{rand.New(rand.NewPCG(3, 4))}
	var s Signer
	for range 5_000 {
		c, req := random.request()
		c.AccessKey = strings.ReplaceAll(c.AccessKey, "/", "")
		req.Region = strings.ReplaceAll(req.Region, "/", "")
		req.TTL = max(req.TTL, time.Second)
		url := req.presign(&s, c)
		if err := Verify(received(t, url, req), req.Region, req.Time, pair(c)); err != nil {
			t.Fatalf("%s, %+v: %v", url, req, err)
		}
	}
}

// TestVerifyOverHTTP: what net/http's client sends and its server reads is what was signed.
func TestVerifyOverHTTP(t *testing.T) {
	c, req := uploadRequest()
	got := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got <- Verify(r, req.Region, req.Time, pair(c))
	}))
	defer server.Close()
	body := []byte("a mask")
	req.Scheme, req.Host = "http", strings.TrimPrefix(server.URL, "http://")
	req.Path = "/bucket/mask/a/g/0001_간 (1)+;!.png"
	req.Header[1].Value = strconv.Itoa(len(body))
	for _, broken := range []bool{false, true} {
		url := req.presign(new(Signer), c)
		r, err := http.NewRequestWithContext(t.Context(), req.Method, url, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range req.Header {
			r.Header.Set(h.Name, h.Value)
		}
		if broken {
			r.Header.Set("If-None-Match", "other")
		}
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if err := <-got; (err != nil) != broken {
			t.Errorf("broken %v: %v", broken, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	const noSuch = "InvalidAccessKeyId"
	replace := func(old, new string) func(*http.Request) {
		return func(r *http.Request) {
			if !strings.Contains(r.URL.RawQuery, old) {
				panic("no " + old)
			}
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, old, new, 1)
		}
	}
	drop := func(name string) func(*http.Request) { return func(r *http.Request) { r.Header.Del(name) } }
	tests := []struct {
		name   string
		sign   func(*Credentials, *signing) // before it is signed
		change func(*http.Request)          // after
		now    time.Duration                // after it was signed
		status int
		code   string // empty: accepted
		text   string // in the message
	}{
		{name: "as signed"},
		{name: "to the last nanosecond", now: 600*time.Second - 1},
		{name: "expired", now: 600 * time.Second, status: 403, code: "AccessDenied", text: "expired"},
		{name: "client's clock ahead", now: -maxSkew},
		{name: "client's clock far ahead", now: -maxSkew - 1, status: 403, code: "AccessDenied", text: "not yet valid"},
		{name: "not signed", change: func(r *http.Request) { r.URL.RawQuery = "x-id=PutObject" }, status: 403, code: "AccessDenied"},
		{name: "no query", change: func(r *http.Request) { r.URL.RawQuery = "" }, status: 403, code: "AccessDenied"},
		{name: "no signature", change: replace("X-Amz-Signature", "X-Amz-S"), status: 400, code: "AuthorizationQueryParametersError", text: "requires"},
		{name: "no expiry", change: replace("X-Amz-Expires=600&", ""), status: 400, code: "AuthorizationQueryParametersError", text: "requires"},
		{name: "empty expiry", change: replace("Expires=600", "Expires="), status: 400, code: "AuthorizationQueryParametersError", text: "X-Amz-Expires is malformed"},
		{name: "expiry twice", change: replace("Expires=600", "Expires=600&X-Amz-Expires=600"), status: 400, code: "AuthorizationQueryParametersError", text: "X-Amz-Expires is malformed"},
		{name: "broken escape", change: replace("%2F", "%2G"), status: 400, code: "AuthorizationQueryParametersError", text: "X-Amz-Credential is malformed"},
		{name: "algorithm", change: replace("HMAC-SHA256", "HMAC-SHA1"), status: 400, code: "AuthorizationQueryParametersError", text: "X-Amz-Algorithm"},
		{name: "date", change: replace("T120000Z", "T120000"), status: 400, code: "AuthorizationQueryParametersError", text: "X-Amz-Date"},
		{name: "no date", change: replace("20260301T", "20260231T"), status: 400, code: "AuthorizationQueryParametersError", text: "X-Amz-Date"},
		{name: "date with a fraction", change: replace("T120000Z", "T120000.5Z"), status: 400, code: "AuthorizationQueryParametersError", text: "X-Amz-Date"},
		{name: "another second", change: replace("T120000Z", "T120001Z"), status: 403, code: "SignatureDoesNotMatch"},
		{name: "scope cut", change: replace("%2Faws4_request", ""), status: 400, code: "AuthorizationQueryParametersError", text: "mal-formed"},
		{name: "scope's date", change: replace("%2F20260301", "%2F20260302"), status: 400, code: "AuthorizationQueryParametersError", text: "incorrect date"},
		{name: "scope's region", change: replace("eu-central-1", "us-east-1"), status: 400, code: "AuthorizationQueryParametersError", text: `"eu-central-1"`},
		{name: "scope's service", change: replace("%2Fs3%2F", "%2Fec2%2F"), status: 400, code: "AuthorizationQueryParametersError", text: "service"},
		{name: "scope's end", change: replace("aws4_request", "aws5_request"), status: 400, code: "AuthorizationQueryParametersError", text: "terminal"},
		{name: "expiry no number", change: replace("Expires=600", "Expires=6e2"), status: 400, code: "AuthorizationQueryParametersError", text: "number"},
		{name: "expiry huge", change: replace("Expires=600", "Expires=99999999999999999999"), status: 400, code: "AuthorizationQueryParametersError", text: "number"},
		{name: "expiry 0", sign: func(_ *Credentials, r *signing) { r.TTL = 0 }, status: 400, code: "AuthorizationQueryParametersError", text: "from 1 to 604800"},
		{name: "expiry negative", sign: func(_ *Credentials, r *signing) { r.TTL = -time.Hour }, status: 400, code: "AuthorizationQueryParametersError", text: "from 1 to 604800"},
		{name: "expiry 7 days", sign: func(_ *Credentials, r *signing) { r.TTL = maxTTL }, now: maxTTL - 1},
		{name: "expiry over 7 days", sign: func(_ *Credentials, r *signing) { r.TTL = maxTTL + time.Second }, status: 400, code: "AuthorizationQueryParametersError", text: "604800"},
		{name: "expiry prolonged", change: replace("Expires=600", "Expires=6000"), status: 403, code: "SignatureDoesNotMatch"},
		{name: "access key", change: replace("=AKIA", "=AKIB"), status: 403, code: noSuch},
		{name: "empty access key", sign: func(c *Credentials, _ *signing) { c.AccessKey = "" }, status: 400, code: "AuthorizationQueryParametersError", text: "mal-formed"},
		{name: "secret", sign: func(c *Credentials, _ *signing) { c.SecretKey = "guessed" }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "token not asked for", sign: func(c *Credentials, _ *signing) { c.SessionToken = "t" }, status: 400, code: "InvalidToken"},
		{name: "method", change: func(r *http.Request) { r.Method = "GET" }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "path", change: func(r *http.Request) { r.URL.Path += "x" }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "host", change: func(r *http.Request) { r.Host = "other" }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "host with default port", change: func(r *http.Request) { r.Host += ":443" }},
		{name: "parameter added", change: func(r *http.Request) { r.URL.RawQuery += "&a=b" }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "parameter without value", sign: func(_ *Credentials, r *signing) { r.Query = []Param{{"acl", ""}} }, change: replace("acl=", "acl")},
		{name: "parameters in another order", change: func(r *http.Request) {
			parts := strings.Split(r.URL.RawQuery, "&")
			parts[0], parts[3] = parts[3], parts[0]
			r.URL.RawQuery = strings.Join(parts, "&")
		}},
		{name: "type", change: func(r *http.Request) { r.Header.Set("Content-Type", "text/html") }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "type twice", change: func(r *http.Request) { r.Header.Add("Content-Type", "image/png") }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "type with spaces", change: func(r *http.Request) { r.Header.Set("Content-Type", " image/png ") }},
		{name: "no type", change: drop("Content-Type"), status: 403, code: "AccessDenied", text: "content-type"},
		{name: "no condition", change: drop("If-None-Match"), status: 403, code: "AccessDenied", text: "if-none-match"},
		{name: "no checksum", change: drop("X-Amz-Checksum-Sha256"), status: 403, code: "AccessDenied", text: "x-amz-checksum-sha256"},
		{name: "length", change: func(r *http.Request) { r.ContentLength++ }, status: 403, code: "SignatureDoesNotMatch"},
		{name: "no length", change: func(r *http.Request) { r.ContentLength = -1 }, status: 403, code: "AccessDenied", text: "content-length"},
		{name: "length in the header alone", change: func(r *http.Request) {
			r.ContentLength = 1
			r.Header.Set("Content-Length", "2711")
		}, status: 403, code: "SignatureDoesNotMatch"},
		{name: "host not signed", change: replace("content-type%3Bhost", "content-type"), status: 403, code: "AccessDenied", text: "not signed: host"},
		{name: "unsigned header of Amazon's", change: func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") }, status: 403, code: "AccessDenied", text: "not signed: x-amz-acl"},
		{name: "another unsigned header", change: func(r *http.Request) { r.Header.Set("Origin", "http://viewer") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, req := uploadRequest()
			known := c
			if test.sign != nil {
				test.sign(&c, req)
			}
			r := received(t, req.presign(new(Signer), c), req)
			if test.change != nil {
				test.change(r)
			}
			err := Verify(r, "eu-central-1", req.Time.Add(test.now), pair(known))
			if test.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var refused *VerifyError
			if !errors.As(err, &refused) || refused.Code != test.code || refused.Status != test.status ||
				!strings.Contains(refused.Message, test.text) {
				t.Errorf("got %#v, want %d %s with %q", err, test.status, test.code, test.text)
			}
			if err != nil && strings.Contains(err.Error(), known.SecretKey) {
				t.Errorf("the error holds the secret key: %v", err)
			}
		})
	}
}

func TestVerifyToken(t *testing.T) {
	c, req := uploadRequest()
	c.SessionToken = "a+token/=="
	good := req.presign(new(Signer), c)
	other := c
	other.SessionToken = ""
	for token, url := range map[string]string{"right": good, "none": req.presign(new(Signer), other)} {
		err := Verify(received(t, url, req), req.Region, req.Time, pair(c))
		if (err == nil) != (token == "right") {
			t.Errorf("token %s: %v", token, err)
		}
	}
}

// TestVerifyEveryByte changes every byte of a URL behind its scheme to every other.
func TestVerifyEveryByte(t *testing.T) {
	c, req := uploadRequest()
	req.Query = append(req.Query, Param{"response-content-type", "a b"}, Param{"e", ""}, Param{"", ""})
	url := req.presign(new(Signer), c)
	for i := len("https://"); i < len(url); i++ {
		for b := range 256 {
			if byte(b) != url[i] {
				changed := url[:i] + string([]byte{byte(b)}) + url[i+1:]
				refuses(t, changed, c, req)
			}
		}
	}
}

// refuses accepts that the URL is none at all.
func refuses(t *testing.T, url string, c Credentials, req *signing) {
	t.Helper()
	if _, err := http.NewRequest(req.Method, url, nil); err != nil {
		return
	}
	if Verify(received(t, url, req), req.Region, req.Time, pair(c)) == nil {
		t.Errorf("accepts %q", url)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("mask/a/g/0001_liver.png", "x-id", "PutObject", "image/png", uint(40), byte('A'), "X-Amz-Algorithm=AWS4-HMAC-SHA256")
	f.Add("", "", "", "", uint(9), byte('#'), "X-Amz-Credential=%&;&&=&X-Amz-SignedHeaders=;;host;Host")
	f.Fuzz(func(t *testing.T, path, name, value, header string, at uint, b byte, rawQuery string) {
		c, req := uploadRequest()
		if strings.HasPrefix(name, "X-Amz-") {
			name = "x" + name
		}
		req.Path, req.Query, req.Header = "/"+path, []Param{{name, value}}, []Param{{"content-type", header}}
		url := req.presign(new(Signer), c)
		r := received(t, url, req)
		if err := Verify(r, req.Region, req.Time, pair(c)); err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		const scheme = uint(len("https://"))
		at = scheme + at%(uint(len(url))-scheme)
		if url[at] != b {
			refuses(t, url[:at]+string([]byte{b})+url[at+1:], c, req)
		}
		r.URL.RawQuery = rawQuery
		if Verify(r, req.Region, req.Time, pair(c)) == nil {
			t.Errorf("accepts %q", rawQuery)
		}
	})
}
