package maskstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func validConfig() Config {
	return Config{ObjectStorage: ObjectStorageConfig{
		Provider: "s3", BucketName: "pacs-masks", Region: "eu-central-1", AccessKey: "AKIA", SecretKey: "hunter2",
	}}
}

// wantConfigError wants an error that names field, and holds text.
func wantConfigError(t *testing.T, err error, field, text string) {
	t.Helper()
	var input *InputError
	switch {
	case !errors.Is(err, ErrInvalidArgument) || !errors.As(err, &input):
		t.Errorf("got %v, want an *InputError", err)
	case input.Field != field || !strings.Contains(input.Error(), text):
		t.Errorf("got %q: %v, want %q with %q", input.Field, err, field, text)
	case input.Want == "":
		t.Errorf("%v does not say what is right", err)
	}
}

func TestConfigValidate(t *testing.T) {
	type change = func(*ObjectStorageConfig, *SignedURLConfig)
	tests := map[string]change{
		"as it is":             func(o *ObjectStorageConfig, u *SignedURLConfig) {},
		"no keys":              func(o *ObjectStorageConfig, u *SignedURLConfig) { o.AccessKey, o.SecretKey = "", "" },
		"temporary keys":       func(o *ObjectStorageConfig, u *SignedURLConfig) { o.SessionToken = "t" },
		"memory alone":         func(o *ObjectStorageConfig, u *SignedURLConfig) { *o = ObjectStorageConfig{Provider: "memory"} },
		"memory with all else": func(o *ObjectStorageConfig, u *SignedURLConfig) { o.Provider = "memory" },
		"minio": func(o *ObjectStorageConfig, u *SignedURLConfig) {
			o.Provider, o.Endpoint = "minio", "https://minio:9000/"
		},
		"minio without region": func(o *ObjectStorageConfig, u *SignedURLConfig) {
			o.Provider, o.Endpoint, o.Region = "minio", "minio:9000", ""
		},
		"s3 at an endpoint":           func(o *ObjectStorageConfig, u *SignedURLConfig) { o.Endpoint = "https://s3.example" },
		"http to localhost":           func(o *ObjectStorageConfig, u *SignedURLConfig) { o.Endpoint = "http://localhost:9000" },
		"http to a name of localhost": func(o *ObjectStorageConfig, u *SignedURLConfig) { o.Endpoint = "http://minio.localhost" },
		"http to 127.1.2.3":           func(o *ObjectStorageConfig, u *SignedURLConfig) { o.Endpoint = "http://127.1.2.3:1" },
		"http to ::1":                 func(o *ObjectStorageConfig, u *SignedURLConfig) { o.PublicEndpoint = "http://[::1]:65535" },
		"http allowed":                func(o *ObjectStorageConfig, u *SignedURLConfig) { o.Endpoint, o.AllowHTTP = "http://minio:9000", true },
		"encryption":                  func(o *ObjectStorageConfig, u *SignedURLConfig) { o.Encryption = "AES256" },
		"no encryption":               func(o *ObjectStorageConfig, u *SignedURLConfig) { o.Encryption = "none" },
		"bucket of 3":                 func(o *ObjectStorageConfig, u *SignedURLConfig) { o.BucketName = "a.1" },
		"bucket of 63":                func(o *ObjectStorageConfig, u *SignedURLConfig) { o.BucketName = strings.Repeat("a", 63) },
		"least TTLs":                  func(o *ObjectStorageConfig, u *SignedURLConfig) { u.DefaultTTL, u.MaxTTL = 1, 1 },
		"greatest TTLs":               func(o *ObjectStorageConfig, u *SignedURLConfig) { u.DefaultTTL, u.MaxTTL = 604800, 604800 },
		"maximum under the default":   func(o *ObjectStorageConfig, u *SignedURLConfig) { u.MaxTTL = 300 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			c := validConfig()
			change(&c.ObjectStorage, &c.SignedURL)
			if err := c.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestConfigValidateRefuses(t *testing.T) {
	type change = func(*ObjectStorageConfig, *SignedURLConfig)
	bucket := func(name string) change {
		return func(o *ObjectStorageConfig, _ *SignedURLConfig) { o.BucketName = name }
	}
	endpoint := func(endpoint string) change {
		return func(o *ObjectStorageConfig, _ *SignedURLConfig) { o.Endpoint = endpoint }
	}
	ttls := func(def, limit int64) change {
		return func(_ *ObjectStorageConfig, u *SignedURLConfig) { u.DefaultTTL, u.MaxTTL = def, limit }
	}
	tests := []struct {
		field, text string
		change      change
	}{
		{"object_storage.provider", `is ""`, func(o *ObjectStorageConfig, _ *SignedURLConfig) { o.Provider = "" }},
		{"object_storage.provider", `is "gcs"`, func(o *ObjectStorageConfig, _ *SignedURLConfig) { o.Provider = "gcs" }},
		{"object_storage.provider", `is "S3"`, func(o *ObjectStorageConfig, _ *SignedURLConfig) { o.Provider = "S3" }},
		{"object_storage.bucket_name", "missing", bucket("")},
		{"object_storage.bucket_name", "2 bytes", bucket("ab")},
		{"object_storage.bucket_name", "64 bytes", bucket(strings.Repeat("a", 64))},
		{"object_storage.bucket_name", `holds "M"`, bucket("pacs-Masks")},
		{"object_storage.bucket_name", `holds "_"`, bucket("pacs_masks")},
		{"object_storage.bucket_name", `holds "/"`, bucket("pacs/mask")},
		{"object_storage.bucket_name", "holds", bucket("마스크")},
		{"object_storage.bucket_name", "begins or ends", bucket("-pacs")},
		{"object_storage.bucket_name", "begins or ends", bucket("pacs.")},
		{"object_storage.bucket_name", "two dots", bucket("pacs..masks")},
		{"object_storage.bucket_name", "IP address", bucket("192.168.5.4")},
		{"object_storage.bucket_name", "xn--", bucket("xn--pacs")},
		{"object_storage.bucket_name", "-s3alias", bucket("pacs-s3alias")},
		{"object_storage.bucket_name", "2 bytes", func(o *ObjectStorageConfig, _ *SignedURLConfig) {
			*o = ObjectStorageConfig{Provider: "memory", BucketName: "ab"}
		}},
		{"object_storage.region", "missing", func(o *ObjectStorageConfig, _ *SignedURLConfig) { o.Region = "" }},
		{"object_storage.region", "no region", func(o *ObjectStorageConfig, _ *SignedURLConfig) { o.Region = "eu central" }},
		{"object_storage.region", "no region", func(o *ObjectStorageConfig, _ *SignedURLConfig) { o.Region = "us-east-1/x" }},
		{"object_storage.endpoint", "missing", func(o *ObjectStorageConfig, _ *SignedURLConfig) { o.Provider = "minio" }},
		{"object_storage.endpoint", "neither http nor https", endpoint("ftp://minio")},
		{"object_storage.endpoint", "no URL", endpoint("https://minio:port")},
		{"object_storage.endpoint", "no valid port", endpoint("https://minio:65536")},
		{"object_storage.endpoint", "no valid port", endpoint("https://minio:0")},
		{"object_storage.endpoint", "no valid port", endpoint("minio:")},
		{"object_storage.endpoint", "no host", endpoint("https://:9000")},
		{"object_storage.endpoint", "no host", endpoint("https://")},
		{"object_storage.endpoint", "a path", endpoint("https://minio/pacs-masks")},
		{"object_storage.endpoint", "no URL", endpoint("https://minio?x")},
		{"object_storage.endpoint", "no URL", endpoint("https://minio#x")},
		{"object_storage.endpoint", "no URL", endpoint("https://admin:hunter2@minio:9000")},
		{"object_storage.endpoint", "no URL", endpoint("https://mi nio")},
		{"object_storage.endpoint", "plain http", endpoint("http://minio:9000")},
		{"object_storage.endpoint", "plain http", endpoint("http://127.0.0.1.example")},
		{"object_storage.endpoint", "plain http", endpoint("http://10.0.0.1")},
		{"object_storage.public_endpoint", "plain http", func(o *ObjectStorageConfig, _ *SignedURLConfig) { o.PublicEndpoint = "http://masks.example" }},
		{"object_storage.secret_key", "beside access_key", func(o *ObjectStorageConfig, _ *SignedURLConfig) { o.SecretKey = "" }},
		{"object_storage.access_key", "beside secret_key", func(o *ObjectStorageConfig, _ *SignedURLConfig) { o.AccessKey = "" }},
		{"object_storage.session_token", "without a key pair", func(o *ObjectStorageConfig, _ *SignedURLConfig) {
			o.AccessKey, o.SecretKey, o.SessionToken = "", "", "hunter2"
		}},
		{"object_storage.encryption", `is "aws:kms"`, func(o *ObjectStorageConfig, _ *SignedURLConfig) { o.Encryption = "aws:kms" }},
		{"signed_url.default_ttl", "is -1", ttls(-1, 0)},
		{"signed_url.default_ttl", "is 604801", ttls(604801, 604800)},
		{"signed_url.max_ttl", "is -600", ttls(0, -600)},
		{"signed_url.max_ttl", "is 604801", ttls(0, 604801)},
		{"signed_url.default_ttl", "601 is over max_ttl, 600", ttls(601, 600)},
		{"signed_url.default_ttl", "3601 is over max_ttl, 3600", ttls(3601, 0)},
	}
	for _, test := range tests {
		t.Run(test.field+" "+test.text, func(t *testing.T) {
			c := validConfig()
			test.change(&c.ObjectStorage, &c.SignedURL)
			err := c.Validate()
			wantConfigError(t, err, test.field, test.text)
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("a secret is printed: %v", err)
			}
		})
	}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "maskstore.toml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const everyKey = `
[object_storage]
provider = "minio"
bucket_name = "from-file"
region = "file-1"
endpoint = "https://file"
public_endpoint = "https://public.file"
access_key = "file-key"
secret_key = "file-secret"
session_token = "file-token"
path_style = false
allow_http = true
encryption = "none"
[signed_url]
default_ttl = 10
max_ttl = 20
`

// TestConfigPrecedence sets each variable by itself: it must win over the file, and change nothing else.
func TestConfigPrecedence(t *testing.T) {
	file, err := LoadConfig(writeFile(t, everyKey))
	if err != nil {
		t.Fatal(err)
	}
	yes, no := true, false
	want := Config{
		ObjectStorageConfig{"minio", "from-file", "file-1", "https://file", "https://public.file", "file-key", "file-secret",
			"file-token", &no, true, "none"},
		SignedURLConfig{10, 20},
	}
	compare := func(t *testing.T, want, got Config) {
		t.Helper()
		revealSecrets := cmp.Transformer("reveal", func(s Secret) string { return s.Reveal() })
		if diff := cmp.Diff(want, got, revealSecrets); diff != "" {
			t.Error(diff)
		}
	}
	compare(t, want, file)
	tests := []struct {
		variable string
		change   func(*Config)
	}{
		{"APP_OBJECT_STORAGE__PROVIDER=env", func(c *Config) { c.ObjectStorage.Provider = "env" }},
		{"APP_OBJECT_STORAGE__BUCKET_NAME=env", func(c *Config) { c.ObjectStorage.BucketName = "env" }},
		{"APP_OBJECT_STORAGE__REGION=env", func(c *Config) { c.ObjectStorage.Region = "env" }},
		{"APP_OBJECT_STORAGE__ENDPOINT=env", func(c *Config) { c.ObjectStorage.Endpoint = "env" }},
		{"APP_OBJECT_STORAGE__PUBLIC_ENDPOINT=env", func(c *Config) { c.ObjectStorage.PublicEndpoint = "env" }},
		{"APP_OBJECT_STORAGE__ACCESS_KEY=env", func(c *Config) { c.ObjectStorage.AccessKey = "env" }},
		{"APP_OBJECT_STORAGE__SECRET_KEY=a=b c", func(c *Config) { c.ObjectStorage.SecretKey = "a=b c" }},
		{"APP_OBJECT_STORAGE__SESSION_TOKEN=env", func(c *Config) { c.ObjectStorage.SessionToken = "env" }},
		{"APP_OBJECT_STORAGE__PATH_STYLE=true", func(c *Config) { c.ObjectStorage.PathStyle = &yes }},
		{"APP_OBJECT_STORAGE__ALLOW_HTTP=false", func(c *Config) { c.ObjectStorage.AllowHTTP = false }},
		{"APP_OBJECT_STORAGE__ENCRYPTION=env", func(c *Config) { c.ObjectStorage.Encryption = "env" }},
		{"APP_SIGNED_URL__DEFAULT_TTL=1", func(c *Config) { c.SignedURL.DefaultTTL = 1 }},
		{"APP_SIGNED_URL__MAX_TTL=604800", func(c *Config) { c.SignedURL.MaxTTL = 604800 }},
		{"APP_OBJECT_STORAGE__BUCKET_NAME=", func(*Config) {}},
		{"APP_SIGNED_URL__MAX_TTL=", func(*Config) {}},
		{"APP_OTHER__KEY=1", func(*Config) {}},
		{"AWS_REGION=env", func(*Config) {}},
	}
	for _, test := range tests {
		t.Run(test.variable, func(t *testing.T) {
			got, err := configFromEnviron(file, []string{"PATH=/bin", test.variable})
			if err != nil {
				t.Fatal(err)
			}
			changed := want
			test.change(&changed)
			compare(t, changed, got)
			compare(t, want, file)
		})
	}
}

// TestConfigFromEnv reads the environment of the process itself.
func TestConfigFromEnv(t *testing.T) {
	t.Setenv("APP_OBJECT_STORAGE__BUCKET_NAME", "from-env")
	c, err := ConfigFromEnv(validConfig())
	if err != nil {
		t.Fatal(err)
	}
	if c.ObjectStorage.BucketName != "from-env" || c.ObjectStorage.Provider != "s3" {
		t.Errorf("got %+v", c)
	}
}

func TestConfigFromEnvRefuses(t *testing.T) {
	tests := []struct{ variable, text string }{
		{"APP_OBJECT_STORAGE__BUCKET", "APP_OBJECT_STORAGE__BUCKET_NAME"},
		{"APP_OBJECT_STORAGE__", "unknown"},
		{"APP_OBJECT_STORAGE__bucket_name", "unknown"},
		{"APP_OBJECT_STORAGE__BUCKET_NAME ", "unknown"},
		{"APP_SIGNED_URL__TTL", "APP_SIGNED_URL__MAX_TTL"},
		{"APP_SIGNED_URL__BUCKET_NAME", "unknown"},
		{"APP_OBJECT_STORAGE__PATH_STYLE=yes", "true or false"},
		{"APP_OBJECT_STORAGE__ALLOW_HTTP=2", "true or false"},
		{"APP_SIGNED_URL__DEFAULT_TTL=10m", "seconds"},
		{"APP_SIGNED_URL__DEFAULT_TTL=0", "1 to 604800"},
		{"APP_SIGNED_URL__MAX_TTL=604801", "1 to 604800"},
		{"APP_SIGNED_URL__MAX_TTL=-1", "1 to 604800"},
		{"APP_SIGNED_URL__MAX_TTL=1.5", "seconds"},
	}
	for _, test := range tests {
		t.Run(test.variable, func(t *testing.T) {
			name, value, found := strings.Cut(test.variable, "=")
			if !found {
				value = "hunter2"
			}
			_, err := configFromEnviron(validConfig(), []string{name + "=" + value})
			wantConfigError(t, err, name, test.text)
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the value is printed: %v", err)
			}
		})
	}
}

func TestLoadConfigRefuses(t *testing.T) {
	const here = "" // the file itself is the field
	tests := []struct{ content, field, text string }{
		{"[object_storage]\nbucket = 'x'", "object_storage.bucket", "object_storage.bucket_name"},
		{"[signed_url]\nttl = 5", "signed_url.ttl", "signed_url.max_ttl"},
		{"[server]\nport = 80", "server", "unknown"},
		{"provider = 's3'", "provider", "unknown"},
		{"[object_storage.aws]\nregion = 'x'", "object_storage.aws", "unknown"},
		{"[signed_url]\ndefault_ttl = 0", "signed_url.default_ttl", "1 to 604800"},
		{"[signed_url]\nmax_ttl = 0", "signed_url.max_ttl", "1 to 604800"},
		{"[signed_url]\nmax_ttl = '3600'", here, "signed_url.max_ttl"},
		{"[signed_url]\nmax_ttl = 1.5", here, "signed_url.max_ttl"},
		{"[signed_url]\nmax_ttl = 99999999999999999999", here, "signed_url.max_ttl"},
		{"[object_storage]\npath_style = 'yes'", here, "object_storage.path_style"},
		{"[object_storage]\nbucket_name = 5", here, "object_storage.bucket_name"},
		{"object_storage = 's3'", here, "object_storage"},
		{"[object_storage]\nregion = 'a'\nregion = 'b'", here, "line 3"},
		{"[object_storage]\nsecret_key = ['hunter2']", here, "object_storage.secret_key"},
		{"[object_storage]\nsecret_key = hunter2", here, "line 2"},
		{"[object_storage]\nsecret_key = 'hunter2", here, "line 2"},
		{"[object_storage]\nsecret_key = \"\\u00 hunter2\"", here, "line 2"},
		{"[object_storage]\nsecret_key = 'x' hunter2", here, "line 2"},
		{"\x00hunter2", here, "line 1"},
	}
	for i, test := range tests {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			path := writeFile(t, test.content)
			field := test.field
			if field == here {
				field = path
			}
			_, err := LoadConfig(path)
			wantConfigError(t, err, field, test.text)
			if strings.Contains(err.Error(), "hunter") {
				t.Errorf("a value is printed: %v", err)
			}
		})
	}
	if _, err := LoadConfig(filepath.Join(t.TempDir(), "none.toml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestConfigKeepsSecrets(t *testing.T) {
	c := validConfig()
	c.ObjectStorage.SessionToken = "hunter2"
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", "c", c, "pointer", &c, "section", c.ObjectStorage)
	slog.New(slog.NewTextHandler(&log, nil)).Info("config", "c", c, "pointer", &c, "section", c.ObjectStorage)
	marshalled, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	prints := map[string]string{"slog": log.String(), "JSON": string(marshalled)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		prints[verb] = fmt.Sprintf(verb+verb, c, &c)
	}
	for name, text := range prints {
		// %x prints what it is given in hex.
		if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("%s prints a secret: %s", name, text)
		}
		if !strings.Contains(text, redacted) {
			t.Errorf("%s does not say that something is left out: %s", name, text)
		}
	}
}

// TestShippedConfig: the file and the example load together, and name every key between them.
func TestShippedConfig(t *testing.T) {
	c, err := LoadConfig("config/default.toml")
	if err != nil {
		t.Fatal(err)
	}
	if c.SignedURL != (SignedURLConfig{600, 3600}) {
		t.Errorf("got %+v", c.SignedURL)
	}
	wantConfigError(t, c.Validate(), "object_storage.bucket_name", "missing")

	example, err := os.ReadFile(".env.example")
	if err != nil {
		t.Fatal(err)
	}
	var environ []string
	for line := range strings.Lines(string(example)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			environ = append(environ, line)
		}
	}
	if c, err = configFromEnviron(c, environ); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	file, err := os.ReadFile("config/default.toml")
	if err != nil {
		t.Fatal(err)
	}
	for s := range settings(new(Config)) {
		if !strings.Contains(string(example), "\n"+s.variable()+"=") {
			t.Errorf(".env.example lacks %s", s.variable())
		}
		if !strings.Contains(string(file), "\n"+s.name+" = ") && !strings.Contains(string(file), "\n# "+s.name+" = ") {
			t.Errorf("default.toml lacks %s", s.name)
		}
	}
}

// TestOpen opens each provider and signs with it, which sends nothing.
func TestOpen(t *testing.T) {
	const key = "mask/a/g/0001_liver.png"
	tests := map[string]struct {
		change func(*ObjectStorageConfig)
		kind   string
		url    string // how a signed URL begins
	}{
		"s3": {func(*ObjectStorageConfig) {}, "*maskstore.S3", "https://pacs-masks.s3.eu-central-1.amazonaws.com/" + key},
		"s3 at an endpoint": {func(o *ObjectStorageConfig) { o.Endpoint = "https://s3.example" }, "*maskstore.S3",
			"https://s3.example/pacs-masks/" + key},
		"minio": {func(o *ObjectStorageConfig) {
			o.Provider, o.Endpoint, o.PublicEndpoint = "minio", "http://127.0.0.1:9000", "https://masks.example"
		}, "*maskstore.MinIO", "https://masks.example/pacs-masks/" + key},
		"memory": {func(o *ObjectStorageConfig) { o.Provider, o.PublicEndpoint = "memory", "http://127.0.0.1:9000" }, "*maskstore.Memory",
			"http://127.0.0.1:9000/pacs-masks/" + key},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := validConfig()
			c.SignedURL = SignedURLConfig{DefaultTTL: 7, MaxTTL: 9}
			test.change(&c.ObjectStorage)
			s, err := Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if kind := fmt.Sprintf("%T", s); kind != test.kind {
				t.Errorf("got a %s", kind)
			}
			u, err := s.UploadURL(t.Context(), key, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(u.URL, test.url+"?") || !strings.Contains(u.URL, "X-Amz-Expires=7&") {
				t.Errorf("got %s", u.URL)
			}
			if _, err := s.UploadURL(t.Context(), key, &UploadURLOptions{TTL: 10e9}); err == nil {
				t.Error("signs for longer than max_ttl")
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	s, err := Open(t.Context(), Config{})
	if s != nil {
		t.Errorf("got %v beside an error", s)
	}
	wantConfigError(t, err, "object_storage.provider", "s3, minio or memory")
}
