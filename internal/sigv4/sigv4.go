// Package sigv4 signs URLs by AWS Signature Version 4 in the query string, as S3 does it, and verifies them:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	algorithm   = "AWS4-HMAC-SHA256"
	payload     = "UNSIGNED-PAYLOAD"
	timeFormat  = "20060102T150405Z"
	dateLength  = len("20060102")
	scopeSuffix = "/s3/aws4_request"
)

// Credentials are a key pair and, where it is a temporary one, its session token.
type Credentials struct{ AccessKey, SecretKey, SessionToken string }

// Param is a parameter of a query, or a header.
type Param struct{ Name, Value string }

// Request is what a URL is signed for.
type Request struct {
	Method, Scheme, Host string
	Path                 string        // unescaped, begins with "/"
	Query                []Param       // beside the X-Amz- ones that signing adds; unescaped, in any order
	Header               []Param       // bound beside Host; names in lower case, in any order
	Region               string        // of the bucket
	Time                 time.Time     // from when the URL works
	TTL                  time.Duration // how long it works, cut to whole seconds
}

// Signer signs URLs. Its zero value is ready, and safe for many goroutines. It remembers the last signing key, which
// costs as much to derive as all the rest, and holds for one day, region and key pair.
type Signer struct{ last atomic.Pointer[signingKey] }

// Presign gives the signed URL, whose payload is unsigned. The buffers that it fills stay on the stack, unless a
// session token is long.
func (s *Signer) Presign(c Credentials, r *Request) string {
	var timeBuffer [32]byte
	at := r.Time.UTC().AppendFormat(timeBuffer[:0], timeFormat)
	key := s.key(c, at[:dateLength], r.Region)

	var headerBuffer [12]Param
	header := append(headerBuffer[:0], Param{"host", signedHost(r.Scheme, r.Host)})
	header = append(header, r.Header...)
	slices.SortStableFunc(header, func(a, b Param) int { return strings.Compare(a.Name, b.Name) })

	// The values that signing adds share one string.
	var valueBuffer [256]byte
	values := append(valueBuffer[:0], at...)
	values = strconv.AppendInt(values, int64(r.TTL/time.Second), 10)
	headersAt := len(values)
	values = appendNames(values, header)
	value := string(values)

	var queryBuffer [16]Param
	query := append(queryBuffer[:0],
		Param{"X-Amz-Algorithm", algorithm},
		Param{"X-Amz-Credential", key.credential},
		Param{"X-Amz-Date", value[:len(at)]},
		Param{"X-Amz-Expires", value[len(at):headersAt]})
	if c.SessionToken != "" {
		query = append(query, Param{"X-Amz-Security-Token", c.SessionToken})
	}
	query = append(query, Param{"X-Amz-SignedHeaders", value[headersAt:]})
	for _, p := range r.Query {
		query = append(query, Param{escape(p.Name), p.Value})
	}
	slices.SortFunc(query, compareQuery)

	var urlBuffer [1024]byte
	url := append(urlBuffer[:0], r.Scheme...)
	url = append(url, "://"...)
	url = append(url, r.Host...)
	pathAt := len(url)
	url = appendEscaped(url, r.Path, true)
	queryAt := len(url) + 1
	for i, p := range query {
		if i == 0 {
			url = append(url, '?')
		} else {
			url = append(url, '&')
		}
		url = append(url, p.Name...)
		url = append(url, '=')
		url = appendEscaped(url, p.Value, false)
	}

	var canonicalBuffer [1536]byte
	canonical := append(canonicalBuffer[:0], r.Method...)
	canonical = append(canonical, '\n')
	canonical = append(canonical, url[pathAt:queryAt-1]...)
	canonical = append(canonical, '\n')
	canonical = append(canonical, url[queryAt:]...)
	canonical = append(canonical, '\n')
	canonical = appendHeaders(canonical, header, value[headersAt:])

	signature := key.sign(at, canonical)
	url = append(url, "&X-Amz-Signature="...)
	url = append(url, signature[:]...)
	return string(url)
}

// signedHost is the Host header that a browser sends: without the scheme's default port. An IPv6 address so cut
// loses its brackets too, as with the AWS SDK.
func signedHost(scheme, host string) string {
	port := ":443"
	if scheme == "http" {
		port = ":80"
	}
	bare, found := strings.CutSuffix(host, port)
	if !found || strings.Contains(bare, ":") && !strings.HasSuffix(bare, "]") {
		return host
	}
	return strings.Trim(bare, "[]")
}

// appendNames appends the distinct names of a sorted header, with semicolons between.
func appendNames(b []byte, header []Param) []byte {
	for i, h := range header {
		if i > 0 && h.Name == header[i-1].Name {
			continue
		}
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, h.Name...)
	}
	return b
}

// appendHeaders appends the end of a canonical request: the headers, their names, the payload's hash. Values of the
// same name are joined by commas.
func appendHeaders(b []byte, header []Param, names string) []byte {
	for i, h := range header {
		if i > 0 && h.Name == header[i-1].Name {
			b[len(b)-1] = ','
		} else {
			b = append(b, h.Name...)
			b = append(b, ':')
		}
		b = appendTrimmed(b, h.Value)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(b, names...)
	b = append(b, '\n')
	return append(b, payload...)
}

// appendTrimmed appends a header's value without spaces at its ends and with single ones within.
func appendTrimmed(b []byte, value string) []byte {
	value = strings.TrimSpace(value)
	if !strings.Contains(value, "  ") {
		return append(b, value...)
	}
	for i := range len(value) {
		if value[i] != ' ' || value[i-1] != ' ' {
			b = append(b, value[i])
		}
	}
	return b
}

// compareQuery orders parameters, whose names are escaped already, as a canonical query has them: by escaped names, then
// by escaped values.
func compareQuery(a, b Param) int {
	if a.Name != b.Name {
		return strings.Compare(a.Name, b.Name)
	}
	return strings.Compare(escape(a.Value), escape(b.Value))
}

func escape(s string) string {
	for i := range len(s) {
		if !unreserved[s[i]] {
			return string(appendEscaped(nil, s, false))
		}
	}
	return s
}

// appendEscaped appends s with all but the unreserved characters of RFC 3986, and on demand slashes, escaped.
func appendEscaped(b []byte, s string, slashes bool) []byte {
	const digits = "0123456789ABCDEF"
	done := 0
	for i := range len(s) {
		if c := s[i]; !unreserved[c] && (c != '/' || !slashes) {
			b = append(b, s[done:i]...)
			b = append(b, '%', digits[c>>4], digits[c&15])
			done = i + 1
		}
	}
	return append(b, s[done:]...)
}

var unreserved = func() (table [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
		table[c] = true
	}
	return table
}()

// signingKey is derived from a secret key for one day and region.
type signingKey struct {
	accessKey, secretKey string
	date, region         string
	credential           string // the value of X-Amz-Credential, whose end is the scope
	hmac                 hmacKey
}

// key gives the remembered key, or another that it then remembers. A key pair that was rotated, or that shares its
// access key with another, never gets the key of the other.
func (s *Signer) key(c Credentials, date []byte, region string) *signingKey {
	k := s.last.Load()
	if k == nil || k.date != string(date) || k.region != region || k.accessKey != c.AccessKey || k.secretKey != c.SecretKey {
		k = deriveKey(c, string(date), region)
		s.last.Store(k)
	}
	return k
}

func deriveKey(c Credentials, date, region string) *signingKey {
	key := []byte("AWS4" + c.SecretKey)
	for _, part := range []string{date, region, "s3", "aws4_request"} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return &signingKey{
		accessKey: c.AccessKey, secretKey: c.SecretKey, date: date, region: region,
		credential: c.AccessKey + "/" + date + "/" + region + scopeSuffix,
		hmac:       newHMACKey([sha256.Size]byte(key)),
	}
}

// sign gives the signature of a canonical request, in hex.
func (k *signingKey) sign(at, canonical []byte) (signature [2 * sha256.Size]byte) {
	hash := sha256.Sum256(canonical)
	var buffer [256]byte
	b := append(buffer[:0], k.hmac.inner[:]...)
	b = append(b, algorithm+"\n"...)
	b = append(b, at...)
	b = append(b, '\n')
	b = append(b, k.credential[len(k.accessKey)+1:]...)
	b = append(b, '\n')
	b = hex.AppendEncode(b, hash[:])
	hash = sha256.Sum256(b)
	b = append(buffer[:0], k.hmac.outer[:]...)
	hash = sha256.Sum256(append(b, hash[:]...))
	hex.Encode(signature[:], hash[:])
	return signature
}

// hmacKey is a key of HMAC (RFC 2104), padded and mixed with its two constants: crypto/hmac would do that, and
// allocate, anew for each message, as its state cannot be shared.
type hmacKey struct{ inner, outer [sha256.BlockSize]byte }

func newHMACKey(key [sha256.Size]byte) (k hmacKey) {
	copy(k.inner[:], key[:])
	copy(k.outer[:], key[:])
	for i := range sha256.BlockSize {
		k.inner[i] ^= 0x36
		k.outer[i] ^= 0x5c
	}
	return k
}
