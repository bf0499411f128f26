// Package setup opens the storage that an example's user has configured, runs servers on this machine, and asks them.
package setup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"

	"github.com/pacs-extension/maskstore"
)

// Main runs an example until it ends or is interrupted.
func Main(run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Flag defines the flag that names the configuration file.
func Flag() *string {
	return flag.String("config", "", "a TOML file as config/default.toml; the environment's APP_OBJECT_STORAGE__… wins over it")
}

// Config reads the file, if one is named, and the environment.
func Config(path string) (cfg maskstore.Config, err error) {
	if path != "" {
		if cfg, err = maskstore.LoadConfig(path); err != nil {
			return cfg, err
		}
	}
	return maskstore.ConfigFromEnv(cfg)
}

// Storage opens what the file, if one is named, and the environment configure.
func Storage(ctx context.Context, path string) (maskstore.ObjectStorage, error) {
	cfg, err := Config(path)
	if err != nil {
		return nil, err
	}
	return maskstore.Open(ctx, cfg)
}

// Serve serves on a free port of loopback until stop, and gives the server's URL.
func Serve(h http.Handler) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: h}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	return "http://" + l.Addr().String(), func() {
		s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	}, nil
}

// Ask makes a request to a PACS server, with body as JSON unless that is nil. The caller closes the answer's body.
func Ask(ctx context.Context, method, url string, body any) (*http.Response, error) {
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, sent)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return http.DefaultClient.Do(req)
}
