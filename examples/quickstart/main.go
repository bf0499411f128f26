// Quickstart runs the whole way of a mask group on this machine: a PACS server and a storage, both on loopback HTTP, and
// a viewer without credentials that puts its masks straight to the storage and gets them back.
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart -dir folder/of/NNNN_label.png
//
// With APP_OBJECT_STORAGE__PROVIDER and so on in the environment (.env.example), it runs on that MinIO or S3 instead of
// on memory; there, a second run with the same -group puts only what changed.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/examples/internal/setup"
)

const annotation = "quickstart"

func main() {
	var dir, group string
	flag.StringVar(&dir, "dir", "", "a folder of NNNN_label.png to upload, in place of drawn masks")
	flag.StringVar(&group, "group", "", "the group's ID, in place of a new one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, dir, group); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, dir, group string) error {
	storage, err := openStorage(ctx)
	if err != nil {
		return err
	}
	defer storage.close()
	return show(ctx, out, storage, dir, group)
}

// show does everything once, and says so.
func show(ctx context.Context, out io.Writer, storage *storage, dir, group string) error {
	// The server. Its hook would look at a session or a token; here everybody is "demo".
	var throughPACS traffic
	pacs, stop, err := setup.Serve(throughPACS.count(maskstore.NewHandler(storage, &maskstore.HandlerOptions{
		Authorize: func(*http.Request, string, maskstore.Action) (string, error) { return "demo", nil },
	})))
	if err != nil {
		return err
	}
	defer stop()
	fmt.Fprintf(out, "\nPACS server  %s   hands out signed URLs\nstorage      %s\n\n", pacs, storage.name)

	// The viewer. It knows the PACS server's address, and nothing of the storage.
	v := viewer{server: pacs, onProgress: progressBar(out)}
	say := stopwatch(out)

	masks, err := loadMasks(dir)
	if err != nil {
		return err
	}
	if dir == "" {
		say("drew", "a liver and a spleen over %d slices: %d PNGs, %s", organSlices, len(masks), kilobytes(sizeOf(masks)))
	} else {
		say("read", "%d PNGs, %s, from %s", len(masks), kilobytes(sizeOf(masks)), dir)
	}

	upload, err := v.begin(ctx, annotation, group, masks)
	if err != nil {
		return err
	}
	say("begun", "group %s, revision %d: %d signed URLs, good until %s", upload.GroupID, upload.Revision,
		upload.urls(), upload.Expires.Local().Format(time.TimeOnly))

	etags, err := v.put(ctx, upload, masks)
	if err != nil {
		return err
	}
	say("put", "%d masks straight to the storage; %d lay there already", len(etags), len(upload.Masks)-upload.urls())

	verdicts, err := v.complete(ctx, annotation, upload, etags)
	if err != nil {
		return err
	}
	say("completed", "the server found all %d masks as declared, and committed", verdicts)

	groups, err := v.list(ctx, annotation)
	if err != nil {
		return err
	}
	say("listed", "%d group(s) of annotation %q", groups, annotation)

	back, err := v.download(ctx, annotation, upload.GroupID)
	if err != nil {
		return err
	}
	say("downloaded", "%d masks through signed URLs", len(back))

	same := 0
	for _, m := range masks {
		if bytes.Equal(back[m.name()], m.data) {
			same++
		}
	}
	if same != len(masks) || len(back) != len(masks) {
		return fmt.Errorf("only %d of %d masks came back byte for byte", same, len(masks))
	}
	say("compared", "all %d masks came back byte for byte", same)

	fmt.Fprintf(out, "\nThrough the PACS server went %d mask bytes, and %s of JSON in %d requests.\n",
		throughPACS.other.Load(), kilobytes(throughPACS.json.Load()), throughPACS.requests.Load())
	if storage.traffic != nil {
		fmt.Fprintf(out, "Through the storage went %s of masks in %d requests.\n",
			kilobytes(storage.traffic.other.Load()), storage.traffic.requests.Load())
	}
	if n := throughPACS.other.Load(); n != 0 {
		return fmt.Errorf("%d bytes that are no JSON went through the PACS server", n)
	}
	return nil
}
