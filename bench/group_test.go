package bench

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/minio/minio-go/v7"

	"github.com/pacs-extension/maskstore"
)

const (
	rowGroup = "BeginComplete"
	// rowResave is the same over a committed revision, every mask of which has changed.
	rowResave = "BeginCompleteResave"
)

// groupMasks is how many masks the group has.
const groupMasks = 1000

// upload of a group: what prepares it, what the client does, which is not measured, and what verifies it.
type upload struct{ prepare, put, verify func() error }

func measuredGroup(s *server, row, lib string, u upload) contestant {
	return contestant{lib, func(b *testing.B) { measureGroup(b, s, row, lib, u) }}
}

func measureGroup(b *testing.B, s *server, row, lib string, u upload) {
	var cpu, wall, requests []float64
	for b.Loop() {
		count := 0
		step := func(do func() error) span {
			before, err := s.requests()
			if err != nil {
				b.Fatal(err)
			}
			took, err := timed(do)
			if err != nil {
				b.Fatal(err)
			}
			after, err := s.requests()
			if err != nil {
				b.Fatal(err)
			}
			count += after - before
			return took
		}
		prepared := step(u.prepare)
		b.StopTimer()
		if err := u.put(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		verified := step(u.verify)
		cpu = append(cpu, (prepared.cpu+verified.cpu).Seconds()*1e6/groupMasks)
		wall = append(wall, (prepared.wall + verified.wall).Seconds())
		requests = append(requests, float64(count))
	}
	note(b, row, lib, cpuPerMask, cpu...)
	note(b, row, lib, seconds, wall...)
	note(b, row, lib, requestCount, requests...)
}

// BenchmarkBeginComplete signs 1000 uploads and verifies afterwards what was uploaded. The peers, which know no groups,
// sign each and ask for each.
func BenchmarkBeginComplete(b *testing.B) {
	s, masks := need(b, nullInstance), generatedMasks(groupMasks)
	put := floorPeer(s).put
	putAll := func() error { return each(masks, put) }
	steps, files := &groupSteps{storage: openLibrary(b, s)}, maskFiles(b, masks)
	compare(b, 3, []contestant{
		measuredGroup(s, rowGroup, "aws-sdk", sdkUpload(newSDK(s), masks, putAll)),
		measuredGroup(s, rowGroup, "minio-go", minioGoUpload(newMinioGo(s), masks, putAll)),
		measuredGroup(s, rowGroup, library, upload{func() error { return steps.begin(files, nil) }, steps.put, steps.complete}),
	})
}

// BenchmarkBeginCompleteResave is the same for a group that was committed before, with every mask another.
func BenchmarkBeginCompleteResave(b *testing.B) {
	s, masks := need(b, nullInstance), generatedMasks(groupMasks)
	steps, files, other := &groupSteps{storage: openLibrary(b, s)}, maskFiles(b, masks), maskFiles(b, shifted(masks))
	group, err := maskstore.NewGroup(steps.storage, "1", "", nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(steps.begin(other, group), steps.put(), steps.complete()); err != nil {
		b.Fatal(err)
	}
	// The group's ID being its own, it takes itself for new: another Group of that ID does not.
	if group, err = maskstore.NewGroup(steps.storage, "1", group.ID(), nil); err != nil {
		b.Fatal(err)
	}
	compare(b, 3, []contestant{measuredGroup(s, rowResave, library, upload{func() error {
		defer func() { files, other = other, files }()
		return steps.begin(files, group)
	}, steps.put, steps.complete})})
}

func sdkUpload(sdk *s3.Client, masks []object, put func() error) upload {
	presigner := s3.NewPresignClient(sdk)
	return upload{func() error {
		for _, m := range masks {
			if _, err := presigner.PresignPutObject(context.Background(), presignInput(m)); err != nil {
				return err
			}
		}
		return nil
	}, put, func() error {
		return each(masks, func(ctx context.Context, o object) error {
			_, err := sdk.HeadObject(ctx, &s3.HeadObjectInput{
				Bucket: aws.String(bucket), Key: aws.String(o.key), ChecksumMode: "ENABLED",
			})
			return err
		})
	}}
}

func minioGoUpload(client *minio.Client, masks []object, put func() error) upload {
	return upload{func() error {
		for _, m := range masks {
			_, err := client.PresignHeader(context.Background(), http.MethodPut, bucket, m.key, 10*time.Minute, nil, presignHeader(m))
			if err != nil {
				return err
			}
		}
		return nil
	}, put, func() error {
		return each(masks, func(ctx context.Context, o object) error {
			_, err := client.StatObject(ctx, bucket, o.key, minio.StatObjectOptions{Checksum: true})
			return err
		})
	}}
}

// presignInput binds what the library binds in Begin.
func presignInput(o object) *s3.PutObjectInput {
	input := putInput(o)
	input.Body, input.IfNoneMatch, input.ContentLength = nil, aws.String("*"), aws.Int64(int64(len(o.data)))
	return input
}

// presignHeader is the same, except for the length, which minio-go cannot bind.
func presignHeader(o object) http.Header {
	return http.Header{"Content-Type": {pngType}, "X-Amz-Checksum-Sha256": {o.sha256.Base64()}, "If-None-Match": {"*"}}
}
