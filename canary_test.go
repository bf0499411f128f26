package maskstore

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	canaryKey       = "canary-key-3f8a91c2d7e6"
	canaryToken     = "canary-token-b25c19d0e4f7"
	canarySignature = "canary-signature-77aa01b3"
)

// exportedTypes are the package's: TestCanaryInNoType fails for one that is missing.
var exportedTypes = []reflect.Type{
	reflect.TypeFor[Action](), reflect.TypeFor[AdoptOptions](), reflect.TypeFor[BatchPutter](),
	reflect.TypeFor[BeginOptions](), reflect.TypeFor[Body](), reflect.TypeFor[Code](), reflect.TypeFor[CompleteOptions](),
	reflect.TypeFor[Completion](), reflect.TypeFor[Config](), reflect.TypeFor[Copier](), reflect.TypeFor[CopyOptions](),
	reflect.TypeFor[DirectDownload](), reflect.TypeFor[DirectDownloader](), reflect.TypeFor[DirectItem](),
	reflect.TypeFor[DirectResult](), reflect.TypeFor[DirectUploader](), reflect.TypeFor[DownloadItem](),
	reflect.TypeFor[DownloadURLOptions](), reflect.TypeFor[DownloadURLsOptions](), reflect.TypeFor[Error](),
	reflect.TypeFor[GetOptions](), reflect.TypeFor[Group](), reflect.TypeFor[GroupInfo](), reflect.TypeFor[GroupOptions](),
	reflect.TypeFor[GroupUpload](), reflect.TypeFor[GroupUploadOptions](), reflect.TypeFor[GroupsOptions](),
	reflect.TypeFor[HTTPError](), reflect.TypeFor[HandlerOptions](), reflect.TypeFor[InputError](), reflect.TypeFor[Journal](),
	reflect.TypeFor[ListOptions](), reflect.TypeFor[Manifest](), reflect.TypeFor[Mask](), reflect.TypeFor[MaskData](),
	reflect.TypeFor[MaskFile](), reflect.TypeFor[MaskKey](), reflect.TypeFor[MaskSpec](), reflect.TypeFor[MaskURL](),
	reflect.TypeFor[Memory](), reflect.TypeFor[Metadata](), reflect.TypeFor[MinIO](), reflect.TypeFor[MultipartStorage](),
	reflect.TypeFor[MultipartUpload](), reflect.TypeFor[Object](), reflect.TypeFor[ObjectInfo](),
	reflect.TypeFor[ObjectStorage](), reflect.TypeFor[ObjectStorageConfig](), reflect.TypeFor[OpenUpload](),
	reflect.TypeFor[PNGColorType](), reflect.TypeFor[PNGHeader](), reflect.TypeFor[ParallelOptions](), reflect.TypeFor[Part](),
	reflect.TypeFor[PartURL](), reflect.TypeFor[PartsOptions](), reflect.TypeFor[PartsTicket](), reflect.TypeFor[Problem](),
	reflect.TypeFor[Progress](), reflect.TypeFor[PutOptions](), reflect.TypeFor[RenewOptions](),
	reflect.TypeFor[RevealedPart](), reflect.TypeFor[RevealedTicket](), reflect.TypeFor[RevealedURL](), reflect.TypeFor[S3](),
	reflect.TypeFor[S3Options](), reflect.TypeFor[SHA256](), reflect.TypeFor[Secret](), reflect.TypeFor[Segment](),
	reflect.TypeFor[SignedURL](), reflect.TypeFor[SignedURLConfig](), reflect.TypeFor[Sink](), reflect.TypeFor[Source](),
	reflect.TypeFor[SweepOptions](), reflect.TypeFor[SweepReport](), reflect.TypeFor[UnexpectedObject](),
	reflect.TypeFor[UploadItem](), reflect.TypeFor[UploadOpenError](), reflect.TypeFor[UploadOptions](),
	reflect.TypeFor[UploadRecord](), reflect.TypeFor[UploadURLOptions](), reflect.TypeFor[Verdict](),
}

// declaredTypes are the names of the exported types in the package's files.
func declaredTypes(t *testing.T) []string {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if decl, ok := decl.(*ast.GenDecl); ok && decl.Tok == token.TYPE {
				for _, spec := range decl.Specs {
					if name := spec.(*ast.TypeSpec).Name; name.IsExported() {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// plant puts a canary wherever v can hold a secret.
func plant(v reflect.Value, depth int) {
	if !v.CanSet() || depth > 6 {
		return
	}
	switch v.Addr().Interface().(type) {
	case *Secret:
		v.SetString(canaryKey)
		return
	case *SignedURL:
		v.Set(reflect.ValueOf(SignedURL{
			Method: "PUT", URL: "https://s3.test/masks/mask/a?X-Amz-Signature=" + canarySignature,
			Header: http.Header{"X-Amz-Security-Token": {canaryToken}},
		}))
		return
	case *error:
		v.Set(reflect.ValueOf(errTest))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			plant(field, depth+1)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		plant(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		plant(v.Index(0), depth+1)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		plant(value, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	}
}

// wantNoCanary wants none of the secrets in whatever way v is printed.
func wantNoCanary(t *testing.T, what string, v any, secrets ...string) {
	t.Helper()
	secrets = append(secrets, canaryKey, canaryToken, canarySignature)
	for how, text := range prints(t, v) {
		for _, secret := range secrets {
			if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s by %s shows %q: %s", what, how, secret, text)
			}
		}
	}
}

// TestCanaryInNoType: no exported type shows a secret that it holds, but for RevealedURL, which is made to.
func TestCanaryInNoType(t *testing.T) {
	var names []string
	secretive := regexp.MustCompile(`(?i)secret|token|password|signature|credential`)
	for _, typ := range exportedTypes {
		names = append(names, typ.Name())
		if typ == reflect.TypeFor[RevealedURL]() || typ.Kind() == reflect.Interface {
			continue
		}
		v := reflect.New(typ)
		plant(v.Elem(), 0)
		wantNoCanary(t, typ.Name(), v.Interface())
		wantNoCanary(t, typ.Name(), v.Elem().Interface())
		if typ.Kind() == reflect.Struct {
			for _, field := range reflect.VisibleFields(typ) {
				if secretive.MatchString(field.Name) && field.Type.Kind() == reflect.String && field.Type != reflect.TypeFor[Secret]() {
					t.Errorf("%s.%s is no Secret", typ.Name(), field.Name)
				}
			}
		}
	}
	slices.Sort(names)
	if declared := declaredTypes(t); !slices.Equal(names, declared) {
		t.Errorf("exportedTypes are %q, want %q", names, declared)
	}
}

// canaryS3 is an S3 with canaries for credentials.
func canaryS3(t *testing.T, transport http.RoundTripper) *S3 {
	t.Helper()
	o := testOptions()
	o.SecretKey, o.SessionToken = canaryKey, canaryToken
	o.HTTPClient = &http.Client{Transport: transport}
	return openS3(t, o)
}

func TestCanaryInNoStorage(t *testing.T) {
	s := canaryS3(t, nil)
	if _, err := s.UploadURL(t.Context(), testKey, nil); err != nil { // which keeps a key to sign with
		t.Fatal(err)
	}
	memory := &Memory{BaseURL: "http://localhost"}
	u, err := memory.DownloadURL(t.Context(), testKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := url.Parse(u.URL)
	if err != nil {
		t.Fatal(err)
	}
	g, err := NewGroup(s, "a", "g", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"S3": s, "MinIO": MinIO{s}, "*MinIO": &MinIO{s}, "Memory": memory, "Group": g, "in a struct": struct{ S ObjectStorage }{s},
	} {
		wantNoCanary(t, name, v, memory.keyPair().SecretKey, parsed.Query().Get("X-Amz-Signature"))
	}
}

// shownError says nothing of what it holds.
type shownError struct {
	URL   string
	cause error
}

func (e shownError) Error() string { return "the proxy failed" }
func (e shownError) Unwrap() error { return e.cause }

// TestCanaryInNoError: no error of a request, nor one within it, shows what it was signed with, whatever a caller's own
// transport or the server puts there.
func TestCanaryInNoError(t *testing.T) {
	answer := func(r *http.Request, status int, body io.Reader) *http.Response {
		header := http.Header{"Content-Type": {"application/xml"}, "Etag": {`"e"`}, "Content-Length": {"9"}}
		return &http.Response{
			StatusCode: status, ProtoMajor: 1, Header: header, ContentLength: 9, Body: io.NopCloser(body), Request: r,
		}
	}
	fail := func(r *http.Request) error { return &url.Error{Op: "Put", URL: r.URL.String(), Err: errTest} }
	for name, transport := range map[string]func(*http.Request) (*http.Response, error){
		"url.Error": func(r *http.Request) (*http.Response, error) { return nil, fail(r) },
		"wrapped":   func(r *http.Request) (*http.Response, error) { return nil, fmt.Errorf("proxy: %w", fail(r)) },
		"wrapped deeply": func(r *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("a: %w", fmt.Errorf("b: %w", fail(r)))
		},
		"joined":           func(r *http.Request) (*http.Response, error) { return nil, errors.Join(errTest, fail(r)) },
		"silently wrapped": func(r *http.Request) (*http.Response, error) { return nil, shownError{r.URL.String(), fail(r)} },
		"the request":      func(r *http.Request) (*http.Response, error) { return nil, fmt.Errorf("sending %v: %w", r, errTest) },
		"its headers": func(r *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("sending %q: %w", r.Header, errTest)
		},
		"refused, with all of it": func(r *http.Request) (*http.Response, error) {
			body := "<Error><Code>SignatureDoesNotMatch</Code><Message>" + r.URL.RawQuery + "</Message><SignatureProvided>" +
				r.Header.Get("Authorization") + "</SignatureProvided></Error>"
			return answer(r, 403, strings.NewReader(body)), nil
		},
		"a success that breaks off": func(r *http.Request) (*http.Response, error) {
			return answer(r, 200, io.MultiReader(strings.NewReader("abc"), errorReader{fail(r)})), nil
		},
	} {
		var secrets []string
		record := roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Body != nil {
				io.Copy(io.Discard, r.Body)
			}
			_, signature, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
			for _, secret := range []string{r.URL.Query().Get("X-Amz-Signature"), signature} {
				if secret != "" {
					secrets = append(secrets, secret)
				}
			}
			return transport(r)
		})
		check := func(t *testing.T, err error) {
			t.Helper()
			if err == nil {
				t.Error("no error")
			}
			if strings.Contains(name, "wrapped") && !errors.Is(err, errTest) {
				t.Errorf("errors.Is does not find the cause of %v", err)
			}
			eachError(err, func(err error) { wantNoCanary(t, fmt.Sprintf("%T", err), err, secrets...) })
		}
		for _, c := range s3Calls() {
			if strings.HasPrefix(name, "a success") && c.op != "Get" && c.op != "List" {
				continue
			}
			inBubble(t, name+" "+c.op, func(t *testing.T) {
				err := c.call(t.Context(), canaryS3(t, record))
				if err == nil && c.op == "Get" {
					obj, getErr := canaryS3(t, record).Get(t.Context(), testKey, nil)
					if getErr != nil {
						t.Fatal(getErr)
					}
					_, err = io.ReadAll(obj.Body)
				}
				check(t, err)
			})
		}
		if strings.HasPrefix(name, "a success") {
			inBubble(t, name+" DownloadAll", func(t *testing.T) {
				u, err := canaryS3(t, record).DownloadURL(t.Context(), testKey, nil)
				if err != nil {
					t.Fatal(err)
				}
				d := &DirectDownloader{Client: &http.Client{Transport: record}}
				sink := func(_ ObjectInfo, r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }
				_, err = d.DownloadAll(t.Context(), []DirectDownload{{Key: "k", URL: u, Sink: sink}})
				check(t, err)
			})
			continue
		}
		inBubble(t, name+" Upload", func(t *testing.T) {
			u, err := canaryS3(t, record).UploadURL(t.Context(), testKey, nil)
			if err != nil {
				t.Fatal(err)
			}
			d := &DirectUploader{Client: &http.Client{Transport: record}}
			_, err = d.Upload(t.Context(), u, BytesBody([]byte("x")))
			check(t, err)
		})
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// eachError calls visit for err and every error within it.
func eachError(err error, visit func(error)) {
	if err == nil {
		return
	}
	visit(err)
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			eachError(err, visit)
		}
	case interface{ Unwrap() error }:
		eachError(e.Unwrap(), visit)
	}
}

// TestCanaryInNoLog: neither the handler's log nor its answers hold what a request says of its user, whatever the hook
// makes of it.
func TestCanaryInNoLog(t *testing.T) {
	hooks := map[string]func(*http.Request) (string, error){
		"error": func(r *http.Request) (string, error) {
			return "", fmt.Errorf("no session for %q", r.Header.Get("Authorization"))
		},
		"refusal": func(r *http.Request) (string, error) { return "", fmt.Errorf("%w: %v", ErrUnauthenticated, r.Header) },
		"panic":   func(r *http.Request) (string, error) { panic(r.Header.Get("Authorization")) },
		"panic, error": func(r *http.Request) (string, error) {
			panic(fmt.Errorf("token %s", r.Header.Get("Authorization")[len("Bearer "):]))
		},
		"panic, request": func(r *http.Request) (string, error) { panic(r) },
		"panic, index":   func(r *http.Request) (string, error) { return strings.Split("", ",")[1], nil },
	}
	for name, hook := range hooks {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, nil, HandlerOptions{
				Authorize: func(r *http.Request, _ string, _ Action) (string, error) { return hook(r) },
			})
			req, err := http.NewRequestWithContext(t.Context(), "POST", s.pacs.URL+groupsPath+"?access="+canarySignature,
				bytes.NewReader(nil))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+canaryToken)
			req.Header.Set("Cookie", "theme=dark; session="+canaryKey)
			resp := s.send(req)
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			wantStatus := http.StatusInternalServerError
			if name == "refusal" {
				wantStatus = http.StatusUnauthorized
			}
			if resp.StatusCode != wantStatus || !strings.Contains(resp.Header.Get("Content-Type"), "problem+json") {
				t.Errorf("%s: %s", resp.Status, body)
			}
			s.pacs.Close() // waits for the log
			for what, text := range map[string]string{"answer": string(body), "log": s.log.String()} {
				for _, secret := range []string{canaryToken, canaryKey, canarySignature} {
					if strings.Contains(text, secret) {
						t.Errorf("the %s holds %q:\n%s", what, secret, text)
					}
				}
			}
			if !strings.Contains(s.log.String(), "level=") || strings.Contains(string(body), "goroutine") {
				t.Errorf("log %q, answer %s", s.log, body)
			}
		})
	}
}
