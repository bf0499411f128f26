// Package miniotest gives tests a running MinIO server, wherever they run.
//
// It takes the first of these that there is, and prints which:
//   - the server at MASKSTORE_TEST_ENDPOINT, with MASKSTORE_TEST_ACCESS_KEY, MASKSTORE_TEST_SECRET_KEY and
//     MASKSTORE_TEST_REGION. It is given, so nothing is set up on it but buckets: a test of TLS or encryption wants one of
//     the others.
//   - Docker with the image MASKSTORE_TEST_IMAGE, or DefaultImage.
//   - Docker with an image made of the server's binary, where that image cannot be pulled.
//   - The server's binary as a child process.
//
// The binary is built from the server's Go module, once, into the user's cache directory.
package miniotest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"go.uber.org/goleak"

	"github.com/pacs-extension/maskstore"
)

// DefaultImage is the last image of the server that was published.
const DefaultImage = "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"

// Options say what server is wanted.
type Options struct {
	TLS bool // with a certificate of its own
	KMS bool // with a key, so that it can encrypt (SSE-S3)
}

// Server is a running MinIO server.
type Server struct {
	Endpoint             string
	Region               string // it refuses every other
	AccessKey, SecretKey string
	Client               *http.Client // trusts the server's certificate

	stop func() error
}

// Start starts a server. Stop must be called after it.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if endpoint := os.Getenv("MASKSTORE_TEST_ENDPOINT"); endpoint != "" {
		say("the server at MASKSTORE_TEST_ENDPOINT, %s", endpoint)
		return &Server{
			Endpoint:  endpoint,
			Region:    cmp.Or(os.Getenv("MASKSTORE_TEST_REGION"), "us-east-1"),
			AccessKey: os.Getenv("MASKSTORE_TEST_ACCESS_KEY"),
			SecretKey: os.Getenv("MASKSTORE_TEST_SECRET_KEY"),
			Client:    http.DefaultClient,
			stop:      func() error { return nil },
		}, nil
	}
	s, setup, err := newServer(opts)
	if err != nil {
		return nil, err
	}
	err = s.startDocker(ctx, setup)
	if errors.Is(err, errNoDocker) {
		say("a child process, since %v", err)
		err = s.startProcess(ctx, setup)
	}
	if err != nil {
		return nil, fmt.Errorf("miniotest: %w", err)
	}
	if err := s.wait(ctx, s.Endpoint+"/minio/health/cluster"); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// newServer gives a server of our own that is not started yet, and what it is to be started with.
func newServer(opts Options) (*Server, *setup, error) {
	s := &Server{Region: "eu-central-1", AccessKey: "test-" + rand.Text()[:8], SecretKey: rand.Text()}
	setup := &setup{env: map[string]string{
		"MINIO_ROOT_USER":     s.AccessKey,
		"MINIO_ROOT_PASSWORD": s.SecretKey,
		"MINIO_SITE_REGION":   s.Region,
		"MINIO_BROWSER":       "off",
		"MINIO_UPDATE":        "off",
	}}
	if opts.KMS {
		setup.env["MINIO_KMS_SECRET_KEY"] = "test-key:" + randomKey()
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	if opts.TLS {
		var err error
		if setup.cert, err = newCertificate(); err != nil {
			return nil, nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: setup.cert.pool}
	}
	s.Client = &http.Client{Transport: transport}
	return s, setup, nil
}

// setup is what a server is started with.
type setup struct {
	env  map[string]string
	cert *certificate // nil: plain HTTP
}

func (s *setup) scheme() string {
	if s.cert != nil {
		return "https"
	}
	return "http"
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "miniotest: "+format+"\n", args...)
}

// wait waits until the server answers at url that it is well.
func (s *Server) wait(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute) // on a machine that is busy; else it takes a second
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := s.Client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("miniotest: %s does not answer: %w", url, cmp.Or(err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Stop ends the server and deletes what it stored.
func (s *Server) Stop() error { return s.stop() }

// Options gives what a storage on a bucket of the server is set up with.
func (s *Server) Options(bucket string) maskstore.S3Options {
	return maskstore.S3Options{
		Bucket: bucket, Region: s.Region, Endpoint: s.Endpoint,
		AccessKey: s.AccessKey, SecretKey: maskstore.Secret(s.SecretKey), HTTPClient: s.Client,
	}
}

// NewBucket makes a bucket with a random name.
func (s *Server) NewBucket(ctx context.Context) (string, error) {
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(s.Endpoint), Region: s.Region, UsePathStyle: true, HTTPClient: s.Client,
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
	})
	bucket := "test-" + strings.ToLower(rand.Text())
	_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket})
	if _, ours := errors.AsType[*types.BucketAlreadyOwnedByYou](err); ours {
		err = nil // made by an attempt whose answer was lost
	}
	return bucket, err
}

// Main is what TestMain calls: it starts the servers, runs the tests, and stops the servers, also after an interrupt. It
// fails where the tests have left a goroutine.
func Main(m *testing.M, servers map[**Server]Options) {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var started []*Server
	stop := func() {
		for _, s := range started {
			if err := s.Stop(); err != nil {
				say("%v", err)
			}
		}
	}
	for server, opts := range servers {
		s, err := Start(ctx, opts)
		if err != nil {
			stop()
			say("%v", err)
			os.Exit(1)
		}
		started = append(started, s)
		*server = s
	}
	go func() {
		if <-ctx.Done(); ctx.Err() == context.Canceled && len(started) > 0 {
			stop()
			os.Exit(130)
		}
	}()
	code := m.Run()
	stop()
	for _, s := range started {
		s.Client.CloseIdleConnections()
	}
	started = nil
	cancel()
	if err := goleak.Find(); err != nil && code == 0 {
		say("%v", err)
		code = 1
	}
	os.Exit(code)
}
