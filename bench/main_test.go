package bench

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"

	"github.com/pacs-extension/maskstore"
	"golang.org/x/sync/errgroup"
)

const (
	bucket    = "bench"
	region    = "us-east-1"
	accessKey = "benchbench"
	secretKey = "bench-secret-of-no-worth"

	// concurrency is how many requests every library has under way at a time.
	concurrency = maskstore.DefaultConcurrency
)

func TestMain(m *testing.M) {
	if delay, ok := os.LookupEnv(nullServerVariable); ok {
		serveNull(delay)
		return
	}
	code := m.Run()
	stopServers()
	printTables(os.Stdout)
	os.Exit(code)
}

// object is something to put.
type object struct {
	key    string
	data   []byte
	sha256 maskstore.SHA256
}

// generatedMasks gives n PNG files of 2.7 KB, about what masks of a CT take, the same ones each time.
func generatedMasks(n int) []object {
	rnd := rand.NewChaCha8([32]byte{})
	masks := make([]object, n)
	for i := range masks {
		img := image.NewGray(image.Rect(0, 0, 52, 51))
		rnd.Read(img.Pix)
		var file bytes.Buffer
		if err := png.Encode(&file, img); err != nil {
			panic(err)
		}
		masks[i] = newObject(maskstore.MaskKey{Annotation: "1", Group: "bench", Slice: i, Label: "liver"}, file.Bytes())
	}
	return masks
}

func newObject(key maskstore.MaskKey, data []byte) object {
	return object{key.String(), data, maskstore.SumSHA256(data)}
}

// each calls do for all objects, by as many goroutines as the concurrency. They stay, so that no library pays for
// growing a new stack each time.
func each(objects []object, do func(ctx context.Context, o object) error) error {
	group, ctx := errgroup.WithContext(context.Background())
	var next atomic.Int64
	for range concurrency {
		group.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(objects)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := do(ctx, objects[i]); err != nil {
					return fmt.Errorf("%s: %w", objects[i].key, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}
