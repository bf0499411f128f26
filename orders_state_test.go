package maskstore_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pacs-extension/maskstore"
)

// digest is of a text that tells apart what can go on differently, and is the same for what cannot: random IDs are in it by
// the names of their makers, times by what has passed since the start.
type digest [16]byte

// and gives the digest of d and what came after it.
func (d digest) and(parts ...string) digest {
	h := sha256.New()
	h.Write(d[:])
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		h.Write([]byte(p))
	}
	return digest(h.Sum(nil)[:len(d)])
}

func (d digest) String() string { return hex.EncodeToString(d[:]) }

// state tells worlds apart that can go on differently: by what each actor knows, what lies in the storage, and the clock.
// What an actor does is settled by what it knows: within a call to the package, by all the answers that it got from the
// storage since; between two calls, by what the first returned.
func (w *world) state() digest {
	d := digest{}.and(fmt.Sprint(w.elapsed, w.faults, w.after(w.ledger.lastURL)))
	for _, a := range w.actors {
		if a.options != nil {
			d = d.and(a.name, a.history.String())
		}
	}
	for _, key := range slices.Sorted(maps.Keys(w.writes)) {
		if v := w.version(key); v != none || w.writes[key] > 0 {
			d = d.and(key, fmt.Sprint(w.writes[key]), v)
		}
	}
	if w.replays { // else only those who have not ended use URLs
		for _, u := range w.urls {
			d = d.and(w.nameOf(u))
		}
	}
	return d
}

// saw adds to what the actor knows, within a call.
func (a *actor) saw(what ...string) { a.history = a.history.and(what...) }

// knows sets what the actor knows, between two calls.
func (a *actor) knows(what ...any) {
	a.history = digest{}.and(a.name, fmt.Sprint(a.puts), fmt.Sprint(what...))
}

// after gives a time as what had passed since the start.
func (w *world) after(t time.Time) time.Duration { return t.Sub(w.begun) }

const none = "nothing"

// version tells what lies at a key from all else that can lie there.
func (w *world) version(key string) string { return w.versionOf(w.server.tagOf(key)) }

func (w *world) versionOf(etag string) string {
	if etag == "" {
		return none
	}
	return w.versions[etag].String()
}

// note gives what was written its version. Masks are their content, where their ETags are. Else it is which write it was of
// that key, and whose: no other can be taken for it.
func (w *world) note(writer string, key, etag string, data []byte) {
	if key != manifestKey && !w.uniqueTags {
		w.versions[etag], w.writes[key] = digest{}.and(etag), 0
		return
	}
	w.writes[key]++
	content := string(data)
	if key == manifestKey {
		var members map[string]any
		if err := json.Unmarshal(data, &members); err != nil {
			panic(err)
		}
		content = fmt.Sprint(w.canonical("", members))
	}
	w.versions[etag] = digest{}.and(writer, key, fmt.Sprint(w.writes[key]), content)
}

// canonical gives a manifest's value without random IDs, which its creators stand for, and with times and ETags by name.
func (w *world) canonical(name string, value any) any {
	switch value := value.(type) {
	case map[string]any:
		for member, v := range value {
			if member == "write_id" || member == "upload_id" {
				delete(value, member)
			} else if name == "base_etags" {
				value[member] = w.versionOf(v.(string))
			} else {
				value[member] = w.canonical(member, v)
			}
		}
	case []any:
		for i, v := range value {
			value[i] = w.canonical("", v)
		}
	case string:
		if name == "etag" {
			return w.versionOf(value)
		}
		if t, err := time.Parse(time.RFC3339, value); err == nil {
			return w.after(t)
		}
	}
	return value
}

func (w *world) nameOf(u *givenURL) string {
	return fmt.Sprint(u.name, w.versionOf(u.ifMatch), u.noOverwrite, w.after(u.Expires))
}

// nameOfUpload tells an upload, with the ETags that its client got, from others.
func (a *actor) nameOfUpload(up *maskstore.GroupUpload, etags map[string]string) string {
	var b strings.Builder
	fmt.Fprint(&b, up.Revision, a.w.after(up.Expires))
	for _, m := range up.Masks {
		fmt.Fprint(&b, m.Key, m.Unchanged, a.w.versionOf(m.ETag))
		if u := a.urls[m.URL.URL]; u != nil {
			fmt.Fprint(&b, a.w.nameOf(u))
		}
	}
	fmt.Fprint(&b, etags == nil)
	for _, key := range slices.Sorted(maps.Keys(etags)) {
		fmt.Fprint(&b, key, a.w.versionOf(etags[key]))
	}
	return b.String()
}
