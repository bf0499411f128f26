package maskstore_test

import (
	"cmp"
	"time"

	"github.com/pacs-extension/maskstore"
)

// The clients and what lies there before them.
var (
	ann      = save{version: 1}
	bob      = save{version: 2}
	annTakes = save{version: 1, supersede: true}
	bobTakes = save{version: 2, supersede: true}
	undo     = save{version: 0, supersede: true} // what was committed at the start
	bare     = save{version: 2, supersede: true, unhashed: true}
	silent   = save{version: 2, supersede: true, unhashed: true, silent: true}
	keeping  = save{version: 2, supersede: true, keep: true}
	annTwo   = save{version: 1, supersede: true, slices: []int{0, 1}}
	bobTwo   = save{version: 2, supersede: true, slices: []int{0, 1}}
)

const pastURLs, pastLease, pastGrace = 22 * time.Minute, maskstore.UploadLease + 2*time.Minute, 26 * time.Hour

var allFates = []fate{stopped, lost, late, twice}

func (s save) as(name string) func(*world)            { return func(w *world) { w.add(name, saves(s)) } }
func does(name string, run func(*actor)) func(*world) { return func(w *world) { w.add(name, run) } }

var (
	remover = does("remover", deletes)
	sweeper = does("sweeper", sweeps)
	batch   = does("ann", uploadsBatch)
)

// revision is a committed revision, of one mask or of two.
func revision(w *world) { w.set("start", saves(save{})) }
func twoMasks(w *world) { w.set("start", saves(save{slices: []int{0, 1}})) }

// spoiled is a revision over which a re-save was abandoned.
func spoiled(w *world) {
	revision(w)
	w.set("gone", func(a *actor) {
		s := save{version: 3}
		for _, m := range s.begin(a, a.group()).Masks {
			a.put(a.urls[m.URL.URL])
		}
	})
}

// tombstone is what a revision leaves a day after it was deleted.
func tombstone(w *world) {
	revision(w)
	w.set("earlier", deletes)
	w.sleep(pastGrace)
}

func of(actors ...func(*world)) func(*world) {
	return func(w *world) {
		for _, add := range actors {
			add(w)
		}
	}
}

var scenarios = []scenario{
	{name: "two clients", actors: of(ann.as("ann"), bob.as("bob"))},
	{name: "one takes over", actors: of(ann.as("ann"), bobTakes.as("bob"))},
	{name: "both take over", actors: of(annTakes.as("ann"), bobTakes.as("bob"))},
	{name: "both take over, re-save", actors: of(revision, annTakes.as("ann"), bobTakes.as("bob"))},
	{name: "both take over, two masks", actors: of(revision, annTwo.as("ann"), bobTakes.as("bob"))},
	{name: "no SHA-256", actors: of(revision, bare.as("ann"), bobTakes.as("bob"))},
	{name: "no SHA-256, no ETags", actors: of(revision, silent.as("ann"), bobTakes.as("bob"))},
	{name: "keep", actors: of(twoMasks, annTakes.as("ann"), keeping.as("bob"))},
	{name: "begins again", actors: of(save{version: 1, again: true}.as("ann"), bobTakes.as("bob"))},

	{name: "Upload", actors: of(revision, does("ann", uploads(annTwo)), bobTakes.as("bob"))},
	{name: "Upload twice", actors: of(does("ann", uploads(annTakes)), does("bob", uploads(bobTakes)))},

	{name: "batch", actors: of(batch, bobTakes.as("bob"))},
	{name: "batch, delete", actors: of(batch, remover)},
	{name: "batch, sweep", actors: of(batch, sweeper, does("clock", clock(pastGrace)))},
	{name: "batch, expiry", actors: of(batch, does("bob", begins(bob)), does("clock", clock(pastLease)))},
	{name: "batch, Masks", deep: true, actors: of(batch, bobTakes.as("bob"), does("reader", readsMasks))},
	{name: "faults, batch", deep: true, faults: 1, fates: allFates, actors: of(batch, bobTakes.as("bob"))},
	{name: "faults, batch and delete", faults: 1, fates: allFates, actors: of(batch, remover)},

	{name: "late PUT", deep: true, replays: 1, actors: of(ann.as("ann"), bobTakes.as("bob"))},
	{name: "late PUT, re-save", deep: true, replays: 1, actors: of(revision, ann.as("ann"), bobTakes.as("bob"))},
	{name: "late PUT, undo", replays: 1, actors: of(revision, ann.as("ann"), undo.as("bob"))},
	{name: "late PUT, spoiled", replays: 1, actors: of(spoiled, bobTakes.as("bob"))},

	{name: "delete", actors: of(annTakes.as("ann"), remover)},
	{name: "delete, re-save", actors: of(revision, annTakes.as("ann"), remover)},
	{name: "delete, two clients", deep: true, actors: of(revision, ann.as("ann"), bobTakes.as("bob"), remover)},
	{name: "delete, late PUT", replays: 1, actors: of(revision, annTakes.as("ann"), remover)},
	{name: "delete twice", deep: true, actors: of(revision, annTakes.as("ann"), remover, does("other", deletes))},

	{name: "sweep, save", actors: of(annTakes.as("ann"), sweeper, does("clock", clock(pastGrace)))},
	{name: "sweep, re-save", actors: of(spoiled, annTakes.as("ann"), sweeper, does("clock", clock(pastGrace)))},
	{name: "sweep, delete", actors: of(spoiled, remover, sweeper, does("clock", clock(pastGrace)))},
	{name: "sweep, tombstone", actors: of(tombstone, remover, sweeper, bobTakes.as("bob"))},
	{name: "sweep twice", actors: of(tombstone, sweeper, does("other", sweeps), bobTakes.as("bob"))},

	{name: "Masks", actors: of(twoMasks, annTwo.as("ann"), does("reader", readsMasks))},
	{name: "Masks, two clients", deep: true, actors: of(twoMasks, ann.as("ann"), bobTakes.as("bob"), does("reader", readsMasks))},
	{name: "DownloadURLs", actors: of(twoMasks, annTwo.as("ann"), does("reader", readsURLs))},
	{name: "Download", actors: of(twoMasks, annTwo.as("ann"), does("reader", downloads))},
	{name: "Download, undo", replays: 1, actors: of(twoMasks, annTwo.as("ann"), does("reader", downloads))},
	{name: "Download, delete", actors: of(twoMasks, remover, does("reader", downloads))},

	{name: "faults, save", faults: 1, fates: allFates, actors: of(annTakes.as("ann"))},
	{name: "faults, re-save", faults: 2, fates: allFates, actors: of(revision, annTwo.as("ann"))},
	{name: "faults, two clients", deep: true, faults: 1, fates: allFates, actors: of(ann.as("ann"), bobTakes.as("bob"))},
	{name: "lost answers, two clients", deep: true, faults: 1, fates: []fate{lost}, actors: of(ann.as("ann"), bobTakes.as("bob"))},
	{name: "faults, delete", faults: 2, fates: allFates, actors: of(spoiled, remover)},
	{name: "faults, delete of a re-save", deep: true, faults: 1, fates: allFates, actors: of(revision, annTakes.as("ann"), remover)},
	{name: "faults, sweep", faults: 1, fates: allFates, actors: of(tombstone, sweeper, annTakes.as("ann"))},
	{name: "faults, sweep of a re-save", faults: 1, fates: allFates, actors: of(spoiled, does("clock", clock(pastGrace)), sweeper)},

	{name: "expiry", stalls: true, actors: of(ann.as("ann"), bob.as("bob"), does("clock", clock(pastURLs)))},
	{name: "expiry, re-save", deep: true, stalls: true, actors: of(revision, ann.as("ann"), bob.as("bob"), does("clock", clock(pastURLs)))},
	{name: "expiry, late PUT", stalls: true, replays: 1, actors: of(ann.as("ann"), does("clock", clock(pastURLs)))},
	{name: "stalled PUTs", stalls: true, actors: of(revision, ann.as("ann"), bobTakes.as("bob"))},

	{name: "salted ETags", opaque: "salted", actors: of(revision, ann.as("ann"), bobTakes.as("bob"))},
	{name: "salted ETags, late PUT", deep: true, opaque: "salted", replays: 1, actors: of(revision, ann.as("ann"), bobTakes.as("bob"))},
	{name: "unique ETags", opaque: "unique", actors: of(revision, ann.as("ann"), bobTakes.as("bob"))},
	{name: "unique ETags, late PUT", deep: true, opaque: "unique", replays: 1, actors: of(revision, ann.as("ann"), bobTakes.as("bob"))},
	{name: "unique ETags, undo", opaque: "unique", replays: 1, actors: of(revision, undo.as("ann"))},
	{name: "unique ETags, delete", opaque: "unique", actors: of(revision, annTakes.as("ann"), remover)},
	{name: "unique ETags, Download", opaque: "unique", actors: of(twoMasks, annTwo.as("ann"), does("reader", downloads))},
	{name: "unique ETags, stalled PUTs", opaque: "unique", stalls: true, actors: of(revision, ann.as("ann"), bobTakes.as("bob"))},
}

// crowd is more than can be enumerated: all at once.
func crowd(opaque string) scenario {
	return scenario{
		name: "crowd, " + cmp.Or(opaque, "MD5") + " ETags", opaque: opaque, stalls: true, replays: 3, faults: 2, fates: allFates,
		actors: of(twoMasks,
			save{version: 1, slices: []int{0, 1, 2}, again: true}.as("ann"), bobTwo.as("bob"), undo.as("eve"), keeping.as("kim"),
			bare.as("lee"), does("tool", uploads(save{version: 4, supersede: true, slices: []int{0, 2}})),
			remover, does("other", deletes), sweeper, does("second sweeper", sweeps),
			does("clock", clock(time.Minute, pastURLs, pastGrace, pastURLs, pastGrace)),
			does("reader", readsMasks), does("viewer", readsURLs), does("copier", downloads)),
	}
}
