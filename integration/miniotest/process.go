package miniotest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
)

// startProcess runs the binary as a child.
func (s *Server) startProcess(ctx context.Context, setup *setup) error {
	binary, err := Binary(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "miniotest-")
	if err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	args := []string{"server", "--quiet", "--address", address}
	if setup.cert != nil {
		if err := setup.cert.write(dir + "/certs"); err != nil {
			return err
		}
		args = append(args, "--certs-dir", dir+"/certs")
	}
	cmd := exec.Command(binary, append(args, dir+"/data")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir)
	for name, value := range setup.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also where a test panics
	if err := cmd.Start(); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	s.Endpoint = setup.scheme() + "://" + address
	s.stop = func() error {
		err := cmd.Process.Kill()
		cmd.Wait() // says that it was killed
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

// freeAddress gives a loopback address that was free a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
