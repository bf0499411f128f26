package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/examples/internal/setup"
)

// client is one of the PACS server's, as a browser is: JSON over HTTP, and no credentials of the storage.
type client struct {
	url    string // of the annotation's large objects
	onPart func(partNumber int)
}

// begin begins an upload. Its ticket has no URLs yet, and so no secret: a client keeps it, to go on with after a crash.
func (c *client) begin(ctx context.Context, size int64) (ticket maskstore.RevealedTicket, err error) {
	return ticket, c.post(ctx, "", request{Size: size}, &ticket)
}

// send puts the parts of the file that are not stored yet, and completes the upload. Where it fails, as when URLs have
// expired, it can be called again.
func (c *client) send(ctx context.Context, file io.ReaderAt, begun maskstore.RevealedTicket) error {
	q := request{UploadID: begun.UploadID}
	for _, p := range begun.Parts {
		hash := sha256.New()
		if _, err := io.Copy(hash, io.NewSectionReader(file, p.Offset, p.Size)); err != nil {
			return err
		}
		q.Size += p.Size
		q.PartSHA256 = append(q.PartSHA256, maskstore.SHA256(hash.Sum(nil)))
	}
	at := "/" + path.Base(begun.Key)
	var ticket maskstore.RevealedTicket
	if err := c.post(ctx, at+"/renew", q, &ticket); err != nil {
		return err
	}
	for _, p := range ticket.Parts { // UploadAll puts several at a time
		if p.Stored {
			continue
		}
		body := maskstore.Body{Size: p.Size, SHA256: p.SHA256, Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(file, p.Offset, p.Size)), nil
		}}
		if _, err := new(maskstore.DirectUploader).Upload(ctx, p.URL.SignedURL(), body); err != nil {
			return err
		}
		c.onPart(p.PartNumber)
	}
	return c.post(ctx, at+"/complete", q, nil)
}

// post makes a request to the PACS server, and decodes the answer into v, unless that is nil.
func (c *client) post(ctx context.Context, path string, q request, v any) error {
	resp, err := setup.Ask(ctx, http.MethodPost, c.url+path, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s: %s", path, resp.Status, bytes.TrimSpace(answer))
	case v == nil:
		return nil
	}
	return json.Unmarshal(answer, v)
}
