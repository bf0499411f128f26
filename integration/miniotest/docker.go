package miniotest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

var errNoDocker = errors.New("there is no Docker")

const (
	pingTimeout = 5 * time.Second
	pullTimeout = 2 * time.Minute
	apiPort     = "9000/tcp"
	// label marks the containers of this package: with the time of their start and the process that started them.
	label = "maskstore.miniotest"
	// staleAfter is when a container of another machine's process is removed, which may have been killed.
	staleAfter = 2 * time.Hour
)

// docker is what is found out about Docker, once for a process.
var docker = sync.OnceValues(func() (image string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", errNoDocker, v)
		}
	}()
	ctx := context.Background()
	api, err := client.New(client.FromEnv)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoDocker, err)
	}
	defer api.Close()
	ping, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if _, err := api.Ping(ping, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return "", fmt.Errorf("%w: %w", errNoDocker, err)
	}
	if err := prepare(ctx, api); err != nil {
		return "", err
	}
	image = os.Getenv("MASKSTORE_TEST_IMAGE")
	if image == "" {
		image = DefaultImage
	}
	if err := pull(ctx, api, image); err != nil {
		say("%s cannot be had: %v", image, err)
		return "", nil
	}
	return image, nil
})

// prepare sets what testcontainers reads from the environment, before its first use, where its defaults would not work.
func prepare(ctx context.Context, api *client.Client) error {
	const noReaper, host = "TESTCONTAINERS_RYUK_DISABLED", "TESTCONTAINERS_HOST_OVERRIDE"
	if _, set := os.LookupEnv(noReaper); !set {
		//lint:ignore SA1019 only the name tells whether the image can be had
		if err := pull(ctx, api, testcontainers.ReaperDefaultImage); err != nil {
			os.Setenv(noReaper, "true")
		}
	}
	if _, set := os.LookupEnv(host); !set {
		// In a container it takes the gateway for the host that publishes ports, which is wrong where Docker runs in there.
		own, err := isOwnBridge(ctx, api)
		if err != nil {
			return err
		}
		if _, err := os.Stat("/.dockerenv"); err == nil && own {
			os.Setenv(host, "127.0.0.1")
		}
	}
	return removeStale(ctx, api)
}

// isOwnBridge reports whether Docker's bridge is an interface of this machine, rather than of one around it.
func isOwnBridge(ctx context.Context, api *client.Client) (bool, error) {
	bridge, err := api.NetworkInspect(ctx, "bridge", client.NetworkInspectOptions{})
	if err != nil {
		return false, err
	}
	_, err = net.InterfaceByName(bridge.Network.Options["com.docker.network.bridge.name"])
	return err == nil, nil
}

// pull makes sure that the image is there.
func pull(ctx context.Context, api *client.Client, image string) error {
	if _, err := api.ImageInspect(ctx, image); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	pulled, err := api.ImagePull(ctx, image, client.ImagePullOptions{})
	if err != nil {
		return err
	}
	defer pulled.Close()
	return pulled.Wait(ctx)
}

// labels mark a container as this process's.
func labels() map[string]string {
	host, _ := os.Hostname() // unknown: then only its age tells
	return map[string]string{
		label: time.Now().Format(time.RFC3339), label + ".host": host, label + ".pid": strconv.Itoa(os.Getpid()),
	}
}

// isStale reports whether the process that started a container is gone.
func isStale(labels map[string]string) bool {
	host, _ := os.Hostname()
	if pid, err := strconv.Atoi(labels[label+".pid"]); err == nil && host != "" && host == labels[label+".host"] {
		return syscall.Kill(pid, 0) == syscall.ESRCH
	}
	begun, err := time.Parse(time.RFC3339, labels[label])
	return err == nil && time.Since(begun) > staleAfter
}

// removeStale removes containers that tests left which were killed, by go test's timeout for one.
func removeStale(ctx context.Context, api *client.Client) error {
	list, err := api.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: make(client.Filters).Add("label", label),
	})
	if err != nil {
		return err
	}
	for _, c := range list.Items {
		if !isStale(c.Labels) {
			continue
		}
		if _, err := api.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			say("%v", err)
		}
	}
	return nil
}

// startDocker runs the server in a container. The error is errNoDocker where that cannot be.
func (s *Server) startDocker(ctx context.Context, setup *setup) error {
	image, err := docker()
	if err != nil {
		return err
	}
	req := testcontainers.ContainerRequest{
		Image:        image,
		Env:          setup.env,
		ExposedPorts: []string{apiPort},
		Cmd:          []string{"server", "/data"},
		Labels:       labels(),
		HostConfigModifier: func(c *container.HostConfig) {
			// In memory: on a disk the tests wait for little else. All leaves clear away what they have put.
			c.Mounts = append(c.Mounts, mount.Mount{Type: mount.TypeTmpfs, Target: "/data"})
		},
		WaitingFor: wait.ForListeningPort(apiPort).SkipInternalCheck(),
	}
	if setup.cert != nil {
		req.Cmd = append(req.Cmd, "--certs-dir", "/certs")
		req.Files = []testcontainers.ContainerFile{
			{Reader: strings.NewReader(string(setup.cert.cert)), ContainerFilePath: "/certs/public.crt", FileMode: 0o644},
			{Reader: strings.NewReader(string(setup.cert.key)), ContainerFilePath: "/certs/private.key", FileMode: 0o644},
		}
	}
	if image == "" {
		if req.FromDockerfile, err = ownImage(ctx); err != nil {
			return err
		}
		defer os.RemoveAll(req.FromDockerfile.Context)
		image = "an image of the binary"
	}
	say("Docker with %s", image)
	started, err := testcontainers.GenericContainer(ctx,
		testcontainers.GenericContainerRequest{ContainerRequest: req, Started: true})
	s.stop = func() error { return testcontainers.TerminateContainer(started) }
	if err != nil {
		return errors.Join(err, s.stop())
	}
	address, err := started.PortEndpoint(ctx, apiPort, setup.scheme())
	s.Endpoint = strings.Replace(address, "//localhost:", "//127.0.0.1:", 1)
	return err
}

// ownImage says how the image of the binary is built.
func ownImage(ctx context.Context) (testcontainers.FromDockerfile, error) {
	binary, err := Binary(ctx)
	if err != nil {
		return testcontainers.FromDockerfile{}, err
	}
	dir, err := os.MkdirTemp("", "miniotest-image-")
	if err != nil {
		return testcontainers.FromDockerfile{}, err
	}
	const dockerfile = "FROM scratch\nCOPY minio /minio\nENTRYPOINT [\"/minio\"]\n"
	err = errors.Join(copyFile(filepath.Join(dir, "minio"), binary),
		os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o666))
	return testcontainers.FromDockerfile{Context: dir, Repo: "maskstore-minio", Tag: serverVersion, KeepImage: true}, err
}

func copyFile(to, from string) error {
	if err := os.Link(from, to); err == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
