package maskstore

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// lingering is a storage that takes a second for each mask, and does not hear that a caller has gone: what was begun
// still lands, as it does with a server.
type lingering struct{ *Memory }

func (l lingering) Put(ctx context.Context, key string, body io.Reader, opts *PutOptions) (ObjectInfo, error) {
	if _, err := ParseMaskKey(key); err != nil {
		return l.Memory.Put(ctx, key, body, opts)
	}
	type answer struct {
		info ObjectInfo
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		time.Sleep(time.Second)
		info, err := l.Memory.Put(context.WithoutCancel(ctx), key, body, opts)
		answers <- answer{info, err}
	}()
	select {
	case a := <-answers:
		return a.info, a.err
	case <-ctx.Done():
		return ObjectInfo{}, opError("Put", key, nil, ctx.Err())
	}
}

// TestGroupUploadPastALatePut holds that a mask which something else has put meanwhile does not cut off the PUTs of the
// others: each of those would land later, in the way of the next round.
func TestGroupUploadPastALatePut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var files []MaskFile
		for i := range 100 {
			files = append(files, MaskFile{Slice: i, Label: "liver", Body: BytesBody(testPNG(t, uint8(i)))})
		}
		storage := lingering{new(Memory)}
		g, err := NewGroup(storage, "a", "g", nil)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second/2, func() {
			if _, err := storage.Memory.Put(t.Context(), g.prefix+maskName(0, "liver"), strings.NewReader("other"), nil); err != nil {
				t.Error(err)
			}
		})
		if _, err := g.Upload(t.Context(), files, nil); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // what lingers ends
	})
}
