package miniotest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// Nodes are servers that run as child processes, wherever the tests run, so that a test can kill one and start it again:
// one server, or several that are a cluster with a balancer before it.
type Nodes struct {
	*Server
	addresses []string
	processes []*process
	balancers []net.Listener
}

// StartNodes starts n servers that store in the folder dir, and waits until they can be written to. Stop must be called
// after it; it leaves the folder.
func StartNodes(ctx context.Context, n int, dir string) (*Nodes, error) {
	binary, err := Binary(ctx)
	if err != nil {
		return nil, err
	}
	s, setup, err := newServer(Options{})
	if err != nil {
		return nil, err
	}
	setup.env["MINIO_CI_CD"] = "1" // else it wants a disk for each
	addresses, drives := make([]string, n), make([]string, n)
	for i := range n {
		if addresses[i], err = freeAddress(); err != nil {
			return nil, err
		}
		drives[i] = filepath.Join(dir, fmt.Sprint("node", i))
		if n > 1 {
			drives[i] = "http://" + addresses[i] + drives[i]
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	nodes := &Nodes{Server: s, addresses: addresses}
	for _, address := range addresses {
		nodes.processes = append(nodes.processes, &process{
			path: binary, args: append([]string{"server", "--quiet", "--address", address}, drives...), dir: dir, output: log,
			// In a container it would not take a loopback address for its own.
			env: append(setup.environ(), "_MINIO_SERVER_LOCAL="+address),
		})
	}
	s.stop = func() error {
		var errs []error
		for i := range nodes.processes {
			errs = append(errs, nodes.Kill(i))
		}
		for _, b := range nodes.balancers {
			errs = append(errs, b.Close())
		}
		return errors.Join(append(errs, log.Close())...)
	}
	all := make([]int, n)
	for i := range nodes.processes {
		all[i] = i
		if err := nodes.Restart(i); err != nil {
			return nil, errors.Join(err, s.Stop())
		}
	}
	if err := cmp.Or(nodes.Through(all...), nodes.Wait(ctx)); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return nodes, nil
}

// Through sends what clients that are made from now on send through these nodes alone. At first it is all.
func (n *Nodes) Through(nodes ...int) error {
	var addresses []string
	for _, i := range nodes {
		addresses = append(addresses, n.addresses[i])
	}
	if len(addresses) == 1 {
		n.Endpoint = "http://" + addresses[0]
		return nil
	}
	b, err := balance(addresses)
	if err != nil {
		return err
	}
	n.balancers = append(n.balancers, b)
	n.Endpoint = "http://" + b.Addr().String()
	return nil
}

// Kill kills the node of that number, the first being 0, as kill -9 does.
func (n *Nodes) Kill(i int) error { return n.processes[i].kill() }

// Restart starts a node that was killed. It does not wait until the node answers.
func (n *Nodes) Restart(i int) error { return n.processes[i].start() }

// Wait waits until each of the nodes can write to all.
func (n *Nodes) Wait(ctx context.Context) error {
	health := "/minio/health/cluster"
	if len(n.addresses) > 1 {
		health += "?maintenance=true" // without its own disk: of four, all three others are then there
	}
	for _, address := range n.addresses {
		if err := n.wait(ctx, "http://"+address+health); err != nil {
			return fmt.Errorf("%w; the nodes' output is in %s", err, n.processes[0].output.Name())
		}
	}
	return nil
}

// balance stands before the addresses: a connection goes to the next of them that takes it.
func balance(addresses []string) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	var next atomic.Int64
	dial := func() (conn net.Conn, err error) {
		for range addresses {
			if conn, err = net.Dial("tcp", addresses[int(next.Add(1))%len(addresses)]); err == nil {
				break
			}
		}
		return conn, err
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				server, err := dial()
				if err != nil {
					return
				}
				join(client, server)
			}()
		}
	}()
	return l, nil
}

// join carries bytes both ways until either side ends.
func join(a, b net.Conn) {
	var both sync.WaitGroup
	carry := func(to, from net.Conn) {
		io.Copy(to, from) // what fails here fails for both sides
		to.Close()
		from.Close()
	}
	both.Go(func() { carry(a, b) })
	both.Go(func() { carry(b, a) })
	both.Wait()
}
