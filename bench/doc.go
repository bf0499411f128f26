// Package bench measures maskstore beside its peers, in one process and one run, on the same servers:
//
//	go test -bench . ./bench/...
//
// The servers are processes of their own, so that the CPU time of this one is the client's.
package bench
