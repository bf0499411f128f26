package maskstoretest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

const faultyKey = "mask/a/g/0001_liver.png"

// Without a plan it changes nothing, and hands out all capabilities.
func TestFaultyStorage(t *testing.T) {
	faulty := &maskstoretest.Faulty{}
	newStorage := func(t *testing.T) maskstore.ObjectStorage { return faulty.Storage(newBatching(t)) }
	opts := &maskstoretest.Options{Client: &http.Client{Transport: faulty.RoundTripper(nil)}}
	maskstoretest.Test(t, newStorage, opts)
	maskstoretest.TestGroups(t, newStorage, opts)
	seen := map[string]bool{}
	for i, c := range faulty.Calls() {
		if c.N != i+1 {
			t.Fatalf("call %d has the number %d", i+1, c.N)
		}
		seen[c.Op] = true
	}
	for _, op := range []string{
		"UploadURL", "DownloadURL", "Put", "Get", "Stat", "Delete", "List", "Copy", "CreateMultipartUpload", "UploadPart",
		"ListParts",
		"CompleteMultipartUpload", "AbortMultipartUpload", "ListMultipartUploads", "PutBatch", "PutObject", "GetObject",
	} {
		if !seen[op] {
			t.Errorf("%s did not pass", op)
		}
	}
	maskstoretest.Test(t, func(t *testing.T) maskstore.ObjectStorage { return faulty.Storage(bare{newMemory(t)}) },
		&maskstoretest.Options{NoSigning: true, NoCopy: true, NoMultipart: true, NoBatch: true})
	_, err := faulty.Storage(newMemory(t)).Put(t.Context(), faultyKey, nil, nil)
	if !errors.Is(err, maskstore.ErrInvalidArgument) {
		t.Errorf("a Put without a body: %v", err)
	}
}

// Each fault of a call does what it says, to what is stored and to what comes back.
func TestFaultyCalls(t *testing.T) {
	boom := errors.New("boom")
	const content = "hello"
	for name, row := range map[string]struct {
		fault  maskstoretest.Fault
		err    error // of a Put
		stored string
		read   string // by a Get
		getErr error
	}{
		"nothing":         {maskstoretest.Fault{}, nil, content, content, nil},
		"error":           {maskstoretest.Fault{Err: boom}, boom, "", "", boom},
		"lost":            {maskstoretest.Fault{Done: true}, syscall.ECONNRESET, content, "", syscall.ECONNRESET},
		"lost by error":   {maskstoretest.Fault{Done: true, Err: boom}, boom, content, "", boom},
		"sent: reset":     {maskstoretest.Fault{Request: maskstoretest.Damage{ResetAt: 5}}, syscall.ECONNRESET, "", content, nil},
		"sent: first":     {maskstoretest.Fault{Request: maskstoretest.Damage{ResetAt: 1}}, syscall.ECONNRESET, "", content, nil},
		"sent: past it":   {maskstoretest.Fault{Request: maskstoretest.Damage{ResetAt: 6, StallAt: 6, FlipBit: 41}}, nil, content, content, nil},
		"sent: flipped":   {maskstoretest.Fault{Request: maskstoretest.Damage{FlipBit: 5*8 - 2}}, nil, "hellO", content, nil},
		"sent: slow":      {maskstoretest.Fault{Request: maskstoretest.Damage{Every: time.Second}}, nil, content, content, nil},
		"sent: stalls":    {maskstoretest.Fault{Request: maskstoretest.Damage{StallAt: 3}}, context.DeadlineExceeded, "", content, nil},
		"sent: too slow":  {maskstoretest.Fault{Request: maskstoretest.Damage{Every: time.Minute}}, context.DeadlineExceeded, "", content, nil},
		"comes: reset":    {maskstoretest.Fault{Response: maskstoretest.Damage{ResetAt: 5}}, nil, content, "hell", syscall.ECONNRESET},
		"comes: past it":  {maskstoretest.Fault{Response: maskstoretest.Damage{ResetAt: 6, StallAt: 6, FlipBit: 41}}, nil, content, content, nil},
		"comes: flipped":  {maskstoretest.Fault{Response: maskstoretest.Damage{FlipBit: 6}}, nil, content, "", maskstore.ErrChecksum},
		"comes: slow":     {maskstoretest.Fault{Response: maskstoretest.Damage{Every: time.Second}}, nil, content, content, nil},
		"comes: stalls":   {maskstoretest.Fault{Response: maskstoretest.Damage{StallAt: 3}}, nil, content, "he", context.DeadlineExceeded},
		"waits":           {maskstoretest.Fault{Delay: time.Second}, nil, content, content, nil},
		"waits too long":  {maskstoretest.Fault{Delay: time.Hour}, context.DeadlineExceeded, "", "", context.DeadlineExceeded},
		"waits and fails": {maskstoretest.Fault{Delay: time.Second, Err: boom}, boom, "", "", boom},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				memory := &maskstore.Memory{}
				hooked := 0
				row.fault.Hook = func() { hooked++ }
				faulty := &maskstoretest.Faulty{Plan: func(maskstoretest.Call) maskstoretest.Fault { return row.fault }}
				_, err := faulty.Storage(memory).Put(ctx, faultyKey, strings.NewReader(content), nil)
				wantFault(t, err, row.err)
				if got, _ := get(t.Context(), memory); got != row.stored {
					t.Errorf("%q is stored; want %q", got, row.stored)
				}
				if _, err := memory.Put(t.Context(), faultyKey, strings.NewReader(content), nil); err != nil {
					t.Fatal(err)
				}
				ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				begun := time.Now()
				got, err := get(ctx, faulty.Storage(memory))
				wantFault(t, err, row.getErr)
				if got != row.read {
					t.Errorf("read %q; want %q", got, row.read)
				}
				if took, least := time.Since(begun), row.fault.Delay+row.fault.Response.Every*5; err == nil && took < least {
					t.Errorf("took %v; want %v", took, least)
				}
				if hooked != 2 {
					t.Errorf("the hook was called %d times", hooked)
				}
			})
		})
	}
}

// wantFault fails unless err is want, as a storage gives it.
func wantFault(t *testing.T, err, want error) {
	t.Helper()
	kind := maskstore.ErrUnavailable
	switch want {
	case nil:
		if err != nil {
			t.Errorf("error is %v", err)
		}
		return
	case context.DeadlineExceeded:
		kind = nil
	case maskstore.ErrChecksum:
		kind = want
	}
	e, ok := errors.AsType[*maskstore.Error](err)
	if !errors.Is(err, want) || !ok || e.Op == "" || e.Kind != kind {
		t.Errorf("error is %v; want %v, of the kind %v", err, want, kind)
	}
}

func get(ctx context.Context, s maskstore.ObjectStorage) (string, error) {
	object, err := s.Get(ctx, faultyKey, nil)
	if err != nil {
		return "", err
	}
	defer object.Body.Close()
	data, err := io.ReadAll(object.Body)
	if n, again := object.Body.Read(make([]byte, 1)); n > 0 || again == nil || err != nil && again.Error() != err.Error() {
		return string(data), fmt.Errorf("a Read after %v gives %d, %v", err, n, again)
	}
	return string(data), err
}

// Where a SHA-256 is known, a damaged bit ends as it does where a server or a storage finds it; elsewhere it goes unnoticed.
func TestFaultyFlippedBitIsTold(t *testing.T) {
	const whole, inParts = faultyKey, "mask/a/g/0002_liver.png"
	content := []byte("hello")
	sum := maskstore.SumSHA256(content)
	flip := maskstoretest.Damage{FlipBit: 6}
	faulty := &maskstoretest.Faulty{Plan: func(maskstoretest.Call) maskstoretest.Fault {
		return maskstoretest.Fault{Request: flip, Response: flip}
	}}
	memory := &maskstore.Memory{}
	storage := faulty.Storage(memory)
	id, err := memory.CreateMultipartUpload(t.Context(), inParts, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := append(bytes.Clone(content), make([]byte, maskstore.MinPartSize)...)
	var made []maskstore.Part
	for i, data := range [][]byte{first, first, content} {
		part, err := memory.UploadPart(t.Context(), inParts, id, i+1, maskstore.BytesBody(data))
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, part)
	}
	parts, _ := maskstore.As[maskstore.MultipartStorage](storage)
	_, err = parts.UploadPart(t.Context(), inParts, id, 4, maskstore.BytesBody(content))
	wantFault(t, err, maskstore.ErrChecksum)
	if _, err := memory.CompleteMultipartUpload(t.Context(), inParts, id, made, nil); err != nil {
		t.Fatal(err)
	}
	_, err = storage.Put(t.Context(), whole, bytes.NewReader(content), &maskstore.PutOptions{SHA256: sum})
	wantFault(t, err, maskstore.ErrChecksum)
	if _, err := memory.Stat(t.Context(), whole); !errors.Is(err, maskstore.ErrNotFound) {
		t.Errorf("what is stored: %v", err)
	}
	if _, err := memory.Put(t.Context(), whole, bytes.NewReader(content), nil); err != nil {
		t.Fatal(err)
	}
	all := maskstore.SumSHA256(slices.Concat(first, first, content))
	for name, row := range map[string]struct {
		key  string
		opts maskstore.GetOptions
		want error
	}{
		"by the caller's":           {whole, maskstore.GetOptions{SHA256: sum}, maskstore.ErrChecksum},
		"by the object's":           {whole, maskstore.GetOptions{}, maskstore.ErrChecksum},
		"a range":                   {whole, maskstore.GetOptions{Length: 3}, nil},
		"the end":                   {whole, maskstore.GetOptions{Offset: 2}, nil},
		"a verified range":          {whole, maskstore.GetOptions{Length: 3, Verify: true}, maskstore.ErrChecksum},
		"a verified range's end":    {whole, maskstore.GetOptions{Offset: 4, Verify: true}, maskstore.ErrChecksum},
		"a verified range of parts": {inParts, maskstore.GetOptions{Offset: 1, Length: 3, Verify: true}, maskstore.ErrChecksum},
		"in parts, by the caller's": {inParts, maskstore.GetOptions{SHA256: all}, maskstore.ErrChecksum},
		"in parts, by theirs":       {inParts, maskstore.GetOptions{}, maskstore.ErrChecksum},
	} {
		t.Run(name, func(t *testing.T) {
			object, err := storage.Get(t.Context(), row.key, &row.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer object.Body.Close()
			got, err := io.ReadAll(object.Body)
			wantFault(t, err, row.want)
			if err == nil && bytes.Contains(content, got) {
				t.Errorf("read %q, which is not damaged", got)
			}
			size := object.Size - row.opts.Offset
			if row.opts.Length > 0 {
				size = row.opts.Length
			}
			if err != nil && int64(len(got)) == size {
				t.Error("all was read before it was told")
			}
			if row.key == inParts && row.opts == (maskstore.GetOptions{}) && len(got) > len(first) {
				t.Errorf("%d bytes were read before it was told, over the first part's %d", len(got), len(first))
			}
		})
	}
}

// What a call fails with is told as a storage tells it.
func TestFaultyErrors(t *testing.T) {
	of := func(kind, err error) error { return &maskstore.Error{Op: "Stat", Key: faultyKey, Kind: kind, Err: err} }
	boom := errors.New("boom")
	own := &maskstore.Error{Op: "HeadObject", Key: "mask/b", Kind: maskstore.ErrThrottled, Err: boom}
	joined := errors.Join(own, own)
	for _, row := range []struct{ err, want error }{
		{boom, of(maskstore.ErrUnavailable, boom)},
		{maskstore.ErrUnavailable, of(maskstore.ErrUnavailable, nil)},
		{maskstore.ErrNotFound, of(maskstore.ErrNotFound, nil)},
		{maskstore.ErrUnsupported, of(maskstore.ErrUnsupported, nil)},
		{context.Canceled, of(nil, context.Canceled)},
		{&maskstore.Error{Kind: maskstore.ErrThrottled, Err: boom}, of(maskstore.ErrThrottled, boom)},
		{own, own},
		{joined, joined},
	} {
		for _, done := range []bool{false, true} {
			faulty := &maskstoretest.Faulty{Plan: func(maskstoretest.Call) maskstoretest.Fault {
				return maskstoretest.Fault{Err: row.err, Done: done}
			}}
			if _, err := faulty.Storage(&maskstore.Memory{}).Stat(t.Context(), faultyKey); !reflect.DeepEqual(err, row.want) {
				t.Errorf("%v, done %v: got %#v; want %#v", row.err, done, err, row.want)
			}
		}
	}
}

// A part that breaks off as it is sent fails as any other call does.
func TestFaultyPartIsReset(t *testing.T) {
	memory := &maskstore.Memory{}
	faulty := &maskstoretest.Faulty{Plan: func(maskstoretest.Call) maskstoretest.Fault {
		return maskstoretest.Fault{Request: maskstoretest.Damage{ResetAt: 3}}
	}}
	parts, _ := maskstore.As[maskstore.MultipartStorage](faulty.Storage(memory))
	id, err := parts.CreateMultipartUpload(t.Context(), faultyKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = parts.UploadPart(t.Context(), faultyKey, id, 1, maskstore.BytesBody([]byte("hello")))
	wantFault(t, err, syscall.ECONNRESET)
}

// Fired tells what had an effect: of damage, what hit a byte.
func TestFaultyFired(t *testing.T) {
	boom := errors.New("boom")
	all := maskstoretest.Damage{StallAt: 5, FlipBit: 1, Every: time.Second}
	past := maskstoretest.Damage{ResetAt: 6, StallAt: 6, FlipBit: 41}
	for name, row := range map[string]struct {
		fault maskstoretest.Fault
		want  string // of a Put, a Stat, a List, and a Get that reads 3 bytes
	}{
		"nothing":      {maskstoretest.Fault{}, ""},
		"error":        {maskstoretest.Fault{Err: boom}, "Put Err, Stat Err, List Err, Get Err"},
		"lost":         {maskstoretest.Fault{Done: true, Err: boom}, "Put Done, Stat Done, List Done, Get Done"},
		"before":       {maskstoretest.Fault{Hook: func() {}, Delay: time.Second}, "Put Hook, Put Delay, Stat Hook, Stat Delay, List Hook, List Delay, Get Hook, Get Delay"},
		"sent":         {maskstoretest.Fault{Request: all}, "Put Request.Every, Put Request.FlipBit, Put Request.StallAt"},
		"sent: reset":  {maskstoretest.Fault{Request: maskstoretest.Damage{ResetAt: 5}}, "Put Request.ResetAt"},
		"sent: past":   {maskstoretest.Fault{Request: past}, ""},
		"comes":        {maskstoretest.Fault{Response: all}, "Get Response.Every, Get Response.FlipBit"},
		"comes: reset": {maskstoretest.Fault{Response: maskstoretest.Damage{ResetAt: 3}}, "Get Response.ResetAt"},
		"comes: late":  {maskstoretest.Fault{Response: maskstoretest.Damage{ResetAt: 4, FlipBit: 25}}, ""},
		"an answer":    {maskstoretest.Fault{Answer: &maskstoretest.Answer{Status: 500}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				memory := &maskstore.Memory{}
				faulty := &maskstoretest.Faulty{Plan: func(maskstoretest.Call) maskstoretest.Fault { return row.fault }}
				storage := faulty.Storage(memory)
				storage.Put(ctx, faultyKey, strings.NewReader("hello"), nil)
				if _, err := memory.Put(t.Context(), faultyKey, strings.NewReader("hello"), nil); err != nil {
					t.Fatal(err)
				}
				ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				storage.Stat(ctx, faultyKey)
				for range storage.List(ctx, "mask/", nil) {
				}
				if object, err := storage.Get(ctx, faultyKey, nil); err == nil {
					io.ReadFull(object.Body, make([]byte, 3))
					object.Body.Close()
				}
				if got := fired(faulty); got != row.want {
					t.Errorf("fired: %s; want %s", got, row.want)
				}
			})
		})
	}
}

// fired prints what fired.
func fired(faulty *maskstoretest.Faulty) string {
	var all []string
	for _, f := range faulty.Fired() {
		all = append(all, f.Op+" "+f.Field)
	}
	return strings.Join(all, ", ")
}

// Each fault of a request does what it says, to what the server sees and to the answer.
func TestFaultyRequests(t *testing.T) {
	boom := errors.New("boom")
	slow := &maskstoretest.Answer{Status: 503, Header: http.Header{"Retry-After": {"3"}}, Body: "slow down"}
	for name, row := range map[string]struct {
		fault maskstoretest.Fault
		err   error
		seen  []string // by the server; "!": not whole
		want  string   // status, header and body
		short bool     // the answer breaks off
		fired string
	}{
		"nothing":          {maskstoretest.Fault{}, nil, []string{"sent"}, "200  got sent", false, ""},
		"error":            {maskstoretest.Fault{Err: boom}, boom, nil, "", false, "PutObject Err"},
		"lost":             {maskstoretest.Fault{Done: true}, syscall.ECONNRESET, []string{"sent"}, "", false, "PutObject Done"},
		"answer":           {maskstoretest.Fault{Answer: slow}, nil, nil, "503 3 slow down", false, "PutObject Answer"},
		"answer when done": {maskstoretest.Fault{Answer: slow, Done: true}, nil, []string{"sent"}, "503 3 slow down", false, "PutObject Done"},
		"answer cut":       {maskstoretest.Fault{Answer: slow, Response: maskstoretest.Damage{ResetAt: 5}}, nil, nil, "503 3 slow", true, "PutObject Answer, PutObject Response.ResetAt"},
		"sent: reset":      {maskstoretest.Fault{Request: maskstoretest.Damage{ResetAt: 3}}, syscall.ECONNRESET, []string{"!"}, "", false, "PutObject Request.ResetAt"},
		"sent: flipped":    {maskstoretest.Fault{Request: maskstoretest.Damage{FlipBit: 6}}, nil, []string{"Sent"}, "200  got Sent", false, "PutObject Request.FlipBit"},
		"comes: reset":     {maskstoretest.Fault{Response: maskstoretest.Damage{ResetAt: 4}}, nil, []string{"sent"}, "200  got", true, "PutObject Response.ResetAt"},
		"comes: flipped":   {maskstoretest.Fault{Response: maskstoretest.Damage{FlipBit: 6}}, nil, []string{"sent"}, "200  Got sent", false, "PutObject Response.FlipBit"},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan string, 1)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					body = []byte("!")
				}
				seen <- string(body)
				fmt.Fprintf(w, "got %s", body)
			}))
			defer server.Close()
			faulty := &maskstoretest.Faulty{Plan: func(maskstoretest.Call) maskstoretest.Fault { return row.fault }}
			client := &http.Client{Transport: faulty.RoundTripper(server.Client().Transport)}
			defer client.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), "PUT", server.URL+"/bucket/"+faultyKey,
				bytes.NewReader([]byte("sent")))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if !errors.Is(err, row.err) {
				t.Fatalf("error is %v; want %v", err, row.err)
			}
			if err == nil {
				defer resp.Body.Close()
				data, err := io.ReadAll(resp.Body)
				if got := fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("Retry-After"), " ", string(data)); got != row.want ||
					(err != nil) != row.short {
					t.Errorf("got %q, %v; want %q", got, err, row.want)
				}
			}
			for _, want := range row.seen {
				if got := <-seen; got != want {
					t.Errorf("the server saw %q; want %q", got, want)
				}
			}
			if len(seen) > 0 {
				t.Errorf("the server saw %q", <-seen)
			}
			if got := fired(faulty); got != row.fired {
				t.Errorf("fired: %s; want %s", got, row.fired)
			}
		})
	}
}

func TestFaultyNamesRequests(t *testing.T) {
	faulty := &maskstoretest.Faulty{Plan: func(maskstoretest.Call) maskstoretest.Fault {
		return maskstoretest.Fault{Answer: &maskstoretest.Answer{Status: 200}}
	}}
	for _, row := range []struct{ method, url, op, key string }{
		{"PUT", "/bucket/mask/a", "PutObject", "mask/a"},
		{"GET", "/mask/a?X-Amz-Date=x", "GetObject", "mask/a"},
		{"HEAD", "/b/mask/a", "HeadObject", "mask/a"},
		{"DELETE", "/b/mask/a", "DeleteObject", "mask/a"},
		{"POST", "/b/?delete=", "DeleteObjects", ""},
		{"GET", "/b/?list-type=2&prefix=mask%2Fa", "ListObjectsV2", "mask/a"},
		{"POST", "/b/mask/a?uploads=", "CreateMultipartUpload", "mask/a"},
		{"PUT", "/b/mask/a?partNumber=1&uploadId=x", "UploadPart", "mask/a"},
		{"GET", "/b/mask/a?uploadId=x", "ListParts", "mask/a"},
		{"POST", "/b/mask/a?uploadId=x", "CompleteMultipartUpload", "mask/a"},
		{"DELETE", "/b/mask/a?uploadId=x", "AbortMultipartUpload", "mask/a"},
		{"GET", "/b/?uploads=&prefix=mask%2Fa", "ListMultipartUploads", "mask/a"},
		{"OPTIONS", "/b/mask/a", "CORS", "mask/a"},
		{"COPY", "/b/mask/a", "CopyObject", "mask/a"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), row.method, "http://s3.test"+row.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if row.method == "COPY" {
			req.Method = "PUT"
			req.Header.Set("X-Amz-Copy-Source", "b/mask/b")
		}
		resp, err := faulty.RoundTripper(nil).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		calls := faulty.Calls()
		if last := calls[len(calls)-1]; last.Op != row.op || last.Key != row.key || last.Request != req {
			t.Errorf("%s %s is %+v", row.method, row.url, last)
		}
	}
}

// What a listing gives before its end is lost is what is there.
func TestFaultyListings(t *testing.T) {
	memory := &maskstore.Memory{}
	if _, err := memory.Put(t.Context(), faultyKey, strings.NewReader("x"), nil); err != nil {
		t.Fatal(err)
	}
	for done, want := range map[bool][]string{false: nil, true: {faultyKey}} {
		faulty := &maskstoretest.Faulty{Plan: func(maskstoretest.Call) maskstoretest.Fault {
			return maskstoretest.Fault{Err: syscall.EPIPE, Done: done}
		}}
		var keys []string
		var last error
		for info, err := range faulty.Storage(memory).List(t.Context(), "mask/", nil) {
			if last = err; err == nil {
				keys = append(keys, info.Key)
			}
		}
		wantFault(t, last, syscall.EPIPE)
		if !slices.Equal(keys, want) {
			t.Errorf("done %v: got %q", done, keys)
		}
	}
}

// The answer to a group's commit is lost, and the group is completed all the same.
func ExampleFaulty() {
	ctx := context.Background()
	server := httptest.NewServer(nil)
	defer server.Close()
	memory := &maskstore.Memory{BaseURL: server.URL}
	server.Config.Handler = memory

	manifests := 0
	faulty := &maskstoretest.Faulty{Plan: func(c maskstoretest.Call) maskstoretest.Fault {
		if c.Op == "Put" && path.Base(c.Key) == "metadata.json" {
			manifests++ // Plan needs no lock of its own
			if manifests == 2 {
				return maskstoretest.Fault{Done: true} // the first was Begin's
			}
		}
		return maskstoretest.Fault{}
	}}
	group, _ := maskstore.NewGroup(faulty.Storage(memory), "brain", "tumour", nil)
	mask := []byte("a mask")
	upload, _ := group.Begin(ctx, []maskstore.MaskSpec{{Slice: 1, Label: "liver", Size: int64(len(mask))}}, nil)
	put, _ := new(maskstore.DirectUploader).Upload(ctx, upload.Masks[0].URL, maskstore.BytesBody(mask))
	done, err := group.Complete(ctx, upload.UploadID, map[string]string{upload.Masks[0].Key: put.ETag}, nil)
	fmt.Println(done.Manifest.Revision, err)
	for _, f := range faulty.Fired() { // none would mean that nothing was tested
		fmt.Println(f.Op, f.Key, f.Field)
	}
	for _, c := range faulty.Calls() {
		fmt.Print(c.Op, " ")
	}
	// Output:
	// 1 <nil>
	// Put mask/brain/tumour/metadata.json Done
	// UploadURL Get Put UploadURL Get List Put Get
}

// A plan may look at what came before.
func TestFaultyPlanSeesCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where a deadlock is told
		faulty, seen := &maskstoretest.Faulty{}, 0
		faulty.Plan = func(maskstoretest.Call) maskstoretest.Fault {
			seen = len(faulty.Calls())
			return maskstoretest.Fault{}
		}
		storage := faulty.Storage(&maskstore.Memory{})
		for want := range 2 {
			if _, err := storage.Stat(t.Context(), faultyKey); !errors.Is(err, maskstore.ErrNotFound) || seen != want+1 {
				t.Errorf("%v; the plan saw %d calls", err, seen)
			}
		}
	})
}
