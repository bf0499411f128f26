package maskstoretest

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/pacs-extension/maskstore"
)

// cancelled runs do, each time after ready, with contexts that end on its way, the last about when it is done. Each time
// check is told whether do gave no error.
func (e *env) cancelled(ready func(), do func(context.Context) error, check func(done bool)) {
	e.Helper()
	whole := func() time.Duration {
		ready()
		begun := time.Now()
		e.must(do(e.Context()))
		took := time.Since(begun)
		check(true)
		return took
	}
	took := whole()
	const points = 4
	for i := 1; i <= points; i++ {
		ready()
		ctx, cancel := context.WithCancel(e.Context())
		timer := time.AfterFunc(took*time.Duration(i)/points, cancel)
		err := do(ctx)
		timer.Stop()
		cancel()
		if err != nil {
			e.wantErr(err, context.Canceled)
		}
		check(err == nil)
	}
	whole() // a server may do yet what was cut off: this gives it the time, before all is deleted
}

// wantEither fails unless what lies at the key is new or, where that was not done, old.
func (e *env) wantEither(name, new, old string, done bool) {
	e.Helper()
	_, got, err := e.get(e.key(name), nil)
	e.must(err)
	if got != new && (done || got != old) {
		e.Errorf("%s holds %s; done is %v", name, brief(got), done)
	}
}

// groupCall is something done to or with a group: ready gives what does it, through a storage.
type groupCall func(e *groupEnv, id string) func(ctx context.Context, s maskstore.ObjectStorage) error

// of gives a call that begins with a committed revision.
func of(do func(ctx context.Context, e *groupEnv, g *maskstore.Group) error) func(*groupEnv) {
	return cancels(func(e *groupEnv, id string) func(context.Context, maskstore.ObjectStorage) error {
		e.save(e.group(id), files(3, 1))
		return func(ctx context.Context, s maskstore.ObjectStorage) error { return do(ctx, e, e.groupOn(s, id)) }
	})
}

// ofUpload gives a call that begins with an upload over a committed revision, all masks of which are put.
func ofUpload(do func(context.Context, *maskstore.Group, *maskstore.GroupUpload, map[string]string) error) func(*groupEnv) {
	return cancels(func(e *groupEnv, id string) func(context.Context, maskstore.ObjectStorage) error {
		e.save(e.group(id), files(3, 1))
		up := e.begin(e.group(id), hashed(files(3, 2)), nil)
		etags := e.putAll(up, files(3, 2))
		return func(ctx context.Context, s maskstore.ObjectStorage) error {
			return do(ctx, e.groupOn(s, id), up, etags)
		}
	})
}

// groupCancelTests end a call's context before it, at its first and at its last request.
var groupCancelTests = map[string]func(*groupEnv){
	"Begin": of(func(ctx context.Context, _ *groupEnv, g *maskstore.Group) error {
		_, err := g.Begin(ctx, hashed(files(3, 2)), &maskstore.BeginOptions{Supersede: true})
		return err
	}),
	"Renew": ofUpload(func(
		ctx context.Context, g *maskstore.Group, up *maskstore.GroupUpload, etags map[string]string,
	) error {
		_, err := g.Renew(ctx, up.UploadID, etags, nil)
		return err
	}),
	"Complete": ofUpload(func(
		ctx context.Context, g *maskstore.Group, up *maskstore.GroupUpload, etags map[string]string,
	) error {
		_, err := g.Complete(ctx, up.UploadID, etags, &maskstore.CompleteOptions{VerifyPNG: true})
		return err
	}),
	"Upload": of(func(ctx context.Context, _ *groupEnv, g *maskstore.Group) error {
		_, err := g.Upload(ctx, files(3, 2), &maskstore.GroupUploadOptions{BeginOptions: maskstore.BeginOptions{Supersede: true}})
		return err
	}),
	"Delete": of(func(ctx context.Context, _ *groupEnv, g *maskstore.Group) error { return g.Delete(ctx) }),
	"Adopt": cancels(func(e *groupEnv, id string) func(context.Context, maskstore.ObjectStorage) error {
		for i := range 3 {
			e.overwrite(e.key(e.group(id), i), maskPNG(byte(i), 1))
		}
		return func(ctx context.Context, s maskstore.ObjectStorage) error {
			_, err := e.groupOn(s, id).Adopt(ctx, nil)
			return err
		}
	}),
	"Sweep": cancels(func(e *groupEnv, id string) func(context.Context, maskstore.ObjectStorage) error {
		e.begin(e.group(id), hashed(files(3, 1)), nil)
		e.wait(26 * time.Hour)
		return func(ctx context.Context, s maskstore.ObjectStorage) error {
			_, err := maskstore.Sweep(ctx, s, &maskstore.SweepOptions{Annotation: e.annotation, Now: e.now})
			return err
		}
	}),
	"Manifest": of(func(ctx context.Context, _ *groupEnv, g *maskstore.Group) error {
		_, err := g.Manifest(ctx)
		return err
	}),
	"Masks": of(func(ctx context.Context, _ *groupEnv, g *maskstore.Group) (err error) {
		for _, err = range g.Masks(ctx) {
		}
		return err
	}),
	"DownloadURLs": of(func(ctx context.Context, _ *groupEnv, g *maskstore.Group) error {
		_, _, err := g.DownloadURLs(ctx, nil)
		return err
	}),
	"Download": of(func(ctx context.Context, e *groupEnv, g *maskstore.Group) error {
		dir := filepath.Join(e.TempDir(), "masks")
		_, err := g.Download(ctx, dir)
		if err != nil {
			e.wantNoFiles(dir)
		}
		return err
	}),
	"Groups": cancels(func(e *groupEnv, id string) func(context.Context, maskstore.ObjectStorage) error {
		e.save(e.group(id), files(3, 1))
		return func(ctx context.Context, s maskstore.ObjectStorage) (err error) {
			for _, err = range maskstore.Groups(ctx, s, e.annotation, nil) {
			}
			return err
		}
	}),
}

// cancels gives the test of a call: it says that it was cancelled, and when it is made again, it does what it is to do.
func cancels(call groupCall) func(*groupEnv) {
	return func(e *groupEnv) {
		sound := &hooked{ObjectStorage: e.storage}
		e.must(call(e, "sound")(e.Context(), sound))
		for name, at := range map[string]int{"before": 0, "first": 1, "last": len(sound.calls)} {
			do := call(e, name)
			ctx, cancel := context.WithCancel(e.Context())
			var mu sync.Mutex
			n := 0
			if at == 0 {
				cancel()
			}
			err := do(ctx, &hooked{ObjectStorage: e.storage, before: func(string, string) error {
				mu.Lock()
				defer mu.Unlock()
				if n++; n == at {
					cancel()
				}
				return nil
			}})
			cancel()
			if typed := (*maskstore.Error)(nil); !errors.Is(err, context.Canceled) || !errors.As(err, &typed) {
				e.Errorf("cancelled, %s of %d requests: %T %v", name, len(sound.calls), err, err)
			}
			e.must(do(e.Context(), e.storage))
		}
	}
}
