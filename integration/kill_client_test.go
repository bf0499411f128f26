package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
)

// clientVariable is set where the test binary is not to test, but to be a client that a test kills. What it is to do it
// reads from its standard input.
const clientVariable = "MASKSTORE_TEST_CLIENT"

// job is an upload that a client process makes.
type job struct {
	Endpoint, Region, AccessKey, SecretKey, Bucket string

	Group string                           // whose masks are uploaded by a batch
	URLs  map[string]maskstore.RevealedURL // by the keys of masks, which are uploaded by them
	Masks int                              // how many

	File, Key, Journal string // a file to upload in parts
}

// beClient does the job, and ends the process.
func beClient() {
	var j job
	err := json.NewDecoder(os.Stdin).Decode(&j)
	if err == nil {
		err = j.do(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func (j *job) do(ctx context.Context) error {
	s, err := maskstore.NewMinIO(ctx, maskstore.S3Options{
		Bucket: j.Bucket, Region: j.Region, Endpoint: j.Endpoint, AccessKey: j.AccessKey, SecretKey: maskstore.Secret(j.SecretKey),
	})
	if err != nil {
		return err
	}
	files := noise(j.Masks)
	begin := func(group string) { fmt.Println("begun", group) } // from now on the test may kill us
	switch {
	case j.Key != "":
		begin("")
		_, err = maskstore.UploadFile(ctx, s, j.Key, j.File, &maskstore.UploadOptions{Journal: maskstore.DirJournal(j.Journal)})
		return err
	case j.URLs != nil:
		items := make([]maskstore.DirectItem, 0, len(files))
		for _, f := range files {
			key := maskstore.MaskKey{Annotation: annotation, Group: j.Group, Slice: f.Slice, Label: f.Label}.String()
			items = append(items, maskstore.DirectItem{Key: key, URL: j.URLs[key].SignedURL(), Body: f.Body})
		}
		begin(j.Group)
		_, err = new(maskstore.DirectUploader).UploadAll(ctx, items)
		return err
	default:
		g, err := maskstore.NewGroup(s, annotation, "", nil) // whose new ID lets it go by a batch
		if err != nil {
			return err
		}
		begin(g.ID())
		_, err = g.Upload(ctx, files, nil)
		return err
	}
}

// run runs the job in a process of its own, which is killed that long after it has begun; 0: not. It says for how long the
// job ran, whether it was killed, and which group it has begun.
func (j *job) run(t *testing.T, after time.Duration) (took time.Duration, killed bool, group string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), clientVariable+"=1")
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(input)), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also where the test panics
	output, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	begun := time.Now()
	if err == nil && after > 0 {
		defer time.AfterFunc(after, func() { cmd.Process.Kill() }).Stop()
	}
	err = cmd.Wait()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	killed = status.Signaled() && status.Signal() == syscall.SIGKILL
	if err != nil && !killed {
		t.Fatalf("the client: %v", err)
	}
	return time.Since(begun), killed, strings.TrimSpace(strings.TrimPrefix(line, "begun"))
}

// TestFaultsClientKilled kills clients at random points of their uploads, which another client settles.
func TestFaultsClientKilled(t *testing.T) {
	t.Parallel()
	for name, newSave := range saves {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t, 1, t.TempDir())
			site.files = noise(atLength(100, 400))
			points, lost := 0, 0
			usual := time.Duration(0)
			for points < atLength(5, 50) {
				s := newSave(site)
				j := s.job(t)
				after := time.Duration(0)
				if usual > 0 {
					after = 1 + rand.N(usual)
				}
				took, killed, group := j.run(t, after)
				if group != "" {
					s.group = group
				}
				if !killed {
					usual = took
				} else {
					points++
				}
				if err := s.settle(t.Context()); err != nil {
					t.Errorf("killed after %v of %v, settled: %v", after, usual, err)
				}
				lost += s.lost(t)
			}
			say(t, "client -9, %s: %d points, all settled, %d lost, %d uploads left", name, points, lost, site.left)
			if lost > 0 {
				t.Errorf("%d lost", lost)
			}
		})
	}
}
