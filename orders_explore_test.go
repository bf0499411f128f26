package maskstore_test

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"
	"testing/synctest"
)

// scenario is a set of actors whose orders are all run.
type scenario struct {
	name    string
	actors  func(*world)
	deep    bool   // takes long
	replays int    // how many PUTs there are by any URL ever given out, at any step
	faults  int    // how many calls of an order may go wrong
	fates   []fate // how they may
	stalls  bool   // the body of a PUT by URL arrives some time after its head
	opaque  string // ETags are "salted" or "unique", not MD5s

	met map[string]int // how often the runs met each disturbance; nil: not counted
}

// disturbed says how often the runs met what the scenario disturbs them by, and fails where that is never.
func (s *scenario) disturbed(t *testing.T) string {
	t.Helper()
	var wanted []string
	figures := ""
	if s.faults > 0 {
		for _, f := range s.fates {
			wanted = append(wanted, string(f))
		}
	}
	if s.replays > 0 {
		wanted = append(wanted, latePUT)
	}
	if s.stalls {
		wanted = append(wanted, stalledPUT)
	}
	for _, what := range wanted {
		figures += fmt.Sprintf("; %d × %s", s.met[what], what)
		if s.met[what] == 0 {
			t.Errorf("%s: no run has met %q", s.name, what)
		}
	}
	return figures
}

func (s *scenario) server() server {
	if s.opaque == "" {
		return nil
	}
	return newOpaque(s.opaque == "unique")
}

// explorer runs every order of a scenario. An order is a sequence of choices, of which actor goes on and, where its call
// can go wrong, how. Nothing can be undone in real code, so each order is run from its start.
//
// Two orders that lead to the same state go on in the same ways: the state is what each actor has seen, and with it all
// that it can do, what lies in the storage, and the clock. So what follows a state is run once, however many
// orders lead to it, and counted for each of them.
type explorer struct {
	*scenario
	all    bool              // run what follows a state each time, to prove that claim
	orders map[digest]uint64 // that go on from a state
	path   []frame           // of the order under way
	total  uint64
	runs   int
	failed error
	order  []int // the one that failed
}

// frame is a state on the way.
type frame struct {
	state  digest
	steps  int // how many choices it has
	next   int // the one that is being run
	orders uint64
}

// bubbleRuns is how many orders one bubble sees: its clock ends in the year 2262.
const bubbleRuns = 5000

// explore runs all.
func (x *explorer) explore(t *testing.T) {
	x.orders = make(map[digest]uint64)
	for more := true; more && x.failed == nil; {
		synctest.Test(t, func(*testing.T) {
			for n := 0; n < bubbleRuns && more && x.failed == nil; n++ {
				x.run()
				more = x.backtrack()
			}
		})
	}
}

// run takes the steps of x.path, and the first one from there on at each state that is new.
func (x *explorer) run() {
	x.runs++
	w := newWorld(x.scenario)
	defer w.abandon()
	for depth := 0; ; depth++ {
		steps := w.steps()
		if w.ledger.rule != nil {
			x.fail(w.ledger.rule)
			return
		}
		if depth < len(x.path) {
			if f := x.path[depth]; len(steps) != f.steps || w.state() != f.state {
				x.fail(fmt.Errorf("the driver is wrong: the same steps lead elsewhere"))
				return
			}
		} else {
			state := w.state()
			orders, seen := x.orders[state]
			if len(steps) == 0 {
				orders, seen = 1, true
			}
			if seen && (!x.all || len(steps) == 0) {
				if depth == 0 {
					x.total = orders
				} else {
					x.path[depth-1].orders = plus(x.path[depth-1].orders, orders)
				}
				return
			}
			x.path = append(x.path, frame{state: state, steps: len(steps)})
		}
		w.take(steps[x.path[depth].next])
	}
}

// plus adds, up to the largest number there is.
func plus(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry > 0 {
		return math.MaxUint64
	}
	return sum
}

// backtrack goes to the last state that has a choice left, and reports whether there is one.
func (x *explorer) backtrack() bool {
	for len(x.path) > 0 {
		last := &x.path[len(x.path)-1]
		if last.next++; last.next < last.steps {
			return true
		}
		x.orders[last.state] = last.orders
		x.path = x.path[:len(x.path)-1]
		if len(x.path) > 0 {
			above := &x.path[len(x.path)-1]
			above.orders = plus(above.orders, last.orders)
		} else {
			x.total = last.orders
		}
	}
	return false
}

func (x *explorer) fail(err error) {
	x.failed = err
	for _, f := range x.path {
		x.order = append(x.order, f.next)
	}
}

// replay runs one order again and gives what happened in it.
func replay(t *testing.T, s *scenario, order []int) (trace []string, err error) {
	synctest.Test(t, func(*testing.T) {
		w := newWorld(s)
		defer w.abandon()
		w.trace = []string{}
		for _, i := range order {
			steps := w.steps()
			if i >= len(steps) {
				err = fmt.Errorf("the scenario has no such order")
				return
			}
			w.take(steps[i])
		}
		trace, err = w.trace, w.ledger.rule
	})
	return trace, err
}

// walk runs the order that a seed tells. Some actors are faster than others, by as much as the seed says.
func walk(s *scenario, seed uint64) (order []int, err error) {
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(s)
	defer w.abandon()
	speeds := make(map[*actor]int)
	for w.ledger.rule == nil {
		steps := w.steps()
		if len(steps) == 0 {
			break
		}
		sum, chosen := 0, 0
		for i, s := range steps {
			if speeds[s.a] == 0 {
				speeds[s.a] = 16 << (2 * random.IntN(4))
			}
			weight := speeds[s.a]
			if s.isFault() {
				weight /= 16
			}
			if sum += weight; random.IntN(sum) < weight {
				chosen = i
			}
		}
		order = append(order, chosen)
		w.take(steps[chosen])
	}
	return order, w.ledger.rule
}
