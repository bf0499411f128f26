package maskstore_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing/synctest"
	"time"

	"github.com/pacs-extension/maskstore"
)

// world is one order under way: a storage, the actors that work on one group in it, and what the rules need to know.
// Its actors are goroutines of which one runs at a time, from one call to the storage to its next.
type world struct {
	server     server
	ledger     *ledger
	actors     []*actor
	parked     chan *actor // an actor has come to its next call, or to its end
	begun      time.Time
	elapsed    time.Duration
	faults     int               // how many calls may yet go wrong
	failures   int               // how many went wrong
	fates      []fate            // how they may
	stalls     bool              // the body of a PUT by URL arrives some time after its head
	urls       []*givenURL       // every one ever given out
	replays    bool              // anyone may use them
	uniqueTags bool              // ETags tell writes apart, not contents
	writes     map[string]int    // of each key whose writes are told apart
	versions   map[string]digest // by ETag
	unbound    int               // writes without a condition that are under way and whose client has given up
	over       bool
	trace      []string       // nil: not wanted
	met        map[string]int // the scenario's
}

// givenURL is a signed PUT with what its client puts.
type givenURL struct {
	maskstore.SignedURL
	name string
	key  string
	data []byte
	writeCondition
}

func newWorld(s *scenario) *world {
	w := &world{parked: make(chan *actor), begun: time.Now(), writes: make(map[string]int), versions: make(map[string]digest)}
	w.server = cmp.Or[server](s.server(), &plainServer{newMemory()})
	w.ledger = newLedger(w)
	w.uniqueTags, w.met = s.opaque == "unique", s.met
	s.actors(w)
	w.faults, w.fates, w.stalls, w.replays = s.faults, s.fates, s.stalls, s.replays > 0
	if s.replays > 0 {
		w.add("late", lateURLs(s.replays))
	}
	w.add("end", (*actor).end).last = true
	for _, a := range w.actors {
		a.start()
	}
	return w
}

func newMemory() *maskstore.Memory { return &maskstore.Memory{BaseURL: "https://bucket.example"} }

// fate is what becomes of a call.
type fate string

const (
	fine    fate = ""
	stopped fate = "the client stops for good"
	lost    fate = "done, the answer is lost"
	late    fate = "the answer is lost, done later"
	twice   fate = "sent twice, the second answer arrives"
)

// actor is one client, server or reader.
type actor struct {
	w       *world
	name    string
	run     func(*actor)
	free    bool            // does not stop at its calls
	last    bool            // runs when all others have ended
	options func() []string // what can happen next where it stands; nil: it has ended
	resume  chan int
	history digest // of what it knows
	puts    int    // that it has begun
	gone    bool   // stopped for good
	landed  string // the ETag of its manifest, of which it was not told
	begins  int
	signed  []*givenURL          // for it, whether they were given out or not
	urls    map[string]*givenURL // that it was given, by themselves
}

// add gives the world another actor.
func (w *world) add(name string, run func(*actor)) *actor {
	a := &actor{w: w, name: name, run: run, history: digest{}.and(name), urls: make(map[string]*givenURL)}
	w.actors = append(w.actors, a)
	return a
}

// set runs what goes before the order.
func (w *world) set(name string, run func(*actor)) {
	run(&actor{w: w, name: name, free: true, history: digest{}.and(name), urls: make(map[string]*givenURL)})
}

// start lets the actor run to its first call.
func (a *actor) start() {
	a.resume = make(chan int)
	go func() {
		a.run(a)
		a.options = nil
		a.w.parked <- a
	}()
	<-a.w.parked
}

// choose stops until the scheduler takes one of the options. Who is gone by then must do no more.
func (a *actor) choose(options func() []string) int {
	if a.gone {
		return -1
	}
	a.options = options
	a.w.parked <- a
	return <-a.resume
}

// step is a choice that the scheduler has.
type step struct {
	a      *actor
	option int
	text   string
}

func (s step) isFault() bool { return strings.HasSuffix(s.text, ")") }

// disturbance names what the step does to others, or what becomes of its call; empty: nothing.
func (s step) disturbance() string {
	switch {
	case s.isFault():
		return strings.TrimSuffix(s.text[strings.LastIndex(s.text, "(")+1:], ")")
	case strings.HasPrefix(s.text, takesURL):
		return latePUT
	case s.text == bodyArrives:
		return stalledPUT
	}
	return ""
}

const (
	takesURL, latePUT       = "takes ", "late PUT"
	bodyArrives, stalledPUT = "the body of its PUT arrives", "stalled PUT"
)

func (w *world) steps() []step {
	var steps []step
	for _, a := range w.actors {
		if w.over || a.options == nil || a.last && len(steps) > 0 {
			continue
		}
		for i, text := range a.options() {
			steps = append(steps, step{a, i, text})
		}
	}
	return steps
}

// take lets one actor go on to its next call.
func (w *world) take(s step) {
	if w.trace != nil {
		w.trace = append(w.trace, s.a.name+": "+s.text)
	}
	if what := s.disturbance(); what != "" && w.met != nil {
		w.met[what]++
	}
	s.a.saw("at", w.elapsed.String(), s.text)
	s.a.resume <- s.option
	<-w.parked
}

// abandon ends the order where it stands.
func (w *world) abandon() {
	for _, a := range w.actors {
		if a.options != nil {
			a.gone = true
			a.resume <- -1
			<-w.parked
		}
	}
}

var errLost = fmt.Errorf("the connection was reset: %w", maskstore.ErrUnavailable)

// call is a call to the storage.
type call struct {
	op, key string
	isPut   bool // a PUT, with a condition
	isWrite bool // that or a DELETE
	inParts bool // it stops in its middle as well
}

// do makes the call when the scheduler lets it, with the fate that the scheduler chooses. It reports whether its actor got
// the answer.
func (a *actor) do(ctx context.Context, c call, do func(context.Context) error) (answered bool, err error) {
	w := a.w
	if a.gone {
		return false, context.Canceled
	}
	if a.free {
		return true, do(ctx)
	}
	fates := func() []fate {
		fates := []fate{fine}
		for _, f := range w.fates {
			if w.faults > 0 && (f != late || c.isWrite && !c.inParts) && (f != twice || c.isPut) {
				fates = append(fates, f)
			}
		}
		return fates
	}
	option := a.choose(func() []string {
		var texts []string
		for _, f := range fates() {
			texts = append(texts, strings.TrimSuffix(fmt.Sprintf("%s %s (%s)", c.op, c.key, f), " ()"))
		}
		return texts
	})
	if a.gone {
		return false, context.Canceled
	}
	f := fates()[option]
	if f != fine {
		w.faults--
		w.failures++
	}
	switch f {
	case stopped:
		a.gone = true
		return false, context.Canceled
	case lost:
		if do(ctx) == nil && c.isPut && c.key == manifestKey && w.failures == 1 {
			a.landed = w.server.tagOf(manifestKey)
		}
		return false, errLost
	case late:
		w.fly(a, c, do)
		return false, errLost
	case twice:
		do(ctx)
	}
	return true, do(ctx)
}

// fly lets a request that nobody waits for arrive at some later step. What has no condition, a DELETE or a batch, the
// library allows minutes to arrive, so the clock stands still for it.
func (w *world) fly(a *actor, c call, do func(context.Context) error) {
	if !c.isPut {
		w.unbound++
	}
	flying := w.add(a.name+"'s "+c.op, nil)
	flying.saw(a.history.String())
	flying.options = func() []string { return []string{"arrives"} }
	flying.resume = make(chan int)
	go func() {
		if <-flying.resume; !flying.gone {
			if !c.isPut {
				w.unbound--
			}
			do(context.Background())
		}
		flying.options = nil
		w.parked <- flying
	}()
}

// clock moves the clock on, at any step.
func clock(jumps ...time.Duration) func(*actor) {
	return func(a *actor) {
		for _, d := range jumps {
			a.choose(func() []string {
				if a.w.unbound > 0 {
					return nil
				}
				return []string{"is " + d.String() + " later"}
			})
			if a.gone {
				return
			}
			a.w.sleep(d)
		}
	}
}

// sleep moves the bubble's clock, and lets what waits for it happen.
func (w *world) sleep(d time.Duration) {
	w.elapsed += d
	time.Sleep(d)
	synctest.Wait()
}

// fail notes that a rule is broken.
func (w *world) fail(format string, args ...any) { w.ledger.broken(fmt.Errorf(format, args...)) }

// want fails unless err is nil, or one of the kinds, or what may come of the order's faults.
func (a *actor) want(op string, err error, kinds ...error) {
	if err == nil || a.gone {
		return
	}
	if errors.Is(err, errLost) && a.landed != "" && a.landed == a.w.server.tagOf(manifestKey) && a.w.failures == 1 {
		a.w.fail("%s: %s failed, though its manifest lies there: %v", a.name, op, err)
	}
	if errors.Is(err, errLost) || a.w.elapsed > 0 && strings.Contains(err.Error(), "took too long") {
		return
	}
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return
		}
	}
	a.w.fail("%s: %s: %v", a.name, op, err)
}
