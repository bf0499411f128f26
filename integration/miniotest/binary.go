package miniotest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// The server's module. Its last version, which was never published as a binary.
const (
	serverModule  = "github.com/minio/minio"
	serverVersion = "v0.0.0-20260212201848-7aac2a2c5b7c"
)

// Binary gives the path of the server's binary, which it builds where it is not in the cache. That takes some
// minutes; other processes that want it meanwhile wait.
func Binary(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "maskstore")
	binary := filepath.Join(dir, "minio-"+serverVersion)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	unlock, err := lock(binary + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	return binary, build(ctx, dir, binary)
}

// lock waits until no other process holds the lock; the system releases it when a holder dies.
func lock(name string) (unlock func() error, err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

func build(ctx context.Context, dir, binary string) error {
	tmp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	begun := time.Now()
	say("building MinIO from its Go module, once; that takes some minutes")
	ticker := time.NewTicker(30 * time.Second)
	defer ticker.Stop()
	go func() {
		for range ticker.C {
			say("still building MinIO, for %v", time.Since(begun).Round(time.Second))
		}
	}()
	cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", "-ldflags", "-s -w", serverModule+"@"+serverVersion)
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+tmp, "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build MinIO: %w\n%s", err, out)
	}
	say("MinIO is built, in %v", time.Since(begun).Round(time.Second))
	return os.Rename(filepath.Join(tmp, "minio"), binary)
}
