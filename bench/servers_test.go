package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/pacs-extension/maskstore/integration/miniotest"
)

// delay is that of the server that stands for one far away.
const delay = 30 * time.Millisecond

// memoryDir is a folder of Linux that is kept in memory.
const memoryDir = "/dev/shm"

// server is a server to measure on.
type server struct{ endpoint string }

// Servers are started when they are first asked for, and stopped by stopServers.
var (
	nullInstance    = sync.OnceValues(func() (*server, error) { return startNull(0) })
	delayedInstance = sync.OnceValues(func() (*server, error) { return startNull(delay) })
	minioInstance   = sync.OnceValues(func() (*server, error) { return startMinIO("") })
	minioInMemory   = sync.OnceValues(func() (*server, error) { return startMinIO(memoryDir) })

	stops []func()
)

func stopServers() {
	for _, stop := range stops {
		stop()
	}
}

func need(b *testing.B, instance func() (*server, error)) *server {
	b.Helper()
	s, err := instance()
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// startNull runs this test binary as a null server.
func startNull(delay time.Duration) (*server, error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), nullServerVariable+"="+delay.String())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stops = append(stops, func() {
		stdin.Close()
		cmd.Wait()
	})
	address, err := bufio.NewReader(stdout).ReadString('\n')
	return &server{"http://" + strings.TrimSpace(address)}, err
}

// requests is how many requests a null server has had.
func (s *server) requests() (int, error) {
	resp, err := http.Get(s.endpoint + requestsPath)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(body))
}

// startMinIO runs a MinIO server of one disk as a child process, since a container's network would cost time, and makes
// the bucket. It stores under parent; empty: in the folder for temporary files.
func startMinIO(parent string) (*server, error) {
	binary, err := miniotest.Binary(context.Background())
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "maskstore-bench-")
	if err != nil {
		return nil, err
	}
	stops = append(stops, func() { os.RemoveAll(dir) })
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "server", "--quiet", "--address", address, dir)
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+accessKey, "MINIO_ROOT_PASSWORD="+secretKey, "MINIO_BROWSER=off",
		"MINIO_UPDATE=off")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also where a benchmark panics
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stops = append([]func(){func() {
		cmd.Process.Kill()
		cmd.Wait()
	}}, stops...)
	s := &server{"http://" + address}
	if err := s.awaitHealth(); err != nil {
		return nil, err
	}
	_, err = newSDK(s).CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: aws.String(bucket)})
	return s, err
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

func (s *server) awaitHealth() error {
	var err error
	for range 300 {
		var resp *http.Response
		if resp, err = http.Get(s.endpoint + "/minio/health/live"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("MinIO is not ready: %s", resp.Status)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}
