package bench

//lint:file-ignore SA1019 feature/s3/manager is a peer, deprecated or not

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/minio/minio-go/v7"
	miniocredentials "github.com/minio/minio-go/v7/pkg/credentials"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

const pngType = "image/png"

// newTransport gives every library the connections that it wants: some defaults keep 2 or 10 of them.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 4 * concurrency
	t.DisableCompression = true // of answers, of which none here is compressed
	return t
}

func newSDK(s *server) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint:               aws.String(s.endpoint),
		Region:                     region,
		UsePathStyle:               true,
		Credentials:                credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
		HTTPClient:                 &http.Client{Transport: newTransport()},
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	})
}

func newMinioGo(s *server) *minio.Client {
	scheme, host, _ := strings.Cut(s.endpoint, "://")
	client, err := minio.New(host, &minio.Options{
		Creds:     miniocredentials.NewStaticV4(accessKey, secretKey, ""),
		Secure:    scheme == "https",
		Region:    region,
		Transport: newTransport(),
	})
	if err != nil {
		panic(err)
	}
	return client
}

// peer is how a library puts and gets one mask.
type peer struct {
	lib string
	put func(ctx context.Context, o object) error
	get func(ctx context.Context, o object) ([]byte, error)
}

// peers are the libraries on that server. All of them are left to check what they check by default.
func peers(s *server) []peer {
	sdk := newSDK(s)
	sdkPeer := peer{
		lib: "aws-sdk",
		put: func(ctx context.Context, o object) error {
			_, err := sdk.PutObject(ctx, putInput(o))
			return err
		},
		get: func(ctx context.Context, o object) ([]byte, error) {
			out, err := sdk.GetObject(ctx, &s3.GetObjectInput{
				Bucket: aws.String(bucket), Key: aws.String(o.key), ChecksumMode: "ENABLED",
			})
			if err != nil {
				return nil, err
			}
			return readAll(out.Body)
		},
	}
	uploader := manager.NewUploader(sdk)
	downloader := manager.NewDownloader(sdk)
	managerPeer := peer{
		lib: "aws-manager",
		put: func(ctx context.Context, o object) error {
			_, err := uploader.Upload(ctx, putInput(o))
			return err
		},
		get: func(ctx context.Context, o object) ([]byte, error) {
			buffer := manager.NewWriteAtBuffer(make([]byte, 0, len(o.data)))
			_, err := downloader.Download(ctx, buffer, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(o.key)})
			return buffer.Bytes(), err
		},
	}
	return []peer{
		sdkPeer, managerPeer, transferManagerPeer(sdk), minioGoPeer(newMinioGo(s)), goCloudPeer(newSDK(s)), floorPeer(s),
	}
}

func putInput(o object) *s3.PutObjectInput {
	return &s3.PutObjectInput{
		Bucket: aws.String(bucket), Key: aws.String(o.key), Body: bytes.NewReader(o.data),
		ContentType: aws.String(pngType), ChecksumSHA256: aws.String(o.sha256.Base64()),
	}
}

func readAll(body io.ReadCloser) ([]byte, error) {
	defer body.Close()
	return io.ReadAll(body)
}

func transferManagerPeer(sdk *s3.Client) peer {
	tm := transfermanager.New(sdk)
	return peer{
		lib: "aws-transfermanager",
		put: func(ctx context.Context, o object) error {
			_, err := tm.UploadObject(ctx, &transfermanager.UploadObjectInput{
				Bucket: aws.String(bucket), Key: aws.String(o.key), Body: bytes.NewReader(o.data),
				ContentType: aws.String(pngType), ChecksumSHA256: aws.String(o.sha256.Base64()),
			})
			return err
		},
		get: func(ctx context.Context, o object) ([]byte, error) {
			out, err := tm.GetObject(ctx, &transfermanager.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(o.key)})
			if err != nil {
				return nil, err
			}
			return io.ReadAll(out.Body)
		},
	}
}

func minioGoPeer(client *minio.Client) peer {
	return peer{
		lib: "minio-go",
		put: func(ctx context.Context, o object) error {
			_, err := client.PutObject(ctx, bucket, o.key, bytes.NewReader(o.data), int64(len(o.data)),
				minio.PutObjectOptions{ContentType: pngType})
			return err
		},
		get: func(ctx context.Context, o object) ([]byte, error) {
			body, err := client.GetObject(ctx, bucket, o.key, minio.GetObjectOptions{})
			if err != nil {
				return nil, err
			}
			return readAll(body)
		},
	}
}

func goCloudPeer(sdk *s3.Client) peer {
	b, err := s3blob.OpenBucket(context.Background(), sdk, bucket, nil)
	if err != nil {
		panic(err)
	}
	return peer{
		lib: "gocloud",
		put: func(ctx context.Context, o object) error {
			return b.WriteAll(ctx, o.key, o.data, &blob.WriterOptions{ContentType: pngType})
		},
		get: func(ctx context.Context, o object) ([]byte, error) { return b.ReadAll(ctx, o.key) },
	}
}

// floorPeer is a signed request over plain net/http, with the checksum bound, and nothing around it.
func floorPeer(s *server) peer {
	client := &http.Client{Transport: newTransport()}
	signer := new(sigv4.Signer)
	send := func(ctx context.Context, method string, o object, body io.Reader, header ...sigv4.Param) (*http.Response, error) {
		signed := signer.Presign(sigv4.Credentials{AccessKey: accessKey, SecretKey: secretKey}, &sigv4.Request{
			Method: method, Scheme: "http", Host: strings.TrimPrefix(s.endpoint, "http://"), Path: "/" + bucket + "/" + o.key,
			Region: region, Time: time.Now(), TTL: time.Minute,
		}, header)
		req, err := http.NewRequestWithContext(ctx, method, signed, body)
		if err != nil {
			return nil, err
		}
		for _, h := range header {
			req.Header.Set(h.Name, h.Value)
		}
		resp, err := client.Do(req)
		if err == nil && resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			err = fmt.Errorf("%s %s: %s", method, o.key, resp.Status)
		}
		return resp, err
	}
	return peer{
		lib: floor,
		put: func(ctx context.Context, o object) error {
			resp, err := send(ctx, http.MethodPut, o, bytes.NewReader(o.data), sigv4.Param{Name: "content-type", Value: pngType},
				sigv4.Param{Name: "x-amz-checksum-sha256", Value: o.sha256.Base64()})
			if err != nil {
				return err
			}
			return resp.Body.Close()
		},
		get: func(ctx context.Context, o object) ([]byte, error) {
			resp, err := send(ctx, http.MethodGet, o, nil)
			if err != nil {
				return nil, err
			}
			return readAll(resp.Body)
		},
	}
}
