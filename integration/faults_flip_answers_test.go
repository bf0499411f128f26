package integration

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pacs-extension/maskstore"
)

// flipDeadline ends calls whose answers never end, since a bit of their Content-Length is another one.
const flipDeadline = 6 * time.Second

// A bit that is flipped anywhere in the answers to a call that changes what is stored: status line, headers or body.
func TestFaultsFlippedAnswer(t *testing.T) {
	e := newFaultEnv(t)
	seen := map[string]bool{}
	row := newTally(t)
	for _, m := range mutations(e) {
		if seen[m.name] { // for another request of its, that loses its answer
			continue
		}
		seen[m.name] = true
		key := m.prepare(e)
		s, whole, closeIdle := e.through(new(cutter))
		if err := m.do(t.Context(), s, key); !errors.Is(err, m.want) {
			t.Fatalf("%s without a fault: %v", m.name, err)
		}
		closeIdle()
		many := 120
		if m.name == "put" || m.name == "parts" {
			many = 1000
		}
		each(points(8, many, int(7*whole.came.Load())), 16, func(bit int64) { // some answers are shorter
			row.count("positions")
			key := m.prepare(e)
			s, cutter, closeIdle := e.through(&cutter{flipBit: bit})
			defer closeIdle()
			ctx, cancel := context.WithTimeout(t.Context(), flipDeadline)
			defer cancel()
			err := m.do(ctx, s, key)
			row.hit(int(cutter.fired.Load()), "%s, bit %d", m.name, bit)
			switch done := m.done(e, key); {
			case err == nil && (m.want != nil || !done):
				row.count("false successes")
				t.Errorf("%s, bit %d", m.name, bit)
			case err == nil:
				row.count("done")
			default:
				row.count("told as an error")
				if _, ok := errors.AsType[*maskstore.Error](err); !ok {
					t.Errorf("%s, bit %d: error is %T %v", m.name, bit, err, err)
				}
				if got := e.lies(key); !done && !(m.setUp == nil && got == nil || bytes.Equal(got, oldContent)) {
					row.count("lost or corrupt")
					t.Errorf("%s, bit %d: %d bytes lie there: %v", m.name, bit, len(got), err)
				}
			}
			open, parts := e.uploads(key)
			row.add("uploads left that have no part", open)
			row.add("parts left", parts)
			if parts > 0 {
				t.Errorf("%s, bit %d: %d parts left: %v", m.name, bit, parts, err)
			}
		})
	}
	row.print("a flipped bit in the answers",
		[]string{"positions", "done", "told as an error", "uploads left that have no part"},
		"false successes", "lost or corrupt", "parts left")
}

// The same of calls that change a group: what such a bit has them write is right, or another run makes it so.
func TestFaultsFlippedGroupAnswer(t *testing.T) {
	e := newFaultEnv(t)
	row := newTally(t)
	for _, job := range groupJobs {
		s, whole, closeIdle := e.through(new(cutter))
		g := job.prepare(t, e.sound)
		if err := job.do(t.Context(), s, g); err != nil || !job.done(g) {
			t.Fatalf("%s without a fault: %v", job.name, err)
		}
		closeIdle()
		each(points(8, 120, int(7*whole.came.Load())), 16, func(bit int64) {
			row.count("positions")
			g := job.prepare(t, e.sound)
			s, cutter, closeIdle := e.through(&cutter{flipBit: bit})
			defer closeIdle()
			ctx, cancel := context.WithTimeout(t.Context(), flipDeadline)
			defer cancel()
			err := job.do(ctx, s, g)
			row.hit(int(cutter.fired.Load()), "%s, bit %d", job.name, bit)
			switch _, typed := errors.AsType[*maskstore.Error](err); {
			case err == nil:
				row.count("done")
			case err == errMisreported: // by a flipped ETag or listing, which nobody can tell over plain HTTP
				row.count("reported otherwise, and done by another run")
			case typed:
				row.count("told as an error, and done by another run")
			default:
				t.Errorf("%s, bit %d: error is %T %v", job.name, bit, err, err)
			}
			if err != nil {
				err = job.do(t.Context(), e.sound, g)
			}
			if err != nil || !job.done(g) {
				row.count("wrong outcomes")
				t.Errorf("%s, bit %d: %v", job.name, bit, err)
			}
		})
	}
	row.print("groups, a flipped bit in the answers",
		[]string{"positions", "done", "told as an error, and done by another run", "reported otherwise, and done by another run"},
		"wrong outcomes")
}
