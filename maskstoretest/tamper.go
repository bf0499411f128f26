package maskstoretest

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/pacs-extension/maskstore"
)

const (
	signed   = "the content that was signed"
	flipped  = "the content that was SIGNED" // of the same length
	longer   = signed + "!"
	shortest = "t"
)

// tamper is a change to a signed PUT of the content signed, which a server must refuse.
type tamper struct {
	edit   func(*http.Request)
	status []int // any of these: S3's, and MinIO's where that is another
}

var (
	refused     = []int{http.StatusForbidden}
	malformed   = []int{http.StatusForbidden, http.StatusBadRequest} // what a server finds wrong before the signature
	elsewhere   = []int{http.StatusForbidden, http.StatusNotFound}
	noLength    = append([]int{http.StatusLengthRequired}, malformed...)
	wrongMethod = append([]int{http.StatusMethodNotAllowed}, malformed...)

	withoutConditions = edits(setHeader("If-Match", ""), setHeader("If-None-Match", ""))
)

var tampers = map[string]tamper{
	"AnotherType":           {setHeader("Content-Type", "text/html"), refused},
	"NoType":                {setHeader("Content-Type", ""), malformed},
	"LongerBody":            {setBody(longer), refused},
	"ShorterBody":           {setBody(shortest), refused},
	"EmptyBody":             {setBody(""), malformed},
	"NoLength":              {func(r *http.Request) { r.ContentLength = -1 }, noLength},
	"FlippedBits":           {setBody(flipped), []int{http.StatusBadRequest}},
	"AnotherChecksum":       {edits(setBody(flipped), setHeader(sha256Header, boundTo(flipped).SHA256.Base64())), refused},
	"NoChecksum":            {edits(setBody(flipped), setHeader(sha256Header, "")), malformed},
	"NoCondition":           {withoutConditions, malformed},
	"AnotherCondition":      {func(r *http.Request) { r.Header.Set(condition(r), `"another"`) }, refused},
	"AnotherKey":            {setPath(func(path string) string { return path + "2" }), refused},
	"AnotherBucket":         {setPath(func(path string) string { return "/another-" + path[1:] }), elsewhere},
	"AnotherHost":           {func(r *http.Request) { r.Host = "another.example" }, elsewhere},
	"PostInstead":           {setMethod(http.MethodPost), wrongMethod},
	"GetInstead":            {setMethod(http.MethodGet), malformed},
	"HeadInstead":           {setMethod(http.MethodHead), malformed},
	"DeleteInstead":         {setMethod(http.MethodDelete), malformed},
	"LaterExpiry":           {setQuery("X-Amz-Expires", func(string) string { return "604800" }), refused},
	"NoExpiry":              {setQuery("X-Amz-Expires", nil), malformed},
	"ExpiryOverTheMaximum":  {setQuery("X-Amz-Expires", func(string) string { return "604801" }), malformed},
	"LaterDate":             {setQuery("X-Amz-Date", flipSeconds), refused},
	"NoDate":                {setQuery("X-Amz-Date", nil), malformed},
	"FlippedSignature":      {setQuery("X-Amz-Signature", flip), refused},
	"ShortSignature":        {setQuery("X-Amz-Signature", func(s string) string { return s[1:] }), refused},
	"NoSignature":           {setQuery("X-Amz-Signature", nil), malformed},
	"NoAlgorithm":           {setQuery("X-Amz-Algorithm", nil), malformed},
	"AnotherAlgorithm":      {setQuery("X-Amz-Algorithm", func(string) string { return "AWS4-HMAC-SHA1" }), malformed},
	"AnotherAccessKey":      {setCredential(0, "ANOTHERACCESSKEY"), refused},
	"AnotherDateOfScope":    {setCredential(1, "20200102"), malformed},
	"AnotherRegion":         {setCredential(2, "mars-north-1"), malformed},
	"AnotherService":        {setCredential(3, "sts"), malformed},
	"FewerSignedHeaders":    {edits(withoutConditions, setQuery("X-Amz-SignedHeaders", withoutCondition)), refused},
	"HostNotSigned":         {setQuery("X-Amz-SignedHeaders", withoutHost), malformed},
	"OneMoreParameter":      {func(r *http.Request) { r.URL.RawQuery += "&x-id=PutObject" }, refused},
	"NothingSignedAtAll":    {func(r *http.Request) { r.URL.RawQuery = "" }, malformed},
	"SignatureOfAnotherURL": {nil, refused},
}

// tamperTests make each change to a PUT over nothing and to one over an object. Both must be refused and change nothing,
// and the URL must work all the same for who sends what was signed.
var tamperTests = func() map[string]func(*env) {
	tests := make(map[string]func(*env), len(tampers))
	for name, row := range tampers {
		tests[name] = func(e *env) {
			fresh, taken := e.key("fresh.png"), e.key("taken.png")
			create := boundTo(signed)
			create.NoOverwrite = true
			e.tamper(e.signPut(fresh, create), row)
			e.wantAbsent(fresh)

			replace := boundTo(signed)
			replace.IfMatch = e.put(taken, "old", nil).ETag
			e.tamper(e.signPut(taken, replace), row)
			e.wantContent(taken, "old")
			e.wantKeys("", nil, "taken.png")

			e.wantStatus(e.signPut(fresh, create), signed, http.StatusOK)
			e.wantStatus(e.signPut(taken, replace), signed, http.StatusOK)
		}
	}
	return tests
}()

func (e *env) tamper(u maskstore.SignedURL, row tamper) {
	e.Helper()
	edit := row.edit
	if edit == nil {
		other := queryOf(e.signGet(e.key("fresh.png"), nil)).Get("X-Amz-Signature")
		edit = setQuery("X-Amz-Signature", func(string) string { return other })
	}
	got := e.send(u, signed, edit)
	for _, status := range row.status {
		if got.status == status {
			return
		}
	}
	e.Errorf("%v: status %d; want one of %d: %s", u, got.status, row.status, got.body)
}

const sha256Header = "X-Amz-Checksum-Sha256"

func edits(all ...func(*http.Request)) func(*http.Request) {
	return func(r *http.Request) {
		for _, edit := range all {
			edit(r)
		}
	}
}

// setHeader sets a header, or leaves it out where value is empty.
func setHeader(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		if r.Header.Del(name); value != "" {
			r.Header.Set(name, value)
		}
	}
}

func setBody(body string) func(*http.Request) {
	return func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader([]byte(body))), int64(len(body))
		if body == "" {
			r.Body = http.NoBody
		}
	}
}

func setPath(change func(string) string) func(*http.Request) {
	return func(r *http.Request) { r.URL.Path, r.URL.RawPath = change(r.URL.Path), "" }
}

func setMethod(method string) func(*http.Request) {
	return func(r *http.Request) {
		if r.Method = method; method != http.MethodPost {
			r.Body, r.ContentLength = nil, 0
		}
	}
}

// setQuery changes a parameter of the query, or leaves it out where change is nil.
func setQuery(name string, change func(string) string) func(*http.Request) {
	return func(r *http.Request) {
		query := r.URL.Query()
		if change == nil {
			query.Del(name)
		} else {
			query.Set(name, change(query.Get(name)))
		}
		r.URL.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	}
}

// setCredential changes one part of AccessKey/date/region/s3/aws4_request.
func setCredential(part int, value string) func(*http.Request) {
	return setQuery("X-Amz-Credential", func(s string) string {
		parts := strings.Split(s, "/")
		parts[part] = value
		return strings.Join(parts, "/")
	})
}

// flip changes the first digit.
func flip(s string) string {
	if s[0] == '1' {
		return "2" + s[1:]
	}
	return "1" + s[1:]
}

// flipSeconds changes the seconds of a date.
func flipSeconds(date string) string { return date[:len(date)-3] + flip(date[len(date)-3:]) }

func condition(r *http.Request) string {
	if r.Header.Get("If-Match") != "" {
		return "If-Match"
	}
	return "If-None-Match"
}

func withoutCondition(headers string) string {
	return strings.NewReplacer("if-match;", "", "if-none-match;", "").Replace(headers)
}

func withoutHost(headers string) string { return strings.ReplaceAll(headers, "host;", "") }

var unsignedTests = map[string]func(*env){
	"HeadersBesideThePut": func(e *env) {
		// Servers store these, though they are not signed; who gets the object must not see them.
		u := e.signPut(e.key("0001_liver.png"), boundTo("content"))
		if got := e.send(u, "content", func(r *http.Request) {
			r.Header.Set("Cache-Control", "public, max-age=31536000, immutable")
			r.Header.Set("Content-Encoding", "gzip")
			r.Header.Set("Content-Disposition", "inline")
		}); got.status == http.StatusForbidden {
			return // unsigned, they are refused
		} else if got.status != http.StatusOK {
			e.Fatalf("status %d: %s", got.status, got.body)
		}
		e.wantContent(e.key("0001_liver.png"), "content")
		got := e.wantStatus(e.signGet(e.key("0001_liver.png"), nil), "", http.StatusOK) // decoded, it would fail
		got.wantDownload(e, "image/png", "0001_liver.png")
		encoding := got.header.Get("Content-Encoding")
		if got.body != "content" || got.header.Get("Cache-Control") != "private, no-cache" ||
			encoding != "" && encoding != "identity" {
			e.Errorf("answers %s, %v", brief(got.body), got.header)
		}
	},
	"NothingWithoutASignature": func(e *env) {
		e.put(e.key("x"), "old", nil)
		u, err := url.Parse(e.signGet(e.key("x"), nil).URL)
		e.must(err)
		u.RawQuery = ""
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete} {
			got := e.send(maskstore.SignedURL{Method: method, URL: u.String()}, "new", nil)
			if got.status != http.StatusForbidden {
				e.Errorf("%s: status %d; want 403", method, got.status)
			}
		}
		e.wantContent(e.key("x"), "old")
	},
	"NothingBesideTheGet": func(e *env) {
		e.put(e.key("x"), "old", nil)
		u := e.signGet(e.key("x"), nil)
		for name, edit := range map[string]func(*http.Request){
			"put":          func(r *http.Request) { r.Method = http.MethodPut; setBody("new")(r) },
			"delete":       setMethod(http.MethodDelete),
			"another key":  tampers["AnotherKey"].edit,
			"a page":       setQuery("response-content-type", func(string) string { return "text/html" }),
			"shown":        setQuery("response-content-disposition", func(string) string { return "inline" }),
			"no type":      setQuery("response-content-type", nil),
			"for all":      setQuery("response-cache-control", func(string) string { return "public" }),
			"decoded":      setQuery("response-content-encoding", func(string) string { return "gzip" }),
			"later expiry": tampers["LaterExpiry"].edit,
		} {
			if got := e.send(u, "", edit); got.status != http.StatusForbidden {
				e.Errorf("%s: status %d; want 403", name, got.status)
			}
		}
		e.wantContent(e.key("x"), "old")
	},
}
