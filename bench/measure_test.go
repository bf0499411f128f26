package bench

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// results are all values measured, by row, library and unit: one for each round.
var results = make(map[string]map[string]map[string][]float64)

// note keeps the median of a round's values, of which there is one for each time something was measured, and reports it.
func note(b *testing.B, row, lib, unit string, values ...float64) {
	if results[row] == nil {
		results[row] = make(map[string]map[string][]float64)
	}
	if results[row][lib] == nil {
		results[row][lib] = make(map[string][]float64)
	}
	value := median(values)
	results[row][lib][unit] = append(results[row][lib][unit], value)
	b.ReportMetric(value, unit)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// contestant is a library in a row.
type contestant struct {
	lib string
	run func(b *testing.B)
}

// compare lets all run in turn, several times over, so that what else the machine does meets all alike. Each round has another
// order: the first of a row has a disk that nothing has tired yet, and all have what the one before left for the server to do.
func compare(b *testing.B, rounds int, contestants []contestant) {
	for round := range rounds {
		for _, i := range rand.New(rand.NewPCG(0, uint64(round))).Perm(len(contestants)) {
			c := contestants[i]
			if !b.Run(fmt.Sprintf("lib=%s/round=%d", c.lib, round+1), c.run) {
				return
			}
		}
	}
}

// span is a stretch of time, and of this process's CPU time in user and system mode.
type span struct{ wall, cpu time.Duration }

func timed(do func() error) (span, error) {
	runtime.GC() // so that nobody pays for another's garbage
	begun, cpu := time.Now(), cpuTime()
	err := do()
	return span{time.Since(begun), cpuTime() - cpu}, err
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// measured is a library by what do takes for each of n masks.
func measured(row, lib string, n int, do func() error) contestant {
	return contestant{lib, func(b *testing.B) {
		var cpu, rate, wall []float64
		for b.Loop() {
			took, err := timed(do)
			if err != nil {
				b.Fatal(err)
			}
			cpu = append(cpu, took.cpu.Seconds()*1e6/float64(n))
			rate = append(rate, float64(n)/took.wall.Seconds())
			wall = append(wall, took.wall.Seconds())
		}
		note(b, row, lib, cpuPerMask, cpu...)
		note(b, row, lib, masksPerSecond, rate...)
		note(b, row, lib, seconds, wall...)
	}}
}

// peakHeap runs do and gives by how many MiB the heap grew at most, garbage included, sampled each millisecond.
func peakHeap(do func() error) (float64, error) {
	heap := func() float64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return float64(sample[0].Value.Uint64())
	}
	runtime.GC()
	base := heap()
	done, peak := make(chan struct{}), make(chan float64)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		highest := base
		for {
			select {
			case <-done:
				peak <- highest
				return
			case <-tick.C:
				highest = max(highest, heap())
			}
		}
	}()
	err := do()
	close(done)
	return (<-peak - base) / (1 << 20), err
}

// Units, as benchstat wants them.
const (
	nsPerURL       = "ns/url"
	allocsPerURL   = "allocs/url"
	cpuPerMask     = "us-cpu/mask"
	masksPerSecond = "masks/s"
	requestCount   = "requests"
	seconds        = "s"
	cpuSeconds     = "s-cpu"
	heapMiB        = "MiB-heap"
	nsPerObject    = "ns/object"
)

const (
	library = "maskstore"
	// floor is a signed request by net/http alone: no peer, but what nothing built on net/http undercuts by much.
	floor = "net-http"
	best  = "best peer"
)

// target is what the library is to reach in a row.
type target struct {
	row, unit string
	against   string  // a peer, best, or empty: limit is absolute
	limit     float64 // of the library's value, or of its ratio to the peer's
	atLeast   bool    // else at most
}

// value gives the median, and whether there is one.
func value(row, lib, unit string) (float64, bool) {
	values := results[row][lib][unit]
	if len(values) == 0 {
		return math.NaN(), false
	}
	return median(values), true
}

// ratio gives the library's value to the peer's, as the median of those of each round: a slow round counts for both.
func (t target) ratio(peer string) (float64, bool) {
	ours, theirs := results[t.row][library][t.unit], results[t.row][peer][t.unit]
	n := min(len(ours), len(theirs))
	if n == 0 {
		return math.NaN(), false
	}
	ratios := make([]float64, n)
	for i := range ratios {
		ratios[i] = ours[i] / theirs[i]
	}
	return median(ratios), true
}

// peer gives the peer that the target is measured by, and the ratio to its value; of several, that to which it is worst.
func (t target) peer() (lib string, ratio float64, ok bool) {
	if t.against != best {
		ratio, ok = t.ratio(t.against)
		return t.against, ratio, ok
	}
	for _, peer := range slices.Sorted(maps.Keys(results[t.row])) {
		if strings.HasPrefix(peer, library) || peer == floor || peer == snowball {
			continue
		}
		if r, found := t.ratio(peer); found && (!ok || (r < ratio) == t.atLeast) {
			lib, ratio, ok = peer, r, true
		}
	}
	return lib, ratio, ok
}

// line is the target's line of the table; empty where its row was not run.
func (t target) line() string {
	if results[t.row] == nil {
		return ""
	}
	sign := "≤"
	if t.atLeast {
		sign = "≥"
	}
	want := fmt.Sprintf("%s %s", sign, number(t.limit))
	got, measured := value(t.row, library, t.unit)
	met, peer, ratio := got, "", ""
	if t.against != "" {
		want = fmt.Sprintf("%s %s × %s", sign, number(t.limit), t.against)
		lib, r, ok := t.peer()
		if !ok && measured {
			return ""
		}
		if ok {
			v, _ := value(t.row, lib, t.unit)
			met, peer, ratio = r, fmt.Sprintf("%s (%s)", number(v), lib), number(r)
		}
	}
	verdict := "no"
	switch {
	case !measured:
		verdict = "not measured"
	case met == t.limit || (met > t.limit) == t.atLeast:
		verdict = "yes"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |\n", t.row, t.unit, number(got), cmp.Or(peer, "–"),
		cmp.Or(ratio, "–"), want, verdict)
}

func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

// printTables prints, as Markdown, what was wanted and reached, then all that was measured.
func printTables(w io.Writer) {
	if len(results) == 0 {
		return
	}
	fmt.Fprintf(w, "\n| row | unit | maskstore | peer | ratio | wanted | met |\n|---|---|--:|--:|--:|---|---|\n")
	for _, t := range targets {
		io.WriteString(w, t.line())
	}
	fmt.Fprintf(w, "\n| row | library | measured |\n|---|---|---|\n")
	for _, row := range slices.Sorted(maps.Keys(results)) {
		for _, lib := range slices.Sorted(maps.Keys(results[row])) {
			var values []string
			for _, unit := range slices.Sorted(maps.Keys(results[row][lib])) {
				v, _ := value(row, lib, unit)
				values = append(values, number(v)+" "+unit)
			}
			fmt.Fprintf(w, "| %s | %s | %s |\n", row, lib, strings.Join(values, ", "))
		}
	}
	fmt.Fprintf(w, "\n%s, %s/%s, %d CPUs\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
}
