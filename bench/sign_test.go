package bench

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pacs-extension/maskstore/internal/sigv4"
)

const rowSign = "Sign"

// BenchmarkSign signs the URL for one upload, with type, length, SHA-256 and the condition bound.
func BenchmarkSign(b *testing.B) {
	ctx := context.Background()
	s := &server{"https://storage.example:9000"}
	mask := generatedMasks(1)[0]
	const ttl = 10 * time.Minute

	header := presignHeader(mask)
	presigner := s3.NewPresignClient(newSDK(s), s3.WithPresignExpires(ttl))
	input := presignInput(mask)
	minioGo := newMinioGo(s)
	sdkSigner, arithmetic := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }), new(sigv4.Signer)

	compare(b, 3, []contestant{
		signed("aws-sdk", func() error {
			_, err := presigner.PresignPutObject(ctx, input)
			return err
		}),
		signed("aws-v4-signer", func() error {
			req, err := http.NewRequest(http.MethodPut, s.endpoint+"/"+bucket+"/"+mask.key+"?X-Amz-Expires=600", nil)
			if err != nil {
				return err
			}
			req.Header, req.ContentLength = header, int64(len(mask.data))
			_, _, err = sdkSigner.PresignHTTP(ctx, aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}, req,
				"UNSIGNED-PAYLOAD", "s3", region, time.Now())
			return err
		}),
		signed("minio-go", func() error {
			_, err := minioGo.PresignHeader(ctx, http.MethodPut, bucket, mask.key, ttl, nil, header)
			return err
		}),
		signed(library, signUpload(openProvider(b, s, "s3"), mask, ttl)), // binds what the peers bind
		signed(library+"-minio", signUpload(openLibrary(b, s), mask, ttl)),
		signed(library+"-arithmetic", func() error {
			arithmetic.Presign(sigv4.Credentials{AccessKey: accessKey, SecretKey: secretKey}, &sigv4.Request{
				Method: http.MethodPut, Scheme: "https", Host: "storage.example:9000", Base: "/" + bucket + "/", Path: mask.key,
				Region: region, Time: time.Now(), TTL: ttl,
			}, []sigv4.Param{
				{Name: "content-length", Value: "2700"}, {Name: "content-type", Value: pngType}, {Name: "if-none-match", Value: "*"},
				{Name: "x-amz-checksum-sha256", Value: mask.sha256.Base64()},
			})
			return nil
		}),
	})
}

// signed is a library by what sign takes.
func signed(lib string, sign func() error) contestant {
	return contestant{lib, func(b *testing.B) {
		allocs := testing.AllocsPerRun(100, func() {
			if err := sign(); err != nil {
				b.Fatal(err)
			}
		})
		for b.Loop() {
			if err := sign(); err != nil {
				b.Fatal(err)
			}
		}
		note(b, rowSign, lib, nsPerURL, float64(b.Elapsed().Nanoseconds())/float64(b.N))
		note(b, rowSign, lib, allocsPerURL, allocs)
	}}
}
