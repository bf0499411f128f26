package miniotest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// process is the server's binary as a child, that can be killed and started again.
type process struct {
	path      string
	args, env []string
	dir       string   // it works in, and has as its home
	output    *os.File // nil: the standard error
	cmd       *exec.Cmd
}

func (p *process) start() error {
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Env = append(append(os.Environ(), "HOME="+p.dir), p.env...)
	p.cmd.Dir = p.dir
	p.cmd.Stderr = os.Stderr
	if p.output != nil {
		p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also where a test panics
	return p.cmd.Start()
}

// kill kills the process, where it runs, and waits until it is gone.
func (p *process) kill() error {
	if p.cmd == nil || p.cmd.Process == nil || p.cmd.ProcessState != nil {
		return nil
	}
	err := p.cmd.Process.Kill()
	p.cmd.Wait() // says that it was killed
	return err
}

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
	p := &process{path: binary, args: []string{"server", "--quiet", "--address", address}, env: setup.environ(), dir: dir}
	if setup.cert != nil {
		if err := setup.cert.write(dir + "/certs"); err != nil {
			return err
		}
		p.args = append(p.args, "--certs-dir", dir+"/certs")
	}
	p.args = append(p.args, dir+"/data")
	if err := p.start(); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	s.Endpoint = setup.scheme() + "://" + address
	s.stop = func() error { return errors.Join(p.kill(), os.RemoveAll(dir)) }
	return nil
}

// environ gives the variables that a child is started with beside our own.
func (s *setup) environ() []string {
	var env []string
	for name, value := range s.env {
		env = append(env, name+"="+value)
	}
	return env
}

// ports are those that freeAddress has given, or found taken.
var ports sync.Map

// freeAddress gives a loopback address that was free a moment ago. It is none that the system gives to connections: a
// server that is started again must find it free still.
func freeAddress() (string, error) {
	var err error
	for range 100 {
		port := 20_000 + rand.IntN(12_000)
		if _, given := ports.LoadOrStore(port, nil); given {
			continue // perhaps to a server that is down for a moment
		}
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}
