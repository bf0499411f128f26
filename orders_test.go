package maskstore_test

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

var (
	ordersDeep  = flag.Bool("orders.deep", os.Getenv("MASKSTORE_TEST_LONG") != "", "run the scenarios that take minutes, too")
	ordersSeeds = flag.Int("orders.seeds", 500, "how many random orders to run of each crowd")
	ordersAgain = flag.String("orders.again", "", "run this one order of the scenario that -run names")
)

// TestOrders runs every order of the scenarios' events, on the package's own code over a Memory, and holds each to
// the rules of a group: nothing is committed that is not the declared mask; no reader gets a mix; what was committed is
// overwritten only by a URL that was made for exactly what lies there, and deleted only under a tombstone;
// nothing is stuck for good.
func TestOrders(t *testing.T) {
	var orders, runs atomic.Uint64
	t.Cleanup(func() { t.Logf("%d orders in all, by %d runs", orders.Load(), runs.Load()) })
	for _, s := range scenarios {
		if s.deep && !*ordersDeep {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if runsAgain(t, &s) {
				return
			}
			s.met = map[string]int{}
			x := explorer{scenario: &s}
			x.explore(t)
			if x.failed != nil {
				reports(t, &s, x.order, x.failed)
			}
			t.Logf("%s: %d orders, by %d runs through %d states%s", s.name, x.total, x.runs, len(x.orders), s.disturbed(t))
			orders.Add(x.total)
			runs.Add(uint64(x.runs))
		})
	}
}

// TestOrdersOneByOne runs what TestOrders counts but once: the count must be right, and no order break a rule.
func TestOrdersOneByOne(t *testing.T) {
	for _, s := range scenarios {
		switch s.name {
		case "delete", "expiry, late PUT", "faults, save", "Download", "unique ETags, undo":
			counted, run := explorer{scenario: &s}, explorer{scenario: &s, all: true}
			counted.explore(t)
			run.explore(t)
			if run.failed != nil {
				reports(t, &s, run.order, run.failed)
			}
			if counted.total != run.total || run.total != uint64(run.runs) {
				t.Errorf("%s: counted %d orders; there are %d, by %d runs", s.name, counted.total, run.total, run.runs)
			}
		}
	}
}

// TestOrdersAtRandom runs orders of what cannot be enumerated.
func TestOrdersAtRandom(t *testing.T) {
	for _, opaque := range []string{"", "salted", "unique"} {
		s := crowd(opaque)
		s.met = map[string]int{}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if runsAgain(t, &s) {
				return
			}
			for seed := 0; seed < *ordersSeeds && !t.Failed(); {
				var order []int
				var err error
				synctest.Test(t, func(*testing.T) {
					for n := 0; n < bubbleRuns && seed < *ordersSeeds && err == nil; n++ {
						seed++
						order, err = walk(&s, uint64(seed))
					}
				})
				if err != nil {
					reports(t, &s, order, fmt.Errorf("seed %d: %w", seed, err))
				}
			}
			t.Logf("%s: %d orders%s", s.name, *ordersSeeds, s.disturbed(t))
		})
	}
}

// reports fails with what happened in an order.
func reports(t *testing.T, s *scenario, order []int, err error) {
	t.Helper()
	trace, _ := replay(t, s, order)
	t.Fatalf("%v\nafter\n\t%s\nagain: -run '^%s' -orders.again %s", err, strings.Join(trace, "\n\t"),
		strings.Replace(t.Name(), "/", "$/^", 1)+"$", strings.Trim(strings.ReplaceAll(fmt.Sprint(order), " ", "."), "[]"))
}

// runsAgain runs the one order that the flag asks for, and reports whether it asks for one.
func runsAgain(t *testing.T, s *scenario) bool {
	if *ordersAgain == "" {
		return false
	}
	var order []int
	for field := range strings.SplitSeq(*ordersAgain, ".") {
		i, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, i)
	}
	trace, err := replay(t, s, order)
	t.Logf("\n\t%s", strings.Join(trace, "\n\t"))
	if err != nil {
		t.Fatal(err)
	}
	return true
}
