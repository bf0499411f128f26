package integration

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
)

// TestFaultsServerKilled kills the only server at random points of uploads. Every other time it is started again at once,
// which the upload is to ride out; the other times the upload is given up, and another client settles it when the server is
// back.
func TestFaultsServerKilled(t *testing.T) {
	t.Parallel()
	for name, newSave := range saves {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t, 1, t.TempDir())
			site.files = noise(atLength(100, 400))
			points, rodeOut, tooLate, lost := 0, 0, 0, 0
			usual := time.Duration(0)
			for points < atLength(5, 50) {
				s := newSave(site)
				ctx, giveUp := context.WithCancel(t.Context())
				defer giveUp()
				begun, done := time.Now(), make(chan error, 1)
				go func() { done <- s.upload(ctx) }()
				after := time.Hour
				if usual > 0 {
					after = rand.N(usual)
				}
				select {
				case err := <-done: // the first, or one that was quick
					if err != nil {
						t.Fatalf("undisturbed: %v", err)
					}
					usual = time.Since(begun)
					lost += s.lost(t)
					continue
				case <-time.After(after):
				}
				broken := site.broken.Load()
				if err := site.nodes.Kill(0); err != nil {
					t.Fatal(err)
				}
				patient := points%2 == 0
				settle, what, during := s.settle, "settled", true
				if !patient {
					giveUp()
					err := <-done
					if during = err != nil; during && !isTyped(err, context.Canceled) {
						t.Errorf("given up after %v of %v: error is %#v", after, usual, err)
					}
				}
				if err := site.nodes.Restart(0); err != nil {
					t.Fatal(err)
				}
				if patient {
					settle, what = func(context.Context) error { return <-done }, "ridden out"
				}
				if err := settle(t.Context()); err != nil {
					t.Errorf("killed after %v of %v, %s: %v", after, usual, what, err)
				}
				if patient {
					during = site.broken.Load() > broken
				}
				switch {
				case !during: // the upload had just ended
					tooLate++
				case patient:
					rodeOut++
					fallthrough
				default:
					points++
				}
				lost += s.lost(t)
			}
			say(t, "minio -9, %s: %d points within the upload (%d more came too late), %d ridden out, %d given up and settled, "+
				"%d lost, %d uploads left", name, points, tooLate, rodeOut, points-rodeOut, lost, site.left)
			if lost > 0 {
				t.Errorf("%d lost", lost)
			}
		})
	}
}

// isTyped reports whether err is an error of ours of that kind.
func isTyped(err, kind error) bool {
	_, ok := errors.AsType[*maskstore.Error](err)
	return ok && errors.Is(err, kind)
}
