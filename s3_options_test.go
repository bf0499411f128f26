package maskstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const testKey = "mask/a/g/0001_liver.png"

func testOptions() S3Options {
	return S3Options{
		Bucket: "bucket", Region: "eu-central-1", Endpoint: "http://s3.test", AllowHTTP: true,
		AccessKey: "AKIDTEST", SecretKey: "topsecret", SessionToken: "toptoken",
	}
}

// testS3 gives an S3 whose server is h.
func testS3(t *testing.T, h http.Handler) *S3 {
	t.Helper()
	o := testOptions()
	o.HTTPClient = serve(t, h)
	return openS3(t, o)
}

func openS3(t *testing.T, o S3Options) *S3 {
	t.Helper()
	s, err := NewS3(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestS3OptionsRefused(t *testing.T) {
	yes := true
	for _, test := range []struct {
		field  string
		change func(*S3Options)
	}{
		{"Bucket", func(o *S3Options) { o.Bucket = "" }},
		{"Bucket", func(o *S3Options) { o.Bucket = "Upper" }},
		{"Bucket", func(o *S3Options) { o.Bucket = "bucket--x-s3" }},
		{"Region", func(o *S3Options) { o.Region = "" }},
		{"Region", func(o *S3Options) { o.Region, o.Endpoint = "no region", "" }},
		{"Region", func(o *S3Options) { o.Region = "no/region" }},
		{"Endpoint", func(o *S3Options) { o.AllowHTTP = false }},
		{"Endpoint", func(o *S3Options) { o.Endpoint = "ftp://s3.test" }},
		{"Endpoint", func(o *S3Options) { o.Endpoint = "http://user:topsecret@s3.test" }},
		{"Endpoint", func(o *S3Options) { o.Endpoint = "http://s3.test/path" }},
		{"Endpoint", func(o *S3Options) { o.Endpoint, o.PathStyle = "http://s3.test:99999", &yes }},
		{"PublicEndpoint", func(o *S3Options) {
			o.Endpoint, o.PublicEndpoint, o.AllowHTTP = "https://s3.test", "http://s3.test", false
		}},
		{"AccessKey", func(o *S3Options) { o.AccessKey = "" }},
		{"SecretKey", func(o *S3Options) { o.SecretKey = "" }},
		{"SessionToken", func(o *S3Options) { o.AccessKey, o.SecretKey = "", "" }},
		{"Encryption", func(o *S3Options) { o.Encryption = "aws:kms" }},
		{"DefaultTTL", func(o *S3Options) { o.DefaultTTL = -1 }},
		{"DefaultTTL", func(o *S3Options) { o.DefaultTTL = time.Second - 1 }},
		{"DefaultTTL", func(o *S3Options) { o.DefaultTTL = DefaultMaxTTL + 1 }},
		{"MaxTTL", func(o *S3Options) { o.MaxTTL = -1 }},
		{"MaxTTL", func(o *S3Options) { o.MaxTTL = time.Second - 1 }},
		{"MaxTTL", func(o *S3Options) { o.MaxTTL = MaxURLTTL + 1 }},
	} {
		o := testOptions()
		test.change(&o)
		_, err := NewS3(t.Context(), o)
		input, ok := errors.AsType[*InputError](err)
		if !ok || input.Field != test.field || !errors.Is(err, ErrInvalidArgument) {
			t.Errorf("%+v: %v; want one about %s", o, err, test.field)
		}
		if err != nil && strings.Contains(err.Error(), "topsecret") {
			t.Errorf("the error holds a secret: %v", err)
		}
	}
	o := testOptions()
	o.Endpoint = ""
	if _, err := NewMinIO(t.Context(), o); !errors.Is(err, ErrInvalidArgument) ||
		!strings.Contains(err.Error(), "NewMinIO: invalid argument: Endpoint") {
		t.Errorf("MinIO without an endpoint: %v", err)
	}
	o = testOptions()
	o.Region, o.Bucket = "", ""
	if _, err := NewMinIO(t.Context(), o); !errors.Is(err, ErrInvalidArgument) ||
		!strings.Contains(err.Error(), "NewMinIO: invalid argument: Bucket") {
		t.Errorf("MinIO without a bucket: %v", err)
	}
}

func TestS3PrintsNoSecret(t *testing.T) {
	o := testOptions()
	s := openS3(t, o)
	m, err := NewMinIO(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, storage := range []ObjectStorage{s, m} {
		if _, err := storage.DownloadURL(t.Context(), testKey, nil); err != nil { // which makes a signing key
			t.Fatal(err)
		}
		holder := struct {
			Exported   ObjectStorage
			unexported any
		}{storage, storage}
		for _, value := range []any{o, &o, storage, holder, &holder, []any{storage}} {
			printed := fmt.Sprintf("%v %+v %#v %s %q %x", value, value, value, value, value, value)
			marshalled, _ := json.Marshal(value) // what cannot be marshalled leaks nothing
			for _, secret := range []string{"topsecret", "toptoken"} {
				if strings.Contains(printed+string(marshalled), secret) || strings.Contains(printed, fmt.Sprintf("%x", secret)) {
					t.Errorf("%T prints %q: %s %s", value, secret, printed, marshalled)
				}
			}
		}
	}
}

func TestS3Origins(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		name string
		o    S3Options
		want string
	}{
		{"AWS", S3Options{}, "https://bucket.s3.eu-central-1.amazonaws.com/" + testKey},
		{"AWS in us-east-1", S3Options{Region: "us-east-1"}, "https://bucket.s3.us-east-1.amazonaws.com/" + testKey},
		{"China", S3Options{Region: "cn-north-1"}, "https://bucket.s3.cn-north-1.amazonaws.com.cn/" + testKey},
		{"path style", S3Options{PathStyle: &yes}, "https://s3.eu-central-1.amazonaws.com/bucket/" + testKey},
		{"dots", S3Options{Bucket: "my.bucket"}, "https://s3.eu-central-1.amazonaws.com/my.bucket/" + testKey},
		{"endpoint", S3Options{Endpoint: "https://s3.test"}, "https://s3.test/bucket/" + testKey},
		{"a slash at its end", S3Options{Endpoint: "https://s3.test:9000/"}, "https://s3.test:9000/bucket/" + testKey},
		{"no scheme", S3Options{Endpoint: "s3.test:9000"}, "https://s3.test:9000/bucket/" + testKey},
		{"host style", S3Options{Endpoint: "https://s3.test", PathStyle: &no}, "https://bucket.s3.test/" + testKey},
		{"public", S3Options{Endpoint: "http://127.0.0.1:9000", PublicEndpoint: "https://s3.test"}, "https://s3.test/bucket/" + testKey},
		{"IPv6", S3Options{Endpoint: "http://[::1]:9000"}, "http://[::1]:9000/bucket/" + testKey},
	} {
		o := testOptions()
		o.Endpoint, o.PublicEndpoint, o.PathStyle, o.AllowHTTP = test.o.Endpoint, test.o.PublicEndpoint, test.o.PathStyle, false
		if test.o.Region != "" {
			o.Region = test.o.Region
		}
		if test.o.Bucket != "" {
			o.Bucket = test.o.Bucket
		}
		s, err := NewS3(t.Context(), o)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		u, err := s.DownloadURL(t.Context(), testKey, nil)
		got, _, _ := strings.Cut(u.URL, "?")
		if got != test.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", test.name, got, err, test.want)
		}
		if parsed, err := url.Parse(u.URL); err != nil ||
			!strings.Contains(parsed.Query().Get("X-Amz-Credential"), "/"+o.Region+"/s3/") {
			t.Errorf("%s: %v, %v; want one signed for %s", test.name, u, err, o.Region)
		}
	}
}

// The SDK's variables give credentials, and neither region nor endpoint.
func TestS3Environment(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-west-2",
		"AWS_DEFAULT_REGION": "us-west-2",
		"AWS_ENDPOINT_URL":   "http://evil.test", "AWS_ENDPOINT_URL_S3": "http://evil.test", "AWS_USE_FIPS_ENDPOINT": "true",
		"AWS_CONFIG_FILE": filepath.Join(t.TempDir(), "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "none"),
	} {
		t.Setenv(name, value)
	}
	var request *http.Request
	o := testOptions()
	o.AccessKey, o.SecretKey, o.SessionToken, o.Endpoint = "", "", "", ""
	o.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		request = r
		return httptest.NewRecorder().Result(), nil
	})}
	s := openS3(t, o)
	const host = "bucket.s3.eu-central-1.amazonaws.com"
	u, err := s.UploadURL(t.Context(), testKey, nil)
	if err != nil || !strings.HasPrefix(u.URL, "https://"+host+"/") || !strings.Contains(u.URL, "AKIDENV") {
		t.Errorf("signed %v, %v", u, err)
	}
	s.Delete(t.Context(), testKey, "mask/b")
	if request == nil || request.URL.Host != host || request.URL.Scheme != "https" {
		t.Errorf("sent to %v", request)
	}
}

func TestS3URLsEndWithTheCredentials(t *testing.T) {
	var left time.Duration
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]string{
			"AccessKeyId": "AKIDROLE", "SecretAccessKey": "secret", "Token": "toptoken",
			"Expiration": time.Now().Add(left).UTC().Format(time.RFC3339),
		})
	}))
	defer server.Close()
	for name, value := range map[string]string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": server.URL, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "",
		"AWS_CONFIG_FILE": filepath.Join(t.TempDir(), "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "none"),
	} {
		t.Setenv(name, value)
	}
	o := testOptions()
	o.AccessKey, o.SecretKey, o.SessionToken = "", "", ""
	for _, test := range []struct {
		left, least, most time.Duration // in which the URL must end
		want              error
	}{
		{time.Hour, 599 * time.Second, 600 * time.Second, nil},
		{6 * time.Minute, time.Minute - 2*time.Second, 6 * time.Minute, nil}, // the SDK counts them out 5 minutes early
		{-time.Minute, 0, 0, ErrExpired},
	} {
		left = test.left
		s := openS3(t, o)
		before := time.Now()
		u, err := s.DownloadURL(t.Context(), testKey, nil)
		if !errors.Is(err, test.want) {
			t.Errorf("%v left: %v; want %v", left, err, test.want)
		}
		if err != nil {
			continue
		}
		if ttl := u.Expires.Sub(before); ttl < test.least-time.Second || ttl > test.most+time.Second {
			t.Errorf("%v left: the URL ends in %v", left, ttl)
		}
		q, _ := url.Parse(u.URL)
		if q.Query().Get("X-Amz-Security-Token") != "toptoken" {
			t.Errorf("the URL lacks the session token: %v", u)
		}
	}
}

// s3OfChain gives an S3 with the credentials of the SDK's default chain, which finds nothing but this configuration.
func s3OfChain(t *testing.T, config string) *S3 {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "none"),
	} {
		t.Setenv(name, value)
	}
	o := testOptions()
	o.AccessKey, o.SecretKey, o.SessionToken = "", "", ""
	return openS3(t, o)
}

func TestS3WithoutCredentials(t *testing.T) {
	s := s3OfChain(t, filepath.Join(t.TempDir(), "none"))
	_, signErr := s.UploadURL(t.Context(), testKey, nil)
	_, statErr := s.Stat(t.Context(), testKey)
	for _, err := range []error{signErr, statErr, s.Delete(t.Context(), testKey, "mask/b")} {
		if !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("error is %v", err)
		}
	}
}

// Credentials are renewed before a request that is signed with them could arrive too late.
func TestS3RenewsCredentialsEarly(t *testing.T) {
	expiry := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	name := filepath.Join(t.TempDir(), "config")
	process := fmt.Sprintf(`[default]
credential_process = echo '{"Version": 1, "AccessKeyId": "AKIDPROC", "SecretAccessKey": "secret", "SessionToken": "token", "Expiration": "%s"}'
`, expiry.Format(time.RFC3339))
	if err := os.WriteFile(name, []byte(process), 0o600); err != nil {
		t.Fatal(err)
	}
	s := s3OfChain(t, name)
	c, err := s.keys(t.Context())
	if want := expiry.Add(-time.Minute); err != nil || !c.Expires.Equal(want) {
		t.Errorf("renewed at %v, %v; want %v", c.Expires, err, want)
	}
}
