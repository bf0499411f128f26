package integration

import (
	"context"
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/pacs-extension/maskstore"
)

// readmePolicy gives the IAM policy that README.md tells operators to use, for a bucket.
func readmePolicy(t *testing.T, bucket string) string {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```json\n(\\{\n  \"Version\".*?)```").FindSubmatch(readme)
	if found == nil {
		t.Fatal("README.md has no policy")
	}
	return strings.ReplaceAll(string(found[1]), "BUCKET", bucket)
}

// restrict gives opts the credentials of a role that has this policy alone.
func restrict(t *testing.T, opts *maskstore.S3Options, policy string) {
	t.Helper()
	client := sts.New(sts.Options{
		BaseEndpoint: &opts.Endpoint, Region: opts.Region, HTTPClient: opts.HTTPClient,
		Credentials: credentials.NewStaticCredentialsProvider(opts.AccessKey, opts.SecretKey.Reveal(), ""),
	})
	role, err := client.AssumeRole(t.Context(), &sts.AssumeRoleInput{
		Policy: &policy, RoleArn: aws.String("arn:minio:iam:::role/any"), RoleSessionName: aws.String("test"),
	})
	if err != nil {
		t.Fatal(err)
	}
	opts.AccessKey, opts.SecretKey = *role.Credentials.AccessKeyId, maskstore.Secret(*role.Credentials.SecretAccessKey)
	opts.SessionToken = maskstore.Secret(*role.Credentials.SessionToken)
}

// Under the README's policy, with temporary credentials and behind what only unwraps, all that the suites hold works.
func TestMinIOUnderThePolicy(t *testing.T) {
	restricted := func(o *maskstore.S3Options) { restrict(t, o, readmePolicy(t, o.Bucket)) }
	conformance(t, plain, restricted, func(s *maskstore.MinIO) maskstore.ObjectStorage { return unwrapper{s} })
}

// It allows nothing else, and each of its actions is one that the library needs.
func TestPolicyAllowsNoMore(t *testing.T) {
	opts := newBucket(t, plain)
	policy := readmePolicy(t, opts.Bucket)
	role := opts
	restrict(t, &role, policy)
	root, denied := sdkOf(opts), sdkOf(role)
	const outside = "masks/a/g/0001_x.png"
	_, err := root.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &opts.Bucket, Key: aws.String(outside), Body: strings.NewReader("x"),
	})
	if err != nil {
		t.Fatal(err)
	}
	other := newBucket(t, plain).Bucket
	list := func(bucket, prefix string) error {
		_, err := denied.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
		return err
	}
	get := func(bucket, key string) error {
		_, err := denied.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		return err
	}
	put := func(bucket, key string) error {
		_, err := denied.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("x")})
		return err
	}
	_, deleteErr := denied.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &opts.Bucket, Key: aws.String(outside)})
	_, copyErr := denied.CopyObject(t.Context(), &s3.CopyObjectInput{
		Bucket: &opts.Bucket, Key: aws.String("mask/a/g/0001_x.png"), CopySource: aws.String(opts.Bucket + "/" + outside),
	})
	_, bucketErr := denied.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: &opts.Bucket})
	_, policyErr := denied.GetBucketPolicy(t.Context(), &s3.GetBucketPolicyInput{Bucket: &opts.Bucket})
	for name, err := range map[string]error{
		"put": put(opts.Bucket, outside), "get": get(opts.Bucket, outside), "delete": deleteErr, "copy into mask/": copyErr,
		"list all": list(opts.Bucket, ""), "list beside": list(opts.Bucket, "masks/"), "list mask": list(opts.Bucket, "mask"),
		"put elsewhere": put(other, "mask/x"), "get elsewhere": get(other, "mask/x"), "list elsewhere": list(other, "mask/"),
		"the bucket": bucketErr, "its policy": policyErr,
	} {
		if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "AccessDenied" {
			t.Errorf("%s: %v; want AccessDenied", name, err)
		}
	}
	if err := list(opts.Bucket, "mask/"); err != nil {
		t.Errorf("list mask/: %v", err)
	}

	const key = "mask/a/g/0002_x.png"
	needs := map[string]func(ctx context.Context, s *maskstore.MinIO, uploadID string) error{
		"s3:PutObject": func(ctx context.Context, s *maskstore.MinIO, _ string) error {
			_, err := s.Put(ctx, key, strings.NewReader("x"), nil)
			return err
		},
		"s3:GetObject": func(ctx context.Context, s *maskstore.MinIO, _ string) error {
			_, err := readAll(ctx, s, key, nil)
			return err
		},
		"s3:DeleteObject": func(ctx context.Context, s *maskstore.MinIO, _ string) error { return s.Delete(ctx, key) },
		"s3:AbortMultipartUpload": func(ctx context.Context, s *maskstore.MinIO, uploadID string) error {
			return s.AbortMultipartUpload(ctx, key, uploadID)
		},
		"s3:ListMultipartUploadParts": func(ctx context.Context, s *maskstore.MinIO, uploadID string) error {
			for _, err := range s.ListParts(ctx, key, uploadID) {
				return err
			}
			return nil
		},
		"s3:ListBucket": func(ctx context.Context, s *maskstore.MinIO, _ string) error {
			for _, err := range s.List(ctx, "mask/", nil) {
				return err
			}
			return nil
		},
		"s3:ListBucketMultipartUploads": func(ctx context.Context, s *maskstore.MinIO, _ string) error {
			for _, err := range s.ListMultipartUploads(ctx, key) {
				return err
			}
			return nil
		},
	}
	allowed := regexp.MustCompile(`"(s3:[A-Z]\w+)"`).FindAllStringSubmatch(policy, -1)
	if len(allowed) != len(needs) {
		t.Errorf("the policy allows %q; want %q", allowed, slices.Sorted(maps.Keys(needs)))
	}
	for action, call := range needs {
		instead := `"s3:GetObjectTagging"`
		if strings.HasPrefix(action, "s3:ListBucket") {
			instead = `"s3:ListBucketVersions"` // which has the same conditions
		}
		for _, policy := range []string{policy, strings.ReplaceAll(policy, `"`+action+`"`, instead)} {
			sound, err := maskstore.NewMinIO(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sound.Put(t.Context(), key, strings.NewReader("x"), nil); err != nil {
				t.Fatal(err)
			}
			uploadID, err := sound.CreateMultipartUpload(t.Context(), key, nil)
			if err != nil {
				t.Fatal(err)
			}
			role := opts
			restrict(t, &role, policy)
			s, err := maskstore.NewMinIO(t.Context(), role)
			if err != nil {
				t.Fatal(err)
			}
			err = call(t.Context(), s, uploadID)
			if lacks := !strings.Contains(policy, `"`+action+`"`); errors.Is(err, maskstore.ErrAccessDenied) != lacks ||
				!lacks && err != nil {
				t.Errorf("%s, lacking it is %v: %v", action, lacks, err)
			}
			sound.AbortMultipartUpload(t.Context(), key, uploadID)
		}
	}
}

// sdkOf gives the SDK's client, which refuses no key.
func sdkOf(o maskstore.S3Options) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &o.Endpoint, Region: o.Region, UsePathStyle: true, HTTPClient: o.HTTPClient,
		Credentials: credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretKey.Reveal(), o.SessionToken.Reveal()),
	})
}
