package maskstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// partsOf gives the options of an upload of data, with the checksums of its parts.
func partsOf(data []byte) *PartsOptions {
	o := &PartsOptions{PutOptions: PutOptions{Size: int64(len(data))}}
	for part := range slices.Chunk(data, defaultPartSize) {
		o.PartSHA256 = append(o.PartSHA256, SumSHA256(part))
	}
	return o
}

// putParts puts these parts of data, as a client without credentials does.
func putParts(t *testing.T, client *http.Client, ticket *PartsTicket, data []byte, numbers ...int) {
	t.Helper()
	wire, err := json.Marshal(ticket.Reveal())
	var sent RevealedTicket
	if err = errors.Join(err, json.Unmarshal(wire, &sent)); err != nil {
		t.Fatal(err)
	}
	for _, n := range numbers {
		p := sent.Parts[n-1]
		body := bytesBody(data[p.Offset:p.Offset+p.Size], p.SHA256)
		if _, err := (&DirectUploader{Client: client}).Upload(t.Context(), p.URL.SignedURL(), body); err != nil {
			t.Fatalf("part %d: %v", n, err)
		}
	}
}

// signedParts are the numbers of the parts that have a URL.
func signedParts(ticket *PartsTicket) (numbers []int) {
	for _, p := range ticket.Parts {
		if p.URL.URL != "" {
			numbers = append(numbers, p.PartNumber)
		}
	}
	return numbers
}

func beginParts(t *testing.T, m *Memory, o *PartsOptions) *PartsTicket {
	t.Helper()
	ticket, err := BeginParts(t.Context(), m, testKey, o)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

// putTwoParts begins an upload of data to a new Memory, and puts its parts 1 and 2.
func putTwoParts(t *testing.T, o *PartsOptions, data []byte) (*Memory, *PartsTicket) {
	t.Helper()
	m, client := served(t)
	ticket := beginParts(t, m, o)
	putParts(t, client, ticket, data, 1, 2)
	return m, ticket
}

// TestParts takes an object from a client to the storage past the server, which learns the checksums on the way.
func TestParts(t *testing.T) {
	m, client := served(t)
	data, j, ctx := manyParts(), DirJournal(t.TempDir()), t.Context()
	o := partsOf(data)
	sums := o.PartSHA256
	o.PartSHA256, o.SHA256, o.ContentType, o.Journal, o.NoOverwrite = nil, SumSHA256(data), "application/dicom", j, true

	ticket := beginParts(t, m, o)
	id := ticket.UploadID
	last := ticket.Parts[len(ticket.Parts)-1]
	if len(ticket.Parts) != 3 || len(signedParts(ticket)) > 0 || !ticket.Expires.IsZero() || last.Offset != 2*ticket.PartSize ||
		last.Offset+last.Size != o.Size {
		t.Fatalf("the ticket is %+v", ticket)
	}
	if r, err := j.Load(ctx, testKey); err != nil || r.UploadID != id || r.Size != o.Size {
		t.Errorf("recorded is %+v, %v", r, err)
	}
	o.PartSHA256 = []SHA256{sums[0], {}, sums[2]}
	renew := func(want ...int) {
		t.Helper()
		var err error
		if ticket, err = RenewParts(ctx, m, testKey, id, o); err != nil || !slices.Equal(signedParts(ticket), want) {
			t.Fatalf("signed are %d, %v; want %d", signedParts(ticket), err, want)
		}
	}
	renew(1, 3)
	if left := time.Until(ticket.Expires); left > DefaultTTL || left < DefaultTTL-time.Minute {
		t.Errorf("the ticket ends in %v", left)
	}
	putParts(t, client, ticket, data, 3)
	o.PartSHA256 = sums
	renew(1, 2)
	if !ticket.Parts[2].Stored || ticket.Parts[1].Stored {
		t.Errorf("the ticket is %+v", ticket)
	}
	putParts(t, client, ticket, data, 1)
	if info, err := CompleteParts(ctx, m, testKey, id, o); !errors.Is(err, ErrIncomplete) || info.Key != "" ||
		len(m.uploads) != 1 {
		t.Errorf("too early: %+v, %v", info, err)
	}
	renew(2)
	putParts(t, client, ticket, data, 2)
	for range 2 { // the second answer is the first one's, which was lost
		info, err := CompleteParts(ctx, m, testKey, id, o)
		if err != nil || info.ContentType != "application/dicom" {
			t.Fatalf("%+v, %v", info, err)
		}
		wantUploaded(t, m, j, info, data)
	}
	if _, err := RenewParts(ctx, m, testKey, id, o); !errors.Is(err, ErrNotFound) {
		t.Errorf("renewing what is complete: %v", err)
	}
}

// TestPartsAreProven holds what CompleteParts takes for the object that was declared.
func TestPartsAreProven(t *testing.T) {
	data := manyParts()[:defaultPartSize+8]
	other := bytes.Repeat([]byte("other"), len(data)/5+1)[:len(data)]
	for _, row := range []struct {
		name   string
		change func(o *PartsOptions)      // after the parts are there
		before func(m *Memory, id string) // completing
		want   error
		open   int  // uploads then
		placed bool // the data lies at the key then
	}{
		{"all declared", func(o *PartsOptions) { o.SHA256 = SumSHA256(data) }, nil, nil, 0, true},
		{"no checksums", func(o *PartsOptions) { o.PartSHA256 = nil }, nil, nil, 0, true},
		{"another whole", func(o *PartsOptions) { o.SHA256 = SumSHA256(nil) }, nil, ErrChecksum, 0, true},
		{"another part", func(o *PartsOptions) { o.PartSHA256[1] = SumSHA256(nil) }, nil, ErrIncomplete, 1, false},
		{"another size", func(o *PartsOptions) { o.Size-- }, nil, ErrIncomplete, 1, false},
		{"a part without a checksum", func(o *PartsOptions) {}, func(m *Memory, id string) {
			p := m.uploads[id].parts[2]
			p.SHA256 = SHA256{}
			m.uploads[id].parts[2] = p
		}, ErrIncomplete, 1, false},
		{"a condition", func(o *PartsOptions) { o.IfMatch = "none" }, nil, ErrPreconditionFailed, 1, false},
		{"aborted", func(o *PartsOptions) {}, func(m *Memory, id string) { delete(m.uploads, id) }, ErrNotFound, 0, false},
		{"aborted over another", func(o *PartsOptions) {}, func(m *Memory, id string) {
			delete(m.uploads, id)
			mustPut(t, m, testKey, string(other))
		}, ErrNotFound, 0, false},
		{"aborted over another, by the whole", func(o *PartsOptions) { o.PartSHA256, o.SHA256 = nil, SumSHA256(data) }, func(m *Memory, id string) {
			delete(m.uploads, id)
			mustPut(t, m, testKey, string(other))
		}, ErrNotFound, 0, false},
		{"complete already, by parts", func(o *PartsOptions) {}, func(m *Memory, id string) {
			delete(m.uploads, id)
			mustPut(t, m, testKey, string(data))
		}, nil, 0, true},
		{"complete already, unproven", func(o *PartsOptions) { o.PartSHA256 = nil }, func(m *Memory, id string) {
			delete(m.uploads, id)
			mustPut(t, m, testKey, string(data))
		}, ErrNotFound, 0, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := partsOf(data)
			m, ticket := putTwoParts(t, o, data)
			row.change(o)
			if row.before != nil {
				row.before(m, ticket.UploadID)
			}
			info, err := CompleteParts(t.Context(), m, testKey, ticket.UploadID, o)
			if !errors.Is(err, row.want) || len(m.uploads) != row.open {
				t.Errorf("error is %v, %d uploads are open; want %v", err, len(m.uploads), row.want)
			}
			if err == nil && (info.SHA256 != o.SHA256 || info.Size != o.Size) {
				t.Errorf("got %+v", info)
			}
			object := m.find(testKey)
			if placed := object != nil && bytes.Equal(object.data, data); placed != row.placed ||
				(info.Key != "") != (placed && !errors.Is(err, ErrNotFound)) {
				t.Errorf("placed is %v; got %+v", placed, info)
			}
		})
	}
}

// TestCompletePartsAgain: where the answer of a completion was lost, the next one tells the truth of what lies at the key.
func TestCompletePartsAgain(t *testing.T) {
	data := manyParts()[:defaultPartSize+8]
	wrong := func(o *PartsOptions) { o.SHA256 = SumSHA256(nil) }
	for _, row := range []struct {
		name   string
		change func(o *PartsOptions) // before both completions
		first  error
		before func(m *Memory, o *PartsOptions) // the second
		again  error
		says   string
		given  bool // the object comes with the second answer
	}{
		{"another whole, of the parts declared", wrong, ErrChecksum, nil, ErrChecksum, fmt.Sprintf("has SHA-256 %v, not %v", SumSHA256(data), SumSHA256(nil)), true},
		{"another whole, of unknown parts", func(o *PartsOptions) { wrong(o); o.PartSHA256 = nil }, ErrChecksum,
			nil, ErrNotFound, "no such upload; the object at the key is not the one declared", false},
		{"another whole and other parts", wrong, ErrChecksum,
			func(_ *Memory, o *PartsOptions) { o.PartSHA256[1] = SumSHA256(nil) },
			ErrNotFound, "no such upload; the object at the key is not the one declared", false},
		{"other parts", func(*PartsOptions) {}, nil,
			func(_ *Memory, o *PartsOptions) { o.PartSHA256[1] = SumSHA256(nil) },
			ErrNotFound, "no such upload; the object at the key is not the one declared", false},
		{"another size", func(*PartsOptions) {}, nil,
			func(_ *Memory, o *PartsOptions) { o.Size-- },
			ErrNotFound, fmt.Sprintf("no such upload; the object at the key has %d bytes, not %d", len(data), len(data)-1), false},
		{"nothing declared", func(o *PartsOptions) { o.PartSHA256 = nil }, nil, nil, ErrNotFound, "no such upload; no checksum tells whether the object at the key is the one declared", false},
		{"deleted since", wrong, ErrChecksum,
			func(m *Memory, _ *PartsOptions) { m.objects.delete(testKey) }, ErrNotFound, "not found: no such upload", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := partsOf(data)
			m, ticket := putTwoParts(t, o, data)
			row.change(o)
			done, err := CompleteParts(t.Context(), m, testKey, ticket.UploadID, o)
			if !errors.Is(err, row.first) || done.Key == "" {
				t.Fatalf("got %+v, %v; want %v", done, err, row.first)
			}
			if row.before != nil {
				row.before(m, o)
			}
			info, err := CompleteParts(t.Context(), m, testKey, ticket.UploadID, o)
			if e, ok := err.(*Error); !ok || e.Kind != row.again || !strings.HasSuffix(err.Error(), row.says) {
				t.Errorf("again: %v; want %v that says %q", err, row.again, row.says)
			}
			if row.given && info != done || !row.given && info.Key != "" {
				t.Errorf("again: %+v; first: %+v", info, done)
			}
		})
	}
}

// TestPartsOfAnotherSize: with the journal, the size stays what it was when the upload began.
func TestPartsOfAnotherSize(t *testing.T) {
	data, j := manyParts()[:defaultPartSize+8], DirJournal(t.TempDir())
	o := partsOf(data)
	o.Journal = j
	m, ticket := putTwoParts(t, o, data)
	other := partsOf(data[:len(data)-8])
	other.Journal = j
	_, renewErr := RenewParts(t.Context(), m, testKey, ticket.UploadID, other)
	_, completeErr := CompleteParts(t.Context(), m, testKey, ticket.UploadID, other)
	for op, err := range map[string]error{"RenewParts": renewErr, "CompleteParts": completeErr} {
		input, ok := errors.AsType[*InputError](err)
		if e, _ := err.(*Error); e == nil || e.Kind != ErrInvalidArgument || e.Op != op || !ok || input.Field != "Size" {
			t.Errorf("%s: error is %v", op, err)
		}
	}
	other.Journal = nil
	if _, err := RenewParts(t.Context(), m, testKey, ticket.UploadID, other); err != nil {
		t.Errorf("without the journal: %v", err)
	}
	info, err := CompleteParts(t.Context(), m, testKey, ticket.UploadID, o)
	if err != nil || info.Size != o.Size {
		t.Errorf("completed: %+v, %v", info, err)
	}
}

func TestBeginPartsReplaces(t *testing.T) {
	m, _ := served(t)
	o := &PartsOptions{PutOptions: PutOptions{Size: 1}, Journal: DirJournal(t.TempDir())}
	first, second := beginParts(t, m, o), beginParts(t, m, o)
	if len(m.uploads) != 1 || m.uploads[second.UploadID] == nil || first.UploadID == second.UploadID {
		t.Errorf("open are %v", m.uploads)
	}
	if swept, err := SweepUploads(t.Context(), m, o.Journal, 0); err != nil || !slices.Equal(swept, []string{testKey}) {
		t.Errorf("swept %q, %v", swept, err)
	}
	wantNoUpload(t, m, o.Journal)
}

func TestBeginPartsRefuses(t *testing.T) {
	m, _ := served(t)
	for name, row := range map[string]struct {
		key  string
		opts *PartsOptions
		want error
	}{
		"key":            {"other/x", partsOf([]byte("x")), ErrInvalidKey},
		"nothing":        {testKey, nil, ErrInvalidArgument},
		"one sum of two": {testKey, &PartsOptions{PutOptions: PutOptions{Size: defaultPartSize + 1}, PartSHA256: []SHA256{{1}}}, ErrInvalidArgument},
		"type":           {testKey, &PartsOptions{PutOptions: PutOptions{Size: 1, ContentType: "png"}}, ErrInvalidArgument},
		"TTL":            {testKey, &PartsOptions{PutOptions: PutOptions{Size: 1}, TTL: -1}, ErrInvalidArgument},
		"size":           {testKey, &PartsOptions{PutOptions: PutOptions{Size: MaxObjectSize + 1}}, ErrTooLarge},
	} {
		_, err := BeginParts(t.Context(), m, row.key, row.opts)
		if e, ok := err.(*Error); !ok || e.Kind != row.want || e.Op != "BeginParts" || len(m.uploads) > 0 {
			t.Errorf("%s: error is %v; %d uploads", name, err, len(m.uploads))
		}
	}
	if _, err := BeginParts(t.Context(), new(Memory), testKey, partsOf([]byte("x"))); !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("no BaseURL: %v", err)
	}
	_, err := BeginParts(t.Context(), struct{ ObjectStorage }{m}, testKey, partsOf([]byte("x")))
	if !errors.Is(err, ErrUnsupported) {
		t.Errorf("no parts: %v", err)
	}
}

func TestPartsTicketPrintsNoSignature(t *testing.T) {
	m, _ := served(t)
	ticket := beginParts(t, m, partsOf([]byte("content")))
	wire, err := json.Marshal(ticket)
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s", ticket, *ticket, ticket.Parts, wire)
	if strings.Contains(printed, "X-Amz-Signature") || !strings.Contains(printed, redacted) {
		t.Errorf("printed %s", printed)
	}
	resp, err := http.DefaultClient.Do(signedRequest(t, ticket.Parts[0].URL, nil, "content"))
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the URL itself answers %s", resp.Status)
	}
}

// TestRevealedTicket holds what goes over the wire.
func TestRevealedTicket(t *testing.T) {
	expires := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	u := SignedURL{
		Method: "PUT", URL: "https://s3.test/b/mask/a?X-Amz-Signature=" + canarySignature, Header: http.Header{"X-A": {"b"}},
		ContentLength: 3, Expires: expires,
	}
	ticket := &PartsTicket{Key: "mask/a", UploadID: "id", PartSize: 8, Expires: expires, Parts: []PartURL{
		{PartNumber: 1, Size: 8, SHA256: SHA256{1}, Stored: true},
		{PartNumber: 2, Offset: 8, Size: 8},
		{PartNumber: 3, Offset: 16, Size: 3, SHA256: SHA256{1}, URL: u},
	}}
	wantNoCanary(t, "PartsTicket", ticket)
	sum := SHA256{1}.String()
	for _, row := range []struct {
		ticket *PartsTicket
		want   string
	}{
		{ticket, `{"key":"mask/a","upload_id":"id","part_size":8,"expires":"2026-01-02T03:04:05Z","parts":[` +
			`{"part_number":1,"offset":0,"size":8,"sha256":"` + sum + `","stored":true},` +
			`{"part_number":2,"offset":8,"size":8},` +
			`{"part_number":3,"offset":16,"size":3,"sha256":"` + sum + `","url":{"method":"PUT","url":"` + u.URL +
			`","headers":{"X-A":"b"},"content_length":3,"expires":"2026-01-02T03:04:05Z"}}]}`},
		{&PartsTicket{Key: "mask/a", UploadID: "id", PartSize: 8}, `{"key":"mask/a","upload_id":"id","part_size":8,"parts":[]}`},
	} {
		wire, err := json.Marshal(row.ticket.Reveal())
		if err != nil || string(wire) != row.want {
			t.Errorf("got %s, %v; want %s", wire, err, row.want)
		}
	}
	if back := ticket.Reveal().Parts[2].URL.SignedURL(); !reflect.DeepEqual(back, u) {
		t.Errorf("the URL comes back as %#v", back.Reveal())
	}
}
