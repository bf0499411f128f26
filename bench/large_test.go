package bench

//lint:file-ignore SA1019 feature/s3/manager is a peer, deprecated or not

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/minio-go/v7"

	"github.com/pacs-extension/maskstore"
)

const (
	rowUploadFile   = "UploadFile"
	rowUploadStream = "UploadStream"
	rowDownload     = "DownloadFile"

	// Of every library, so that what they keep in memory can be compared.
	partSize        = 16 << 20
	partConcurrency = 4

	largeKey = "mask/1/large/volume.bin"

	verifying = "aws-manager-sha256"
)

// largeSize is that of the object: 1 GiB, or with -short 64 MiB.
func largeSize() int64 {
	if testing.Short() {
		return 64 << 20
	}
	return 1 << 30
}

// largePeer moves one large object. Streams have no known length and cannot be rewound.
type largePeer struct {
	lib          string
	uploadFile   func(ctx context.Context, f *os.File) error
	uploadStream func(ctx context.Context, r io.Reader) error
	download     func(ctx context.Context, name string) error // to a file that does not exist
}

func largePeers(s *server) []largePeer {
	sdk, client := newSDK(s), newMinioGo(s)
	uploader := manager.NewUploader(sdk, func(u *manager.Uploader) {
		u.PartSize, u.Concurrency = partSize, partConcurrency
	})
	downloader := manager.NewDownloader(sdk, func(d *manager.Downloader) {
		d.PartSize, d.Concurrency = partSize, partConcurrency
	})
	upload := func(ctx context.Context, body io.Reader, checksum types.ChecksumAlgorithm) error {
		_, err := uploader.Upload(ctx, &s3.PutObjectInput{
			Bucket: aws.String(bucket), Key: aws.String(largeKey), Body: body, ChecksumAlgorithm: checksum,
		})
		return err
	}
	managerUpload := func(ctx context.Context, body io.Reader) error { return upload(ctx, body, "") }
	verifiedUpload := func(ctx context.Context, body io.Reader) error {
		return upload(ctx, body, types.ChecksumAlgorithmSha256)
	}
	managerDownload := toFile(func(ctx context.Context, f *os.File) error {
		_, err := downloader.Download(ctx, f, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(largeKey)})
		return err
	})
	tm := transfermanager.New(sdk, func(o *transfermanager.Options) {
		o.PartSizeBytes, o.Concurrency = partSize, partConcurrency
	})
	tmUpload := func(ctx context.Context, body io.Reader) error {
		_, err := tm.UploadObject(ctx, &transfermanager.UploadObjectInput{
			Bucket: aws.String(bucket), Key: aws.String(largeKey), Body: body,
		})
		return err
	}
	minioUpload := func(ctx context.Context, body io.Reader, size int64) error {
		_, err := client.PutObject(ctx, bucket, largeKey, body, size, minio.PutObjectOptions{
			PartSize: partSize, NumThreads: partConcurrency, ConcurrentStreamParts: true,
		})
		return err
	}
	return []largePeer{
		{
			"aws-manager",
			func(ctx context.Context, f *os.File) error { return managerUpload(ctx, f) },
			managerUpload,
			managerDownload,
		},
		{
			verifying, // what the library does: each part bound to its SHA-256, and what was downloaded hashed
			func(ctx context.Context, f *os.File) error { return verifiedUpload(ctx, f) },
			verifiedUpload,
			func(ctx context.Context, name string) error {
				if err := managerDownload(ctx, name); err != nil {
					return err
				}
				if body, err := maskstore.FileBody(name); err != nil || body.SHA256 != largeSum {
					return fmt.Errorf("got %v: %w", body.SHA256, err)
				}
				return nil
			},
		},
		{
			"aws-transfermanager",
			func(ctx context.Context, f *os.File) error { return tmUpload(ctx, f) },
			tmUpload,
			toFile(func(ctx context.Context, f *os.File) error {
				_, err := tm.DownloadObject(ctx, &transfermanager.DownloadObjectInput{
					Bucket: aws.String(bucket), Key: aws.String(largeKey), WriterAt: f,
				})
				return err
			}),
		},
		{
			"minio-go",
			func(ctx context.Context, f *os.File) error { return minioUpload(ctx, f, largeSize()) },
			func(ctx context.Context, r io.Reader) error { return minioUpload(ctx, r, -1) },
			toFile(func(ctx context.Context, f *os.File) error {
				body, err := client.GetObject(ctx, bucket, largeKey, minio.GetObjectOptions{})
				if err != nil {
					return err
				}
				defer body.Close()
				_, err = io.Copy(f, body)
				return err
			}),
		},
	}
}

// toFile lets download fill a new file.
func toFile(download func(ctx context.Context, f *os.File) error) func(ctx context.Context, name string) error {
	return func(ctx context.Context, name string) error {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		return errors.Join(download(ctx, f), f.Close())
	}
}

func noPreparation() error { return nil }

// measuredLarge is a library by what do takes, each time after prepare.
func measuredLarge(row, lib string, prepare, do func() error) contestant {
	return contestant{lib, func(b *testing.B) {
		var wall, cpu, heap []float64
		for b.Loop() {
			if err := prepare(); err != nil {
				b.Fatal(err)
			}
			var took span
			peak, err := peakHeap(func() (err error) {
				took, err = timed(do)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			wall, cpu, heap = append(wall, took.wall.Seconds()), append(cpu, took.cpu.Seconds()), append(heap, peak)
		}
		note(b, row, lib, seconds, wall...)
		note(b, row, lib, cpuSeconds, cpu...)
		note(b, row, lib, heapMiB, heap...)
	}}
}

// writeLarge writes a file that does not compress.
func writeLarge(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := io.CopyN(w, rand.NewChaCha8([32]byte{}), largeSize()); err != nil {
		return err
	}
	return w.Flush()
}

// withLarge gives do the file, open at its beginning.
func withLarge(b *testing.B) func(do func(f *os.File) error) error {
	name := filepath.Join(b.TempDir(), "large")
	if err := writeLarge(name); err != nil {
		b.Fatal(err)
	}
	return func(do func(f *os.File) error) error {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return do(f)
	}
}

func allLarge(b *testing.B, s *server) []largePeer {
	return append(largePeers(s), libraryLarge(openLibrary(b, s)))
}

// BenchmarkUploadFile puts one large file to MinIO.
func BenchmarkUploadFile(b *testing.B) {
	with := withLarge(b)
	var all []contestant
	for _, p := range allLarge(b, need(b, minioInstance)) {
		all = append(all, measuredLarge(rowUploadFile, p.lib, noPreparation, func() error {
			return with(func(f *os.File) error { return p.uploadFile(context.Background(), f) })
		}))
	}
	compare(b, len(all), all)
}

// BenchmarkUploadStream puts the same as a stream.
func BenchmarkUploadStream(b *testing.B) {
	with := withLarge(b)
	var all []contestant
	for _, p := range allLarge(b, need(b, minioInstance)) {
		all = append(all, measuredLarge(rowUploadStream, p.lib, noPreparation, func() error {
			return with(func(f *os.File) error { return p.uploadStream(context.Background(), struct{ io.Reader }{f}) })
		}))
	}
	compare(b, len(all), all)
}

// BenchmarkDownloadFile gets one large object to a file.
func BenchmarkDownloadFile(b *testing.B) {
	peers := allLarge(b, need(b, minioInstance))
	err := withLarge(b)(func(f *os.File) error {
		body, err := maskstore.FileBody(f.Name())
		if err != nil {
			return err
		}
		largeSum = body.SHA256
		return peers[0].uploadFile(context.Background(), f)
	})
	if err != nil {
		b.Fatal(err)
	}
	target := filepath.Join(b.TempDir(), "target")
	remove := func() error { return os.RemoveAll(target) }
	var all []contestant
	for _, p := range peers {
		all = append(all, measuredLarge(rowDownload, p.lib, remove, func() error {
			if err := p.download(context.Background(), target); err != nil {
				return err
			}
			if info, err := os.Stat(target); err != nil || info.Size() != largeSize() {
				return fmt.Errorf("got %v: %w", info, err)
			}
			return nil
		}))
	}
	compare(b, len(all), all)
}
