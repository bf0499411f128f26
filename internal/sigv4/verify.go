package sigv4

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxTTL  = 7 * 24 * time.Hour // https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
	maxSkew = 15 * time.Minute   // how far a client's clock may be ahead
)

// VerifyError says, in S3's words, why a request is refused.
type VerifyError struct {
	Code    string // S3's: AccessDenied, SignatureDoesNotMatch, …
	Message string // holds no secret
	Status  int    // of the HTTP answer
}

// Error gives code and message.
func (e *VerifyError) Error() string { return e.Code + ": " + e.Message }

func denied(message string) error {
	return &VerifyError{"AccessDenied", message, http.StatusForbidden}
}

func malformed(format string, args ...any) error {
	return &VerifyError{"AuthorizationQueryParametersError", fmt.Sprintf(format, args...), http.StatusBadRequest}
}

func notSigned(name string) error {
	return &VerifyError{
		"AccessDenied", "There were headers present in the request which were not signed: " + name, http.StatusForbidden,
	}
}

// Verify checks that a request, as net/http's server gives it, was signed in its query by a key pair that lookup
// knows, for region, and that the signature holds at now: from 15 minutes before its date, for clocks that differ, until
// its expiry. Each header that it names must be there, as must Host be named, and every x-amz- header be named.
// The error is a *VerifyError.
//
// It is stricter than S3 in one thing: the URL must be escaped as Presign escapes it.
func Verify(r *http.Request, region string, now time.Time, lookup func(accessKey string) (Credentials, bool)) error {
	q, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	at, err := q.check(region, now)
	if err != nil {
		return err
	}
	header, err := signedHeader(r, q.signedHeaders)
	if err != nil {
		return err
	}
	accessKey, _, _ := strings.Cut(q.credential, "/")
	c, ok := lookup(accessKey)
	if !ok {
		return &VerifyError{
			"InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", http.StatusForbidden,
		}
	}
	if subtle.ConstantTimeCompare([]byte(c.SessionToken), []byte(q.token)) == 0 {
		return &VerifyError{"InvalidToken", "The provided token is malformed or otherwise invalid.", http.StatusBadRequest}
	}

	canonical := fmt.Appendf(nil, "%s\n%s\n%s\n", r.Method, r.URL.EscapedPath(), q.canonical)
	canonical = appendHeaders(canonical, header)
	canonical = append(canonical, q.signedHeaders+"\n"+payload...)
	key := deriveKey(c, at[:dateLength], region)
	signature := key.sign([]byte(at), canonical)
	if subtle.ConstantTimeCompare(signature[:], []byte(q.signature)) == 0 {
		return &VerifyError{"SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you provided. Check your key and signing method.",
			http.StatusForbidden}
	}
	return nil
}

// query is a signed query string, taken apart.
type query struct {
	algorithm, credential, date, expires, signedHeaders, signature string
	token                                                          string
	canonical                                                      string // all but the signature, sorted, still escaped
}

func parseQuery(raw string) (*query, error) {
	q := new(query)
	fields := map[string]*string{
		"X-Amz-Algorithm":      &q.algorithm,
		"X-Amz-Credential":     &q.credential,
		"X-Amz-Date":           &q.date,
		"X-Amz-Expires":        &q.expires,
		"X-Amz-SignedHeaders":  &q.signedHeaders,
		"X-Amz-Signature":      &q.signature,
		"X-Amz-Security-Token": &q.token,
	}
	var pairs []Param
	found := 0
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if field, ok := fields[name]; ok {
			unescaped, err := url.QueryUnescape(value)
			if err != nil || unescaped == "" || *field != "" {
				return nil, malformed("The parameter %s is malformed.", name)
			}
			*field = unescaped
			if name != "X-Amz-Security-Token" {
				found++
			}
		}
		if name != "X-Amz-Signature" {
			pairs = append(pairs, Param{name, value})
		}
	}
	switch {
	case found == 0:
		return nil, denied("Access Denied")
	case found < len(fields)-1:
		return nil, malformed("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, " +
			"X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
	}
	slices.SortFunc(pairs, func(a, b Param) int {
		if a.Name != b.Name {
			return strings.Compare(a.Name, b.Name)
		}
		return strings.Compare(a.Value, b.Value)
	})
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.Name + "=" + p.Value)
	}
	q.canonical = b.String()
	return q, nil
}

// check checks all that needs no key, and gives the time of the signature as it was signed.
func (q *query) check(region string, now time.Time) (at string, err error) {
	if q.algorithm != algorithm {
		return "", malformed("X-Amz-Algorithm only supports %q", algorithm)
	}
	date, err := time.Parse(timeFormat, q.date)
	if err != nil || len(q.date) != len(timeFormat) {
		return "", malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	const badCredential = "Error parsing the X-Amz-Credential parameter; "
	scope := strings.Split(q.credential, "/")
	switch {
	case len(scope) != 5 || scope[0] == "":
		return "", malformed(
			badCredential + "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
	case scope[1] != q.date[:dateLength]:
		return "", malformed(badCredential+"incorrect date %q, which is not that of X-Amz-Date.", scope[1])
	case scope[2] != region:
		return "", malformed(badCredential+"the region %q is wrong; expecting %q", scope[2], region)
	case scope[3] != "s3":
		return "", malformed(badCredential+"incorrect service %q. This endpoint belongs to \"s3\".", scope[3])
	case scope[4] != "aws4_request":
		return "", malformed(badCredential+"incorrect terminal %q. This endpoint uses \"aws4_request\".", scope[4])
	}
	seconds, err := strconv.ParseInt(q.expires, 10, 32)
	ttl := time.Duration(seconds) * time.Second
	switch {
	case err != nil:
		return "", malformed("X-Amz-Expires should be a number of seconds")
	case ttl < time.Second || ttl > maxTTL:
		return "", malformed("X-Amz-Expires must be from 1 to %d seconds", int(maxTTL.Seconds()))
	case date.After(now.Add(maxSkew)):
		return "", denied("Request is not yet valid")
	case !now.Before(date.Add(ttl)):
		return "", denied("Request has expired")
	}
	return q.date, nil
}

// signedHeader collects the headers named, from where net/http puts them.
func signedHeader(r *http.Request, names string) ([]Param, error) {
	signed := strings.Split(names, ";")
	if !slices.Contains(signed, "host") {
		return nil, notSigned("host")
	}
	for name := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && !slices.Contains(signed, name) {
			return nil, notSigned(name)
		}
	}
	var header []Param
	for _, name := range signed {
		values := r.Header.Values(name)
		switch name {
		case "host":
			scheme := "http"
			if r.TLS != nil {
				scheme = "https"
			}
			values = []string{signedHost(scheme, r.Host)}
		case "content-length":
			if r.ContentLength >= 0 {
				values = []string{strconv.FormatInt(r.ContentLength, 10)}
			}
		}
		if len(values) == 0 {
			return nil, denied("The request lacks the header " + name + ", which was signed.")
		}
		for _, value := range values {
			header = append(header, Param{name, value})
		}
	}
	return header, nil
}
