package maskstore_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pacs-extension/maskstore"
)

// ledger watches every write that reaches the storage, and knows what the rules of a group make of it.
type ledger struct {
	w        *world
	manifest *manifestFile       // that lies there; nil: none
	rule     error               // the first that was broken
	declared map[string]declared // by creator, of which each Begin has its own
	stored   map[string][]byte   // all that ever lay at a mask's key, by key and ETag
	commits  []*manifestFile     // in their order
	lastURL  time.Time           // when the last URL given out expires
}

// declared is what an upload says that it puts.
type declared struct {
	masks    map[string][]byte // by key
	hashed   bool              // it gives their SHA-256
	reported bool              // it reports the ETags of its PUTs
	keep     bool
}

// writeCondition is what a write asks to lie at its key.
type writeCondition struct {
	ifMatch     string
	noOverwrite bool
}

// manifestFile is what the rules say of in metadata.json, read without the package's own code.
type manifestFile struct {
	etag      string
	Revision  int              `json:"revision"`
	UploadID  string           `json:"upload_id"`
	Creator   string           `json:"creator"`
	Masks     []maskstore.Mask `json:"masks"`
	URLsUntil time.Time        `json:"urls_until"`
	DeletedAt time.Time        `json:"deleted_at"`
	Pending   *struct {
		UploadID  string    `json:"upload_id"`
		Creator   string    `json:"creator"`
		URLsUntil time.Time `json:"urls_until"`
	} `json:"pending"`
}

func (m *manifestFile) isTombstone() bool { return m != nil && !m.DeletedAt.IsZero() }

func newLedger(w *world) *ledger {
	return &ledger{w: w, declared: make(map[string]declared), stored: make(map[string][]byte)}
}

func (l *ledger) broken(err error) {
	l.rule = cmp.Or(l.rule, err)
}

const (
	annotation  = "a"
	groupID     = "g"
	groupPrefix = "mask/a/g/"
	manifestKey = groupPrefix + "metadata.json"
)

func readManifest(data []byte, etag string) *manifestFile {
	m := &manifestFile{etag: etag}
	if err := json.Unmarshal(data, m); err != nil {
		panic(err)
	}
	return m
}

// before is what a write finds.
type before struct {
	etag     string // of what lay at its key; "" for nothing
	manifest *manifestFile
}

func (l *ledger) at(key string) before { return before{l.w.server.tagOf(key), l.manifest} }

// given notes the URLs that a client has from now on, to put its masks to.
func (a *actor) given(up *maskstore.GroupUpload, masks map[string][]byte) {
	for _, m := range up.Masks {
		i := slices.IndexFunc(a.signed, func(u *givenURL) bool { return u.URL == m.URL.URL })
		data, ok := masks[m.Key]
		if m.Unchanged || i < 0 || !ok {
			continue
		}
		u := a.signed[i]
		u.name, u.data = fmt.Sprintf("%s's URL %d for %s", a.name, len(a.urls)+1, m.Key), data
		a.urls[u.URL] = u
		a.w.urls = append(a.w.urls, u)
		if u.Expires.After(a.w.ledger.lastURL) {
			a.w.ledger.lastURL = u.Expires
		}
	}
	a.signed = nil
}

// writer names the actor's next PUT.
func (a *actor) writer() string {
	a.puts++
	return fmt.Sprint(a.name, " ", a.puts)
}

// wrote notes a write that was done, and judges it.
func (w *world) wrote(writer string, b before, key, etag string, data []byte, c writeCondition) {
	l := w.ledger
	w.note(writer, key, etag, data)
	switch {
	case c == writeCondition{} && key != manifestKey:
		l.broken(l.judgeBatch(writer, b, key))
	case b.etag == "" && !c.noOverwrite:
		l.broken(fmt.Errorf("%s: was written over nothing without asking for nothing to lie there", key))
	case b.etag != "" && c.ifMatch != b.etag:
		l.broken(fmt.Errorf("%s: was overwritten without asking for what lay there", key))
	}
	if key != manifestKey {
		l.stored[key+" "+etag] = data
		return
	}
	now := readManifest(data, etag)
	l.manifest = now
	l.broken(l.judge(b.manifest, now))
}

// judgeBatch says what is wrong with a write of a batch, which has no condition: it is over nothing, unless someone has
// superseded its upload or deleted the group, and nobody else has begun.
func (l *ledger) judgeBatch(writer string, b before, key string) error {
	if b.manifest == nil || b.manifest.isTombstone() {
		return nil
	}
	creator := b.manifest.Creator
	if p := b.manifest.Pending; p != nil {
		creator = p.Creator
	}
	switch own := strings.HasPrefix(creator, writer[:strings.LastIndex(writer, " ")+1]); {
	case own && b.etag != "":
		return fmt.Errorf("%s: was overwritten by a batch that nobody has superseded", key)
	case !own && !strings.Contains(creator, "superseding"):
		return fmt.Errorf("%s: was put by a batch after %s, which did not supersede it, had begun", key, creator)
	}
	return nil
}

// judge says what is wrong with a new manifest.
func (l *ledger) judge(old, now *manifestFile) error {
	if old == nil {
		old = new(manifestFile)
	}
	if old.isTombstone() && !now.isTombstone() {
		if time.Now().Before(old.URLsUntil) || time.Now().Before(l.lastURL) {
			return fmt.Errorf("a group was begun over a tombstone before its last URL expired")
		}
		old = new(manifestFile)
	}
	if now.isTombstone() {
		if now.URLsUntil.Before(l.lastURL) {
			return fmt.Errorf("the tombstone ends before the last URL expires")
		}
		return nil
	}
	if now.UploadID == old.UploadID {
		if now.Revision != old.Revision || !slices.EqualFunc(now.Masks, old.Masks, sameMask) {
			return fmt.Errorf("revision %d, once committed, was changed", old.Revision)
		}
		if p := old.Pending; p != nil && (now.Pending == nil || now.Pending.UploadID != p.UploadID) {
			return l.takesOver(old, now)
		}
		return nil
	}
	switch p := old.Pending; {
	case p == nil || p.UploadID != now.UploadID:
		return fmt.Errorf("upload %s was committed and was not the open one", now.Creator)
	case now.Revision != old.Revision+1:
		return fmt.Errorf("revision %d followed %d", now.Revision, old.Revision)
	}
	l.commits = append(l.commits, now)
	return l.judgeCommit(old, now)
}

// takesOver judges the end of an open upload that was not committed.
func (l *ledger) takesOver(old, now *manifestFile) error {
	if now.Pending == nil && time.Now().Before(l.lastURL.Add(24*time.Hour)) {
		return fmt.Errorf("the open upload of %s was dropped within a day of its last URL", old.Pending.Creator)
	}
	if now.Pending != nil && time.Now().Before(old.Pending.URLsUntil) && !strings.Contains(now.Pending.Creator, "superseding") {
		return fmt.Errorf("%s took over from %s, whose URLs live, without superseding it", now.Pending.Creator,
			old.Pending.Creator)
	}
	return nil
}

func sameMask(a, b maskstore.Mask) bool {
	return a.Key == b.Key && a.Size == b.Size && a.SHA256 == b.SHA256 && a.ETag == b.ETag
}

// judgeCommit: nothing is committed that is not the declared mask.
func (l *ledger) judgeCommit(old, now *manifestFile) error {
	d := l.declared[now.Creator]
	want := maps.Clone(d.masks)
	kept := make(map[string]maskstore.Mask)
	if d.keep {
		for _, m := range old.Masks {
			if _, named := want[m.Key]; !named {
				kept[m.Key] = m
			}
		}
	}
	for _, m := range now.Masks {
		got, was := l.stored[m.Key+" "+m.ETag]
		data, named := want[m.Key]
		k, isKept := kept[m.Key]
		switch {
		case !was:
			return fmt.Errorf("%s: was committed with an ETag that never was there", m.Key)
		case l.w.server.tagOf(m.Key) == "":
			return fmt.Errorf("%s: was committed and is not there", m.Key)
		case isKept && !sameMask(k, m):
			return fmt.Errorf("%s: was to be kept and was changed", m.Key)
		case !isKept && !named:
			return fmt.Errorf("%s: was committed by %s, who did not name it", m.Key, now.Creator)
		case named && (d.hashed || d.reported) && !bytes.Equal(got, data), named && len(got) != len(data):
			return fmt.Errorf("%s: was committed by %s with another content than declared", m.Key, now.Creator)
		}
		delete(want, m.Key)
		delete(kept, m.Key)
	}
	if len(want)+len(kept) > 0 {
		return fmt.Errorf("a revision of %s was committed without %d of its masks", now.Creator, len(want)+len(kept))
	}
	return nil
}

// judgeDelete says what is wrong with deleting what lies at a key.
func (l *ledger) judgeDelete(a *actor, key string) error {
	switch m := l.manifest; {
	case l.w.server.tagOf(key) == "":
	case key == manifestKey && (!m.isTombstone() || time.Now().Before(l.lastURL.Add(24*time.Hour))):
		return fmt.Errorf("%s removes the manifest, which is no tombstone a day past its last URL", a.name)
	case key != manifestKey && m != nil && !m.isTombstone():
		return fmt.Errorf("%s deletes %s of a group that lives", a.name, key)
	}
	return nil
}

// deleted notes a deletion that was done, with what is wrong with it.
func (w *world) deleted(key string, rule error) {
	w.ledger.broken(rule)
	if key == manifestKey {
		w.ledger.manifest = nil
	}
}

// read judges what a reader got: masks of m, by key, or some of them.
func (l *ledger) read(a *actor, m *maskstore.Manifest, got map[string][]byte, whole bool) {
	d, ok := l.declared[m.Creator]
	if !ok || m.Revision == 0 {
		a.w.fail("%s read a revision that nobody declared", a.name)
		return
	}
	for _, mask := range m.Masks {
		data, has := got[mask.Key]
		want, named := d.masks[mask.Key]
		if !named || !d.hashed && !d.reported {
			want = l.stored[mask.Key+" "+mask.ETag]
		}
		switch {
		case !has && whole:
			a.w.fail("%s read revision %d without %s", a.name, m.Revision, mask.Key)
		case has && !bytes.Equal(data, want):
			a.w.fail("%s read a mix: %s is not of revision %d", a.name, mask.Key, m.Revision)
		}
	}
	if whole && len(got) != len(m.Masks) {
		a.w.fail("%s read %d masks of a revision of %d", a.name, len(got), len(m.Masks))
	}
}

// readMasks judges what a reader got who was not told of which revision it is.
func (l *ledger) readMasks(a *actor, got []maskstore.MaskData) {
	for _, m := range l.commits {
		if slices.EqualFunc(got, m.Masks, func(g maskstore.MaskData, m maskstore.Mask) bool {
			return sameMask(g.Mask, m) && bytes.Equal(g.Data, l.stored[m.Key+" "+m.ETag])
		}) {
			return
		}
	}
	a.w.fail("%s read a mix: %d masks that are of no revision", a.name, len(got))
}
