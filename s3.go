package maskstore

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	awsretry "github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

// S3Options sets up NewS3 and NewMinIO.
type S3Options struct {
	Bucket string
	Region string // of the bucket; NewMinIO takes us-east-1 where it is empty
	// Endpoint is the server's origin, such as https://minio.example:9000. Without a scheme it is https, on a loopback
	// address http. Empty: AWS.
	Endpoint       string
	PublicEndpoint string // the origin in signed URLs, where clients see another; empty: Endpoint

	// AccessKey and SecretKey, both or neither. Neither: the SDK's default chain, with its AWS_ variables, shared files
	// and roles, which serves credentials alone.
	AccessKey    string
	SecretKey    Secret
	SessionToken Secret // of temporary keys

	PathStyle  *bool         // the bucket in the path, not in the host; nil: with an Endpoint
	AllowHTTP  bool          // plain http to hosts other than this one, which others can read
	Encryption string        // at rest, asked for with each write: "AES256" (SSE-S3) or "none"; empty: AES256, on MinIO none
	DefaultTTL time.Duration // of signed URLs; 0: DefaultTTL
	MaxTTL     time.Duration // of signed URLs; 0: DefaultMaxTTL; at most MaxURLTTL
	HTTPClient *http.Client  // for all requests; nil: one with many connections, that gives up peers which stall for a minute
}

// S3 is an ObjectStorage on a bucket of AWS S3 or of a server that is compatible with it. Small objects are put, got and
// listed by requests that it signs itself, as it signs URLs; for the rest it uses the AWS SDK. What the network or the
// server's load prevents is tried up to ten times, and so is a body that was damaged on its way to the server. What Get has
// begun to hand out is not.
//
// A MinIO server takes a MinIO: it obeys headers beside a signed PUT that the URLs of an S3 do not keep out.
//
// It implements Copier and MultipartStorage.
type S3 struct {
	bucket      string
	region      string
	encryption  string        // of each write; empty: not asked for
	forbidden   []sigv4.Param // headers that are no part of a signed PUT; in its query, and signed as headers
	defaultTTL  time.Duration
	maxTTL      time.Duration
	own, public location // as this process, and as clients reach the bucket
	credentials aws.CredentialsProvider
	signer      sigv4.Signer
	http        *http.Client
	sdk         *s3.Client
}

// Format prints bucket and region for every verb: fmt would print the credentials too.
func (s *S3) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "S3 bucket %s in %s", s.bucket, s.region) }

// location is where a bucket's keys begin.
type location struct{ scheme, host, path string }

var (
	_ ObjectStorage    = (*S3)(nil)
	_ Copier           = (*S3)(nil)
	_ MultipartStorage = (*S3)(nil)
)

// NewS3 gives the storage on a bucket. It sends no request, except where the SDK's default chain asks for credentials.
func NewS3(ctx context.Context, opts S3Options) (*S3, error) {
	s, err := newS3(ctx, opts, "AES256")
	return s, opError("NewS3", "", nil, err)
}

// idleConnections is how many a storage keeps: they outlast bursts of requests.
const idleConnections = 128

func newS3(ctx context.Context, o S3Options, encryption string) (*S3, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &S3{
		bucket: o.Bucket, region: o.Region, encryption: cmp.Or(o.Encryption, encryption), defaultTTL: o.DefaultTTL,
		maxTTL: o.MaxTTL,
	}
	if s.encryption == "none" {
		s.encryption = ""
	}
	s.http = &http.Client{Transport: http.DefaultTransport}
	if t := newTransport(idleConnections); t != nil {
		t.DisableCompression = true // an answer's length and hash are the object's
		s.http.Transport = t
	}
	if o.HTTPClient != nil {
		c := *o.HTTPClient
		s.http = &c
	}
	s.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	pathStyle := o.Endpoint != ""
	if o.PathStyle != nil {
		pathStyle = *o.PathStyle
	}
	var err error
	if s.own, err = locate(ctx, &o, o.Endpoint, pathStyle); err != nil {
		return nil, err
	}
	if s.public, err = locate(ctx, &o, cmp.Or(o.PublicEndpoint, o.Endpoint), pathStyle); err != nil {
		return nil, err
	}
	if s.credentials, err = o.provider(ctx); err != nil {
		return nil, err
	}
	s.sdk = s3.New(s3.Options{
		Region:       o.Region,
		BaseEndpoint: baseEndpoint(o.Endpoint),
		UsePathStyle: pathStyle,
		Credentials:  s.credentials,
		HTTPClient:   hidingClient{s.http},
		// The SHA-256 that we send and compare is the check; the SDK's own is a trailer that many servers refuse.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		// The SDK would follow the server's clock in silence, while all URLs signed by this one's are refused.
		DisableClockSkewCorrection: true,
		// The SDK's quota for retries, shared by all requests, fails most of a burst that meets a few seconds of 503.
		Retryer: awsretry.NewStandard(func(r *awsretry.StandardOptions) {
			r.MaxAttempts, r.MaxBackoff, r.RateLimiter = s3Attempts, longestPause, ratelimit.None
			final := awsretry.IsErrorRetryableFunc(func(err error) aws.Ternary {
				if isFinal(err) {
					return aws.FalseTernary
				}
				return aws.UnknownTernary
			})
			status := awsretry.RetryableHTTPStatusCode{
				Codes: map[int]struct{}{http.StatusRequestTimeout: {}, http.StatusTooManyRequests: {}},
			}
			conflict := awsretry.RetryableErrorCode{
				Codes: map[string]struct{}{"ConditionalRequestConflict": {}, "OperationAborted": {}},
			}
			r.Retryables = slices.Concat([]awsretry.IsErrorRetryable{final}, r.Retryables,
				[]awsretry.IsErrorRetryable{status, conflict})
		}),
	})
	return s, nil
}

// s3Attempts is how often a request is made at most: over half a minute, longer than a bucket takes to scale.
const s3Attempts = 10

func (o *S3Options) check() error {
	if err := checkBucket("Bucket", o.Bucket); err != nil {
		return err
	}
	for _, e := range []struct{ field, value string }{{"Endpoint", o.Endpoint}, {"PublicEndpoint", o.PublicEndpoint}} {
		if e.value == "" {
			continue
		}
		if err := checkEndpoint(e.field, withScheme(e.value), o.AllowHTTP); err != nil {
			return err
		}
	}
	switch {
	case o.Region == "":
		return inputError("Region", "is missing", "the bucket's region, such as eu-central-1")
	case !isRegion(o.Region):
		return inputError("Region", fmt.Sprintf("%q is no region", o.Region), "one such as eu-central-1")
	case o.AccessKey == "" && o.SecretKey != "":
		return inputError("AccessKey", "is missing beside SecretKey", "both or neither")
	case o.AccessKey != "" && o.SecretKey == "":
		return inputError("SecretKey", "is missing beside AccessKey", "both or neither")
	case o.AccessKey == "" && o.SessionToken != "":
		return inputError("SessionToken", "is set without a key pair", "AccessKey and SecretKey, or no SessionToken")
	case !slices.Contains([]string{"", "none", "AES256"}, o.Encryption):
		return inputError("Encryption", fmt.Sprintf("is %q", o.Encryption), "AES256 or none")
	}
	for _, ttl := range []struct {
		field string
		value time.Duration
	}{{"DefaultTTL", o.DefaultTTL}, {"MaxTTL", o.MaxTTL}} {
		if ttl.value != 0 && (ttl.value < time.Second || ttl.value > MaxURLTTL) {
			return inputError(ttl.field, fmt.Sprintf("is %v", ttl.value), fmt.Sprintf("1s to %v", MaxURLTTL))
		}
	}
	if limit := cmp.Or(o.MaxTTL, DefaultMaxTTL); o.DefaultTTL > limit {
		return inputError("DefaultTTL", fmt.Sprintf("%v is over the maximum", o.DefaultTTL), fmt.Sprintf("at most %v", limit))
	}
	return nil
}

// renewEarly is how long before their end temporary credentials are renewed: a request signed with their last seconds
// would arrive after it.
const renewEarly = time.Minute

// provider gives what knows the credentials.
func (o *S3Options) provider(ctx context.Context) (aws.CredentialsProvider, error) {
	if o.AccessKey != "" {
		static := credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretKey.Reveal(), o.SessionToken.Reveal())
		return aws.NewCredentialsCache(static), nil
	}
	early := func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = max(o.ExpiryWindow, renewEarly) }
	c, err := config.LoadDefaultConfig(ctx, config.WithRegion(o.Region), config.WithCredentialsCacheOptions(early))
	if err != nil {
		return nil, &Error{Kind: ErrUnauthenticated, Err: err}
	}
	return c.Credentials, nil
}

// withScheme completes an endpoint.
func withScheme(endpoint string) string {
	if strings.Contains(endpoint, "://") {
		return endpoint
	}
	host, _, err := net.SplitHostPort(endpoint)
	if err != nil {
		host = strings.Trim(endpoint, "[]")
	}
	if isLoopback(host) {
		return "http://" + endpoint
	}
	return "https://" + endpoint
}

func baseEndpoint(endpoint string) *string {
	if endpoint == "" {
		return nil
	}
	return aws.String(withScheme(endpoint))
}

// locate asks the SDK where the bucket's keys begin, at an endpoint or on AWS.
func locate(ctx context.Context, o *S3Options, endpoint string, pathStyle bool) (location, error) {
	resolved, err := s3.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, s3.EndpointParameters{
		Bucket: &o.Bucket, Region: &o.Region, Endpoint: baseEndpoint(endpoint), ForcePathStyle: &pathStyle,
	})
	if err != nil {
		return location{}, inputError("Endpoint", "has no place for the bucket: "+err.Error(),
			"an endpoint and region that go together")
	}
	return locationOf(resolved.URI), nil
}

func locationOf(u url.URL) location {
	return location{u.Scheme, u.Host, strings.TrimSuffix(u.Path, "/") + "/"}
}

// keys gives the credentials.
func (s *S3) keys(ctx context.Context) (aws.Credentials, error) {
	c, err := s.credentials.Retrieve(ctx)
	if err != nil && ctx.Err() != nil {
		return c, ctx.Err()
	}
	if err != nil {
		return c, &Error{Kind: ErrUnauthenticated, Err: fmt.Errorf("no credentials: %w", err)}
	}
	return c, nil
}

// sign signs r, which has a method and what is particular to it, for a key at a location.
func (s *S3) sign(
	ctx context.Context, at location, key string, r *sigv4.Request, bound []sigv4.Param, ttl time.Duration, size int64,
) (SignedURL, error) {
	c, err := s.keys(ctx)
	if err != nil {
		return SignedURL{}, err
	}
	now := time.Now()
	if c.CanExpire {
		left := c.Expires.Sub(now).Truncate(time.Second)
		if left < time.Second {
			return SignedURL{}, &Error{
				Kind: ErrExpired, Err: fmt.Errorf("the credentials expired at %s", c.Expires.UTC().Format(time.RFC3339)),
			}
		}
		ttl = min(ttl, left)
	}
	r.Scheme, r.Host, r.Base, r.Path, r.Region, r.Time, r.TTL = at.scheme, at.host, at.path, key, s.region, now, ttl
	return presign(&s.signer, sigv4.Credentials{
		AccessKey: c.AccessKeyID, SecretKey: c.SecretAccessKey, SessionToken: c.SessionToken,
	}, r, bound, size), nil
}

// UploadURL signs a PUT. URLs of temporary credentials end with these at the latest; Expires says so.
func (s *S3) UploadURL(ctx context.Context, key string, opts *UploadURLOptions) (SignedURL, error) {
	o := or(opts)
	ttl, err := checkTTL(o.TTL, s.defaultTTL, s.maxTTL)
	if err = cmp.Or(ValidKey(key), o.check(), err, ctx.Err()); err != nil {
		return SignedURL{}, opError("UploadURL", key, nil, err)
	}
	var buffer [9]sigv4.Param // of all headers there are
	bound := append(s.uploadHeaders(buffer[:0], o), s.forbidden...)
	u, err := s.sign(ctx, s.public, key, &sigv4.Request{Method: http.MethodPut, Query: s.forbidden}, bound, ttl, o.Size)
	return u, opError("UploadURL", key, nil, err)
}

func (s *S3) uploadHeaders(h []sigv4.Param, o *UploadURLOptions) []sigv4.Param {
	h = uploadHeaders(h, o)
	if s.encryption != "" {
		h = append(h, sigv4.Param{Name: "x-amz-server-side-encryption", Value: s.encryption})
	}
	return h
}

func (s *S3) sse() types.ServerSideEncryption { return types.ServerSideEncryption(s.encryption) }

// DownloadURL signs a GET. URLs of temporary credentials end with these at the latest; Expires says so.
func (s *S3) DownloadURL(ctx context.Context, key string, opts *DownloadURLOptions) (SignedURL, error) {
	o := or(opts)
	ttl, err := checkTTL(o.TTL, s.defaultTTL, s.maxTTL)
	if err = cmp.Or(ValidKey(key), o.check(), err, ctx.Err()); err != nil {
		return SignedURL{}, opError("DownloadURL", key, nil, err)
	}
	u, err := s.sign(ctx, s.public, key, &sigv4.Request{Method: http.MethodGet, Query: downloadQuery(key, o)}, nil, ttl, 0)
	return u, opError("DownloadURL", key, nil, err)
}
