package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
)

// The context ends at each single request of each call. No part of an upload stays, and what was not done says so.
func TestFaultsCancelled(t *testing.T) {
	e := newFaultEnv(t)
	large := content(17 << 20) // of two parts
	largeKey := e.key()
	if _, err := e.sound.Put(t.Context(), largeKey, bytes.NewReader(large), nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "large")
	if err := os.WriteFile(name, large, 0o600); err != nil {
		t.Fatal(err)
	}
	calls := mutations(e)
	for op, do := range map[string]func(ctx context.Context, s *maskstore.MinIO, key string) error{
		"Put of a large body": func(ctx context.Context, s *maskstore.MinIO, key string) error {
			_, err := s.Put(ctx, key, bytes.NewReader(large), nil)
			return err
		},
		"UploadFile": func(ctx context.Context, s *maskstore.MinIO, key string) error {
			_, err := maskstore.UploadFile(ctx, s, key, name, nil)
			return err
		},
	} {
		calls = append(calls, mutation{op, "", nil, do, nil, lies(large)})
	}
	for op, do := range map[string]func(ctx context.Context, s *maskstore.MinIO, key string) error{
		"Stat": func(ctx context.Context, s *maskstore.MinIO, key string) error {
			_, err := s.Stat(ctx, key)
			return err
		},
		"Get": func(ctx context.Context, s *maskstore.MinIO, key string) error {
			_, err := readAll(ctx, s, key, nil)
			return err
		},
		"DownloadFile": func(ctx context.Context, s *maskstore.MinIO, key string) error {
			to := filepath.Join(dir, filepath.Base(key))
			_, err := maskstore.DownloadFile(ctx, s, largeKey, to, nil)
			if got, readErr := os.ReadFile(to); err != nil != (readErr != nil) || err == nil && !bytes.Equal(got, large) {
				t.Errorf("DownloadFile gives %v, and a file of %d bytes", err, len(got))
			}
			return err
		},
		"List": func(ctx context.Context, s *maskstore.MinIO, key string) error {
			for _, err := range s.List(ctx, key, nil) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"DeletePrefix": func(ctx context.Context, s *maskstore.MinIO, key string) error {
			_, err := maskstore.DeletePrefix(ctx, s, key+"/", nil)
			return err
		},
		"UploadAll": func(ctx context.Context, s *maskstore.MinIO, key string) error {
			items := make([]maskstore.UploadItem, 20)
			for i := range items {
				items[i] = maskstore.UploadItem{Key: fmt.Sprintf("%s/%d", key, i), Body: maskstore.BytesBody(newContent)}
			}
			_, err := maskstore.UploadAll(ctx, s, items, nil)
			return err
		},
	} {
		calls = append(calls, mutation{op, "", setUpOld, do, nil, func(*faultEnv, string) bool { return true }})
	}
	type point struct {
		mutation
		n      int
		before bool
	}
	var all []point
	seen := map[string]bool{}
	for _, call := range calls {
		if seen[call.name] { // for another request of its, that loses its answer
			continue
		}
		seen[call.name] = true
		key := call.prepare(e)
		s, f := e.faulty(nil)
		if err := call.do(t.Context(), s, key); !errors.Is(err, call.want) {
			t.Fatalf("%s without a fault: %v", call.name, err)
		}
		for n := range f.Calls() {
			if wholeTable || n%2 == 0 {
				all = append(all, point{call, n + 1, true})
			}
			if wholeTable || n%2 == 1 {
				all = append(all, point{call, n + 1, false})
			}
		}
	}
	row := newTally(t)
	each(all, 8, func(p point) {
		row.count("points")
		key := p.prepare(e)
		s, ctx := e.cancelAt(p.n, p.before)
		begun := time.Now()
		err := p.do(ctx, s, key)
		row.hit(ended(ctx), "%s, request %d, before it %v", p.name, p.n, p.before)
		if took := time.Since(begun); took > patience {
			row.count("late")
			t.Errorf("%s, cancelled at request %d: came back after %v", p.name, p.n, took)
		}
		switch {
		case errors.Is(err, context.Canceled):
			row.count("told as cancelled")
			if _, ok := errors.AsType[*maskstore.Error](err); !ok {
				t.Errorf("%s: %T %v", p.name, err, err)
			}
		case errors.Is(err, p.want) && p.done(e, key):
			row.count("done by then")
		default:
			row.count("wrong outcomes")
			t.Errorf("%s, cancelled at request %d, before it %v: %v", p.name, p.n, p.before, err)
		}
		open, parts := e.uploads(key)
		row.add("uploads left", open)
		row.add("parts left", parts)
		if open > 0 {
			t.Errorf("%s, cancelled at request %d, before it %v: %d uploads of %d parts are left", p.name, p.n, p.before, open, parts)
		}
	})
	row.print(fmt.Sprintf("cancelled at every request of %d calls, back within %v", len(seen), patience),
		[]string{"points", "told as cancelled", "done by then"}, "wrong outcomes", "late", "uploads left", "parts left")
}
