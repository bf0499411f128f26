// Server is a PACS server with nothing but mask groups. Who may use it stands in -tokens; a real one asks its sessions.
//
//	go run ./examples/server -tokens anna=s3cret,ben=t0ken
//	curl -H 'Authorization: Bearer s3cret' http://127.0.0.1:8080/api/annotations/ct-42/mask-groups
package main

import (
	"context"
	"crypto/subtle"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/examples/internal/setup"
)

func main() {
	config := setup.Flag()
	addr := flag.String("addr", "127.0.0.1:8080", "the address to listen on")
	tokens := flag.String("tokens", "", "user=token,…")
	flag.Parse()
	setup.Main(func(ctx context.Context) error {
		storage, err := openStorage(ctx, *config)
		if err != nil {
			return err
		}
		mux := http.NewServeMux()
		mux.Handle("/api/annotations/", maskstore.NewHandler(storage, &maskstore.HandlerOptions{
			Authorize: authorize(*tokens),
			Complete:  maskstore.CompleteOptions{VerifyPNG: true},
			Logger:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
		}))
		server := &http.Server{Addr: *addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute}
		context.AfterFunc(ctx, func() { server.Close() })
		fmt.Printf("http://%s/api/annotations/{id}/mask-groups\n", *addr)
		if err := server.ListenAndServe(); ctx.Err() == nil {
			return err
		}
		return nil
	})
}

// authorize lets in whoever has a token.
func authorize(tokens string) func(*http.Request, string, maskstore.Action) (string, error) {
	return func(r *http.Request, _ string, _ maskstore.Action) (string, error) {
		given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		for entry := range strings.SplitSeq(tokens, ",") {
			user, token, _ := strings.Cut(entry, "=")
			if token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(given)) == 1 {
				return user, nil
			}
		}
		return "", maskstore.ErrUnauthenticated
	}
}

// openStorage opens what is configured, else a memory that serves its signed URLs on loopback.
func openStorage(ctx context.Context, config string) (maskstore.ObjectStorage, error) {
	if cfg, err := setup.Config(config); err != nil || cfg != (maskstore.Config{}) {
		return setup.Storage(ctx, config)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	memory := &maskstore.Memory{BaseURL: "http://" + l.Addr().String()}
	go http.Serve(l, memory) // until the program ends
	return memory, nil
}
