package maskstore

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Config says which storage Open opens. It is read from a TOML file (LoadConfig), from the environment
// (ConfigFromEnv), or is written as a literal. It prints and marshals without its secrets.
type Config struct {
	ObjectStorage ObjectStorageConfig `toml:"object_storage"`
	SignedURL     SignedURLConfig     `toml:"signed_url"`
}

// ObjectStorageConfig is the section [object_storage], and in the environment APP_OBJECT_STORAGE__PROVIDER and so on.
type ObjectStorageConfig struct {
	// Provider is "s3", "minio" or "memory". The memory's storage uses BucketName, PublicEndpoint and the TTLs alone.
	Provider   string `toml:"provider"`
	BucketName string `toml:"bucket_name"` // required, except with "memory"
	Region     string `toml:"region"`      // required with "s3"
	// Endpoint is the server's origin, such as https://minio:9000. It is required with "minio"; with "s3" empty means AWS.
	Endpoint string `toml:"endpoint"`
	// PublicEndpoint is the origin under which clients reach the server, for signed URLs; empty: Endpoint.
	PublicEndpoint string `toml:"public_endpoint"`
	// AccessKey and SecretKey go together; with "s3" and "minio" empty means the SDK's default chain.
	AccessKey    string `toml:"access_key"`
	SecretKey    Secret `toml:"secret_key"`
	SessionToken Secret `toml:"session_token"` // of a temporary key pair; empty: it is not temporary
	PathStyle    *bool  `toml:"path_style"`    // the bucket in the path, not in the host; nil: where there is an Endpoint
	AllowHTTP    bool   `toml:"allow_http"`    // http:// endpoints on other hosts than this one
	Encryption   string `toml:"encryption"`    // "AES256" or "none"; empty: AES256 with "s3", none with "minio"
}

// SignedURLConfig is the section [signed_url], and in the environment APP_SIGNED_URL__DEFAULT_TTL and so on.
// Both are seconds from 1 to 604800 (MaxURLTTL). In a literal, 0 is the default.
type SignedURLConfig struct {
	DefaultTTL int64 `toml:"default_ttl"` // of a signed URL; by default 600, or MaxTTL where that is less
	MaxTTL     int64 `toml:"max_ttl"`     // by default 3600
}

const (
	maxTTLSeconds = int64(MaxURLTTL / time.Second)
	wantTTL       = "1 to 604800 seconds"
)

// LoadConfig reads a TOML file. A key that Config does not have and a value of a wrong type are errors that name it.
// What is missing is none: the environment may give it, and Open validates.
func LoadConfig(path string) (Config, error) {
	const op = "LoadConfig"
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, opError(op, "", nil, err)
	}
	c, err := decodeConfig(path, string(data))
	return c, opError(op, "", nil, err)
}

func decodeConfig(path, data string) (Config, error) {
	var c Config
	md, err := toml.Decode(data, &c)
	if err != nil {
		return Config{}, inputError(path, tomlProblem(err), "TOML as in config/default.toml")
	}
	if unknown := md.Undecoded(); len(unknown) > 0 {
		return Config{}, inputError(unknown[0].String(), "is unknown, in "+path, knownKeys(setting.key))
	}
	for s := range settings(&c) {
		if s.value.Kind() == reflect.Int64 && s.value.Int() == 0 && md.IsDefined(s.section, s.name) {
			return Config{}, inputError(s.key(), "is 0", wantTTL)
		}
	}
	return c, nil
}

// tomlProblem leaves out the parser's own words on broken syntax, which may quote a secret.
func tomlProblem(err error) string {
	if e, ok := err.(toml.ParseError); ok {
		return fmt.Sprintf("is no TOML at line %d, at or after the key %q", e.Position.Line, e.LastKey)
	}
	return "is wrong at " + strings.TrimPrefix(err.Error(), "toml: ")
}

// ConfigFromEnv gives base with what the environment sets: each key as APP_<SECTION>__<KEY>, such as
// APP_OBJECT_STORAGE__BUCKET_NAME. An empty variable counts as unset. A variable of these sections that is no key's, and
// a value of a wrong type, are errors that name it.
func ConfigFromEnv(base Config) (Config, error) { return configFromEnviron(base, os.Environ()) }

func configFromEnviron(base Config, environ []string) (Config, error) {
	const op = "ConfigFromEnv"
	known := make(map[string]setting)
	var prefixes []string
	for s := range settings(&base) {
		known[s.variable()] = s
		prefixes = append(prefixes, strings.TrimSuffix(s.variable(), strings.ToUpper(s.name)))
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		s, ok := known[name]
		if !ok {
			if slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
				return Config{}, opError(op, "", nil, inputError(name, "is unknown", knownKeys(setting.variable)))
			}
			continue
		}
		if value == "" {
			continue
		}
		if want := s.set(value); want != "" {
			return Config{}, opError(op, "", nil, inputError(name, fmt.Sprintf("%q is not", value), want))
		}
	}
	return base, nil
}

// setting is one key of a Config.
type setting struct {
	section, name string
	value         reflect.Value
}

func settings(c *Config) iter.Seq[setting] {
	return func(yield func(setting) bool) {
		for section, v := range reflect.ValueOf(c).Elem().Fields() {
			for field, v := range v.Fields() {
				if !yield(setting{section.Tag.Get("toml"), field.Tag.Get("toml"), v}) {
					return
				}
			}
		}
	}
}

func (s setting) key() string      { return s.section + "." + s.name }
func (s setting) variable() string { return "APP_" + strings.ToUpper(s.section+"__"+s.name) }

// set sets the value, or says what would be right.
func (s setting) set(text string) (want string) {
	switch s.value.Interface().(type) {
	case bool, *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return "true or false"
		}
		if s.value.Kind() == reflect.Pointer {
			s.value.Set(reflect.ValueOf(&b))
		} else {
			s.value.SetBool(b)
		}
	case int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 || n > maxTTLSeconds {
			return wantTTL
		}
		s.value.SetInt(n)
	default:
		s.value.SetString(text)
	}
	return ""
}

func knownKeys(name func(setting) string) string {
	var names []string
	for s := range settings(new(Config)) {
		names = append(names, name(s))
	}
	return "one of " + strings.Join(names, ", ")
}

// Validate says what is wrong or missing, as an *InputError of kind ErrInvalidArgument whose Field is the key as the
// file has it. It does not change what is in the Config, and asks no server.
func (c Config) Validate() error {
	return opError("Validate", "", nil, c.check())
}

func (c Config) check() error {
	o := c.ObjectStorage
	const section = "object_storage."
	if !slices.Contains([]string{"s3", "minio", "memory"}, o.Provider) {
		return inputError(section+"provider", fmt.Sprintf("is %q", o.Provider), "s3, minio or memory")
	}
	if o.BucketName != "" || o.Provider != "memory" {
		if err := checkBucket(section+"bucket_name", o.BucketName); err != nil {
			return err
		}
	}
	for _, e := range []struct{ name, value string }{{"endpoint", o.Endpoint}, {"public_endpoint", o.PublicEndpoint}} {
		if e.value == "" {
			continue
		}
		if err := checkEndpoint(section+e.name, e.value, o.AllowHTTP); err != nil {
			return err
		}
	}
	switch {
	case o.Region == "" && o.Provider == "s3":
		return inputError(section+"region", "is missing", "the bucket's region, such as eu-central-1")
	case !isRegion(o.Region):
		return inputError(section+"region", fmt.Sprintf("%q is no region", o.Region), "one such as eu-central-1")
	case o.Endpoint == "" && o.Provider == "minio":
		return inputError(section+"endpoint", "is missing", "the server's origin, such as https://minio:9000")
	case o.AccessKey == "" && o.SecretKey != "":
		return inputError(section+"access_key", "is missing beside secret_key", "both or neither")
	case o.AccessKey != "" && o.SecretKey == "":
		return inputError(section+"secret_key", "is missing beside access_key", "both or neither")
	case o.AccessKey == "" && o.SessionToken != "":
		return inputError(section+"session_token", "is set without a key pair", "access_key and secret_key, or no session_token")
	case !slices.Contains([]string{"", "none", "AES256"}, o.Encryption):
		return inputError(section+"encryption", fmt.Sprintf("is %q", o.Encryption), "AES256 or none")
	}
	return c.SignedURL.check()
}

func (u SignedURLConfig) check() error {
	const section = "signed_url."
	for _, ttl := range []struct {
		name  string
		value int64
	}{{"default_ttl", u.DefaultTTL}, {"max_ttl", u.MaxTTL}} {
		if ttl.value < 0 || ttl.value > maxTTLSeconds {
			return inputError(section+ttl.name, fmt.Sprintf("is %d", ttl.value), wantTTL)
		}
	}
	limit := u.MaxTTL
	if limit == 0 {
		limit = int64(DefaultMaxTTL / time.Second)
	}
	if u.DefaultTTL > limit {
		return inputError(section+"default_ttl", fmt.Sprintf("%d is over max_ttl, %d", u.DefaultTTL, limit), "at most max_ttl")
	}
	return nil
}

// Open validates the configuration and gives its storage. No request is sent, except where the SDK's default chain asks
// for credentials.
func Open(ctx context.Context, c Config) (ObjectStorage, error) {
	const op = "Open"
	if err := c.check(); err != nil {
		return nil, opError(op, "", nil, err)
	}
	o := c.ObjectStorage
	defaultTTL, maxTTL := time.Duration(c.SignedURL.DefaultTTL)*time.Second, time.Duration(c.SignedURL.MaxTTL)*time.Second
	options := S3Options{
		Bucket: o.BucketName, Region: o.Region, Endpoint: o.Endpoint, PublicEndpoint: o.PublicEndpoint,
		AccessKey: o.AccessKey, SecretKey: o.SecretKey, SessionToken: o.SessionToken,
		PathStyle: o.PathStyle, AllowHTTP: o.AllowHTTP, Encryption: o.Encryption,
		DefaultTTL: defaultTTL, MaxTTL: maxTTL,
	}
	var storage ObjectStorage
	var err error
	switch o.Provider {
	case "memory":
		storage = &Memory{
			Bucket: o.BucketName, BaseURL: o.PublicEndpoint, AllowHTTP: o.AllowHTTP, DefaultTTL: defaultTTL, MaxTTL: maxTTL,
		}
	case "minio":
		storage, err = NewMinIO(ctx, options)
	default:
		storage, err = NewS3(ctx, options)
	}
	if err != nil {
		return nil, opError(op, "", nil, err) // and not storage, which holds a nil pointer
	}
	return storage, nil
}

// checkBucket holds to https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html.
func checkBucket(field, name string) error {
	const want = "3 to 63 of a-z 0-9 . -, beginning and ending with a letter or digit"
	bad := func(problem string) error { return inputError(field, fmt.Sprintf("%.70q %s", name, problem), want) }
	if name == "" {
		return inputError(field, "is missing", want)
	}
	if len(name) < 3 || len(name) > 63 {
		return bad(fmt.Sprintf("has %d bytes", len(name)))
	}
	if i := strings.IndexFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
	}); i >= 0 {
		return bad(fmt.Sprintf("holds %q", name[i:i+1]))
	}
	if !isAlphanumeric(name[0]) || !isAlphanumeric(name[len(name)-1]) {
		return bad("begins or ends with . or -")
	}
	if strings.Contains(name, "..") {
		return bad("holds two dots in a row")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return bad("is an IP address")
	}
	for _, prefix := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, prefix) {
			return bad("begins with " + prefix + ", which is reserved")
		}
	}
	for _, suffix := range []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(name, suffix) {
			return bad("ends with " + suffix + ", which is reserved")
		}
	}
	return nil
}

// checkEndpoint wants an origin: scheme, host, port, and nothing else. The scheme may be missing.
func checkEndpoint(field, endpoint string, allowHTTP bool) error {
	const want = "an origin such as https://minio.example:9000"
	withScheme := endpoint
	if !strings.Contains(endpoint, "://") {
		withScheme = "https://" + endpoint
	}
	u, err := url.Parse(withScheme)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return inputError(field, "is no URL of an origin", want) // not printed: it may hold a password
	}
	bad := func(problem string) error { return inputError(field, fmt.Sprintf("%q %s", endpoint, problem), want) }
	port, portErr := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return bad("is neither http nor https")
	case u.Hostname() == "":
		return bad("has no host")
	case strings.HasSuffix(u.Host, ":") || u.Port() != "" && (portErr != nil || port == 0):
		return bad("has no valid port")
	case strings.Trim(u.Path, "/") != "":
		return bad("has a path")
	case u.Scheme == "http" && !allowHTTP && !isLoopback(u.Hostname()):
		return inputError(field, fmt.Sprintf("%q is plain http, which others can read", endpoint), "https, or allow_http")
	}
	return nil
}

// isRegion reports whether a name, or none, can be a region's.
func isRegion(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r > 0x7f || !isAlphanumeric(byte(r)) && r != '-' && r != '_'
	})
}

// isLoopback reports whether a host is surely this machine.
func isLoopback(host string) bool {
	ip, _ := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip.IsLoopback()
}
