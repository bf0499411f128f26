package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/pacs-extension/maskstore"
)

// request is what the client says of the object, each time anew.
type request struct {
	UploadID   string             `json:"upload_id,omitempty"`
	Size       int64              `json:"size"`
	PartSHA256 []maskstore.SHA256 `json:"part_sha256,omitempty"`
}

// handler is what a PACS server adds for large objects. A real one authorizes before it, as for every write to the
// annotation, limits the size, and runs SweepUploads from time to time.
func handler(storage maskstore.ObjectStorage, journal maskstore.Journal) http.Handler {
	mux := http.NewServeMux()
	route := func(
		pattern string, call func(ctx context.Context, key, uploadID string, opts *maskstore.PartsOptions) (any, error),
	) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			name := cmp.Or(r.PathValue("name"), rand.Text()+".bin") // a new one for each upload
			prefix, err := maskstore.AnnotationPrefix(r.PathValue("annotation"))
			if err = cmp.Or(err, maskstore.ValidID(name)); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			var q request
			if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&q); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			answer, err := call(r.Context(), prefix+"_large/"+name, q.UploadID, &maskstore.PartsOptions{
				PutOptions: maskstore.PutOptions{Size: q.Size, NoOverwrite: true}, PartSHA256: q.PartSHA256, Journal: journal,
			})
			if err != nil {
				http.Error(w, err.Error(), status(err))
				return
			}
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(answer)
		})
	}
	route("POST /api/annotations/{annotation}/large",
		func(ctx context.Context, key, _ string, opts *maskstore.PartsOptions) (any, error) {
			return reveal(maskstore.BeginParts(ctx, storage, key, opts))
		})
	route("POST /api/annotations/{annotation}/large/{name}/renew",
		func(ctx context.Context, key, id string, opts *maskstore.PartsOptions) (any, error) {
			return reveal(maskstore.RenewParts(ctx, storage, key, id, opts))
		})
	route("POST /api/annotations/{annotation}/large/{name}/complete",
		func(ctx context.Context, key, id string, opts *maskstore.PartsOptions) (any, error) {
			info, err := maskstore.CompleteParts(ctx, storage, key, id, opts)
			return map[string]any{"key": info.Key, "size": info.Size}, err
		})
	return mux
}

func reveal(ticket *maskstore.PartsTicket, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return ticket.Reveal(), nil
}

func status(err error) int {
	switch {
	case errors.Is(err, maskstore.ErrInvalidArgument), errors.Is(err, maskstore.ErrTooLarge):
		return http.StatusBadRequest
	case errors.Is(err, maskstore.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, maskstore.ErrIncomplete), errors.Is(err, maskstore.ErrPreconditionFailed),
		errors.Is(err, maskstore.ErrChecksum):
		return http.StatusConflict
	}
	return http.StatusBadGateway
}
