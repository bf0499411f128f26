package integration

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
)

const clusterNodes = 4

// newCluster gives a site of four nodes. At full length clients go through all of them: what a node was doing when it was
// killed stays locked for up to two minutes. Else they go through two that are not killed.
func newCluster(t *testing.T) *site {
	t.Helper()
	s := newSite(t, clusterNodes, t.TempDir())
	s.files = noise(atLength(200, 2000))
	if !long {
		if err := s.nodes.Through(0, 3); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// kill gives what kills nodes once half of a group is through, and how many masks were to come then; 0: it was not.
func (s *site) kill(t *testing.T, nodes ...int) (onProgress func(maskstore.Progress), left *int) {
	var once sync.Once
	left = new(int)
	return func(p maskstore.Progress) {
		if p.Done < p.Total/2 {
			return
		}
		once.Do(func() {
			for _, i := range nodes {
				if err := s.nodes.Kill(i); err != nil {
					t.Error(err)
					return
				}
			}
			*left = p.Total - p.Done
		})
	}, left
}

// restart starts nodes that were killed, and waits until the cluster is whole.
func (s *site) restart(t *testing.T, nodes ...int) {
	t.Helper()
	for _, i := range nodes {
		if err := s.nodes.Restart(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.nodes.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestFaultsNodeKilled kills one of four nodes in the middle of a group.
func TestFaultsNodeKilled(t *testing.T) {
	t.Parallel()
	s := newCluster(t)
	check := func(row, group string, begun time.Time, left int, err error) {
		took := time.Since(begun).Round(time.Millisecond)
		failed := len(s.files)
		if err == nil {
			failed = s.lostMasks(t, group)
		}
		say(t, "one of %d nodes -9, %s, %d masks to come: %d of %d failed, in %v", clusterNodes, row, left, failed,
			len(s.files), took)
		if failed > 0 || left == 0 {
			t.Errorf("%s: %d failed, with %d to come at the kill: %v", row, failed, left, err)
		}
	}

	begun := time.Now()
	onProgress, left := s.kill(t, 1)
	v := &viewer{
		DirectUploader: &maskstore.DirectUploader{Client: s.nodes.Client, KeepGoing: true, OnProgress: onProgress},
		group:          openGroup(s.open(), ""), files: s.files,
	}
	err := v.upload(t.Context())
	check("group by URLs", v.group.ID(), begun, *left, err)

	s.restart(t, 1)
	begun = time.Now()
	const known = "known" // an ID that others may know, so each mask is put by itself
	onProgress, left = s.kill(t, 2)
	_, err = openGroup(s.open(), known).Upload(t.Context(), s.files, &maskstore.GroupUploadOptions{OnProgress: onProgress})
	check("group by Upload", known, begun, *left, err)
}

// TestFaultsTwoNodesKilled kills two of four nodes in the middle of a group: too many for writes, not for reads.
func TestFaultsTwoNodesKilled(t *testing.T) {
	t.Parallel()
	s := newCluster(t)
	committed := openGroup(s.open(), "")
	if _, err := committed.Upload(t.Context(), s.files, nil); err != nil {
		t.Fatal(err)
	}
	s.awaitCopies(t, committed.ID())
	deadline := time.Duration(atLength(3, 30)) * time.Second
	var v *viewer
	write := func(what string, call func(context.Context) error) {
		took, err := mustFail(t, what, deadline, call)
		say(t, "two of %d nodes -9, %s: after %v of at most %v: %v", clusterNodes, what, took, deadline, firstOf(err))
	}
	// A machine that is busy may not come to the middle by the deadline.
	for left := new(int); *left == 0 && !t.Failed(); deadline *= 2 {
		var onProgress func(maskstore.Progress)
		onProgress, left = s.kill(t, 1, 2)
		v = &viewer{
			DirectUploader: &maskstore.DirectUploader{Client: s.nodes.Client, KeepGoing: true, OnProgress: onProgress},
			group:          openGroup(s.open(), ""), files: s.files,
		}
		write("group by URLs", v.upload)
		say(t, "two of %d nodes -9, %d masks to come", clusterNodes, *left)
	}
	var others sync.WaitGroup
	others.Go(func() {
		write("group by Upload", func(ctx context.Context) error {
			_, err := openGroup(s.open(), "").Upload(ctx, s.files, nil)
			return err
		})
	})
	others.Go(func() {
		write("Put", func(ctx context.Context) error {
			_, err := s.open().Put(ctx, "mask/brain/single/0001_x.png", strings.NewReader("x"), nil)
			return err
		})
	})
	others.Wait()

	begun := time.Now()
	lost := s.lostMasks(t, committed.ID())
	say(t, "two of %d nodes -9, reads: %d of %d failed, in %v", clusterNodes, lost, len(s.files),
		time.Since(begun).Round(time.Millisecond))
	if lost > 0 {
		t.Errorf("%d masks cannot be read", lost)
	}

	s.restart(t, 1, 2)
	begun = time.Now()
	v.OnProgress = nil
	if err := v.upload(t.Context()); err != nil {
		t.Fatalf("the nodes are back: %v", err)
	}
	lost = s.awaitMasks(t, v.group.ID())
	say(t, "two of %d nodes back, the group completed: %d of %d lost, in %v", clusterNodes, lost, len(s.files),
		time.Since(begun).Round(time.Millisecond))
	if lost > 0 {
		t.Errorf("%d masks lost", lost)
	}
}

// awaitCopies waits until the nodes that stay have all of a group. A write takes three of the four, and one that was busy
// gets its copy later, at a read for one; a read takes two.
func (s *site) awaitCopies(t *testing.T, group string) {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(time.Second) {
		copies, err := filepath.Glob(filepath.Join(s.dir, "node[03]", s.bucket, "mask", annotation, group, "*", "xl.meta"))
		if err != nil {
			t.Fatal(err)
		}
		want := 2 * (len(s.files) + 1)
		if len(copies) == want {
			return
		}
		if time.Since(begun) > recovery {
			t.Fatalf("the nodes that stay have %d objects of %d", len(copies), want)
		}
		s.lostMasks(t, group) // reads all
	}
}

// awaitMasks counts as lostMasks does, once the nodes, some of which have just come back, give all masks of a group: for
// seconds they may now and then answer 404 for one that is there.
func (s *site) awaitMasks(t *testing.T, group string) int {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(time.Second) {
		lost, err := s.readMasks(t.Context(), group)
		if err == nil {
			return lost
		}
		say(t, "two of %d nodes back: %v", clusterNodes, err)
		if !errors.Is(err, maskstore.ErrReplaced) || time.Since(begun) > recovery {
			t.Error(err)
			return lost
		}
	}
}

// mustFail makes a call that the servers cannot do as it wants. It must fail by its deadline, with an error of ours that is
// the deadline's or says that the server cannot.
func mustFail(
	t *testing.T, what string, deadline time.Duration, call func(context.Context) error,
) (took time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	begun := time.Now()
	err = call(ctx)
	if took = time.Since(begun).Round(time.Millisecond); took > deadline+patience {
		t.Errorf("%s: came back %v after its deadline", what, took-deadline)
	}
	if !isTyped(err, context.DeadlineExceeded) && !isTyped(err, maskstore.ErrUnavailable) {
		t.Errorf("%s: error is %#v; want the deadline's, or ErrUnavailable", what, err)
	}
	return took, err
}

// firstOf gives the first of the errors of many objects.
func firstOf(err error) error {
	if all := maskstore.KeyErrors(err); len(all) > 1 {
		return fmt.Errorf("%d errors, the first: %w", len(all), all[0])
	}
	return err
}
