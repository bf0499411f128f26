package maskstoretest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pacs-extension/maskstore"
)

func (e *groupEnv) get(url maskstore.SignedURL) int {
	e.Helper()
	req, err := url.Request(e.Context(), nil)
	e.must(err)
	resp, err := e.client.Do(req)
	e.must(err)
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// wantNoFiles fails if there is anything in dir or, half-written, beside it.
func (e *groupEnv) wantNoFiles(dir string) {
	e.Helper()
	entries, err := os.ReadDir(dir[:strings.LastIndexByte(dir, '/')])
	e.must(err)
	if len(entries) > 0 {
		e.Errorf("a failed download left %v", entries)
	}
}

// keys gives all that lies in the group.
func (e *groupEnv) keys(g *maskstore.Group) []string {
	e.Helper()
	prefix, err := maskstore.GroupPrefix(e.annotation, g.ID())
	e.must(err)
	var keys []string
	for info, err := range e.storage.List(e.Context(), prefix, nil) {
		e.must(err)
		keys = append(keys, info.Key)
	}
	return keys
}

// groups gives the IDs that a listing shows.
func (e *groupEnv) groups(opts *maskstore.GroupsOptions) []string {
	e.Helper()
	var ids []string
	for info, err := range maskstore.Groups(e.Context(), e.storage, e.annotation, opts) {
		e.must(err)
		ids = append(ids, info.Group)
	}
	return ids
}

var groupDeleteTests = map[string]func(*groupEnv){
	"LeavesATombstoneWithoutThePatient": func(e *groupEnv) {
		g := e.group("g")
		up := e.begin(g, hashed(files(3, 1)), &maskstore.BeginOptions{
			Creator: "dr-who", Metadata: &maskstore.Metadata{StudyInstanceUID: "1.2.840.1"},
		})
		_, err := g.Complete(e.Context(), up.UploadID, e.putAll(up, files(3, 1)), nil)
		e.must(err)
		e.must(g.Delete(e.Context()))
		if keys := e.keys(g); !slices.Equal(keys, []string{e.metadataKey(g)}) {
			e.Fatalf("there are %q", keys)
		}
		data := e.manifestBytes(g)
		for _, said := range []string{"dr-who", "1.2.840.1", "liver"} {
			if bytes.Contains(data, []byte(said)) {
				e.Errorf("the tombstone says %q", said)
			}
		}
		_, err = g.Manifest(e.Context())
		e.wantErr(err, maskstore.ErrDeleted)
		_, err = g.Complete(e.Context(), up.UploadID, nil, nil)
		e.wantErr(err, maskstore.ErrDeleted)
		_, err = g.Renew(e.Context(), up.UploadID, nil, nil)
		e.wantErr(err, maskstore.ErrDeleted)
		if ids := e.groups(nil); len(ids) > 0 {
			e.Errorf("the listing shows %q", ids)
		}
	},
	"IDIsFreeAfterTheLastURL": func(e *groupEnv) {
		g := e.group("g")
		e.begin(g, hashed(files(1, 1)), &maskstore.BeginOptions{TTL: time.Hour})
		e.save(g, files(1, 1))
		late := e.begin(g, hashed(files(2, 2)), nil)
		e.must(g.Delete(e.Context()))
		if status, _ := e.put(late.Masks[1].URL, maskPNG(1, 2)); status != http.StatusOK {
			e.Fatalf("late PUT over nothing: status %d", status) // it reappears under the tombstone
		}
		e.wait(50 * time.Minute)
		_, err := g.Begin(e.Context(), hashed(files(2, 3)), &maskstore.BeginOptions{Supersede: true})
		e.wantErr(err, maskstore.ErrDeleted)
		e.wait(12 * time.Minute)
		e.save(g, files(2, 3))
		e.wantMasks(g, 1, files(2, 3))
	},
	"UnreadableManifestKeepsTheIDForAnyURL": func(e *groupEnv) {
		g := e.group("g")
		e.begin(g, hashed(files(1, 1)), &maskstore.BeginOptions{TTL: time.Hour})
		e.overwrite(e.metadataKey(g), []byte("?"))
		e.must(g.Delete(e.Context()))
		e.wait(50 * time.Minute)
		_, err := g.Begin(e.Context(), hashed(files(1, 2)), nil)
		e.wantErr(err, maskstore.ErrDeleted)
	},
	"CanBeRunAgain": func(e *groupEnv) {
		for _, op := range []string{"Put", "List", "Delete"} {
			g := e.group("g-" + strings.ToLower(op))
			e.save(g, files(3, 1))
			h := &hooked{ObjectStorage: e.storage, before: func(got, _ string) error {
				if got == op {
					return errLost
				}
				return nil
			}}
			e.wantErr(e.groupOn(h, g.ID()).Delete(e.Context()), maskstore.ErrUnavailable)
			for range 2 {
				e.must(g.Delete(e.Context()))
				if keys := e.keys(g); !slices.Equal(keys, []string{e.metadataKey(g)}) {
					e.Fatalf("stopped at %s: there are %q", op, keys)
				}
			}
		}
	},
	"OfWhatCannotBeRead": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		e.overwrite(e.metadataKey(g), []byte("{"))
		e.must(g.Delete(e.Context()))
		if keys := e.keys(g); !slices.Equal(keys, []string{e.metadataKey(g)}) {
			e.Errorf("there are %q", keys)
		}
		_, err := g.Manifest(e.Context())
		e.wantErr(err, maskstore.ErrDeleted)
	},
	"ListingThatIsCutShortSaysSo": func(e *groupEnv) {
		for _, id := range []string{"a", "b", "c"} {
			e.begin(e.group(id), hashed(files(1, 1)), nil)
		}
		ctx, cancel := context.WithCancel(e.Context())
		defer cancel()
		var last error
		for _, err := range maskstore.Groups(ctx, e.storage, e.annotation, &maskstore.GroupsOptions{Concurrency: 1}) {
			last = err
			cancel()
		}
		e.wantErr(last, context.Canceled)
	},
	"OfWhatIsNotThere": func(e *groupEnv) {
		g := e.group("g")
		e.must(g.Delete(e.Context()))
		if keys := e.keys(g); len(keys) > 0 {
			e.Errorf("it left %q", keys)
		}
		e.overwrite(e.key(g, 0), maskPNG(0, 1))
		e.must(g.Delete(e.Context()))
		if _, err := e.storage.Stat(e.Context(), e.key(g, 0)); err == nil {
			e.Error("masks without a manifest were not deleted")
		}
	},
	"LostAnswerIsSuccess": func(e *groupEnv) {
		e.save(e.group("g"), files(1, 1))
		h := &hooked{ObjectStorage: e.storage, after: loseAnswer("Put", metadataName)}
		e.must(e.groupOn(h, "g").Delete(e.Context()))
	},
	"GroupsCostNothingForTheirMasks": func(e *groupEnv) {
		for _, id := range []string{"a", "b", "c", "d"} {
			e.save(e.group(id), files(3, 1))
		}
		e.must(e.group("b").Delete(e.Context()))
		e.begin(e.group("c"), hashed(files(2, 2)), &maskstore.BeginOptions{Creator: "ann"})
		e.begin(e.group("e"), hashed(files(2, 2)), nil)
		e.overwrite(e.key(e.group("f"), 0), maskPNG(0, 1))
		h := &hooked{ObjectStorage: e.storage}
		var infos []maskstore.GroupInfo
		for info, err := range maskstore.Groups(e.Context(), h, e.annotation, nil) {
			e.must(err)
			infos = append(infos, info)
		}
		if h.count("List") != 1 || h.count("Get") != 6 || len(h.calls) != 7 {
			e.Errorf("calls were %q; want a List, and a Get for each of 6", h.calls)
		}
		if ids := e.groups(nil); !slices.Equal(ids, []string{"a", "c", "d", "e", "f"}) {
			e.Fatalf("the listing shows %q", ids)
		}
		if c := infos[1]; c.Manifest == nil || c.Manifest.Revision != 1 || c.Open == nil || c.Open.Creator != "ann" ||
			c.Open.Masks != 2 {
			e.Errorf("c is shown as %+v", c)
		}
		if en, f := infos[3], infos[4]; en.Manifest != nil || !en.HasManifest || f.HasManifest {
			e.Errorf("e and f are shown as %+v, %+v", en, f)
		}
		if ids := e.groups(&maskstore.GroupsOptions{StartAfter: "a", Limit: 2}); !slices.Equal(ids, []string{"c", "d"}) {
			e.Errorf("the page after a shows %q", ids)
		}
	},
}

func (e *groupEnv) sweep(dryRun bool) *maskstore.SweepReport {
	e.Helper()
	report, err := maskstore.Sweep(e.Context(), e.storage,
		&maskstore.SweepOptions{Annotation: e.annotation, Now: e.now, DryRun: dryRun})
	e.must(err)
	return report
}

var groupSweepTests = map[string]func(*groupEnv){
	"LeavesAloneWhatIsNotAtRest": func(e *groupEnv) {
		e.save(e.group("committed"), files(2, 1))
		e.begin(e.group("open"), hashed(files(2, 1)), nil)
		e.save(e.group("deleted"), files(2, 1))
		e.must(e.group("deleted").Delete(e.Context()))
		e.wait(23 * time.Hour)
		r := e.sweep(false)
		if r.Groups != 3 || len(r.Tombstoned)+len(r.Dropped)+len(r.Removed) > 0 {
			e.Errorf("report is %+v", r)
		}
	},
	"LeavesCommittedRevisionsAlone": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		before := e.manifestBytes(g)
		e.wait(48 * time.Hour)
		if r := e.sweep(false); len(r.Tombstoned)+len(r.Dropped)+len(r.Removed) > 0 || !bytes.Equal(e.manifestBytes(g), before) {
			e.Errorf("report %+v; the manifest was %s and is %s", r, before, e.manifestBytes(g))
		}
		e.wantMasks(g, 1, files(2, 1))
	},
	"TombstonesWhatWasNeverCommitted": func(e *groupEnv) {
		g := e.group("g")
		up := e.begin(g, hashed(files(2, 1)), nil)
		e.putAll(up, files(2, 1))
		e.wait(26 * time.Hour)
		if r := e.sweep(true); len(r.Tombstoned) != 1 || len(e.keys(g)) != 3 {
			e.Fatalf("dry run: report %+v, %q are left", r, e.keys(g))
		}
		if r := e.sweep(false); len(r.Tombstoned) != 1 || len(e.keys(g)) != 1 {
			e.Fatalf("report %+v, %q are left", r, e.keys(g))
		}
		_, err := g.Complete(e.Context(), up.UploadID, nil, nil)
		e.wantErr(err, maskstore.ErrDeleted)
	},
	"RemovesTombstonesAndWhatReappeared": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		e.must(g.Delete(e.Context()))
		e.overwrite(e.key(g, 0), maskPNG(0, 1))
		e.wait(26 * time.Hour)
		if r := e.sweep(true); len(r.Removed) != 1 || len(e.keys(g)) != 2 {
			e.Fatalf("dry run: report %+v, %q are left", r, e.keys(g))
		}
		if r := e.sweep(false); len(r.Removed) != 1 || len(e.keys(g)) != 0 {
			e.Fatalf("report %+v, %q are left", r, e.keys(g))
		}
	},
	"DropsAnAbandonedResaveAndNamesWhatItSpoiled": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(3, 1))
		up := e.begin(g, hashed(files(3, 2)), nil)
		e.put(up.Masks[1].URL, maskPNG(1, 2))
		e.wait(26 * time.Hour)
		r := e.sweep(false)
		if len(r.Dropped) != 1 || !slices.Equal(r.Spoiled, []string{e.key(g, 1)}) {
			e.Fatalf("report is %+v", r)
		}
		m, err := g.Manifest(e.Context())
		e.must(err)
		if m.Revision != 1 || len(e.keys(g)) != 4 {
			e.Errorf("revision %d, %q are left", m.Revision, e.keys(g))
		}
		_, err = g.Complete(e.Context(), up.UploadID, nil, nil)
		e.wantErr(err, maskstore.ErrSuperseded)
		e.save(g, files(3, 3))
	},
	"OnlyReportsWhatHasNoManifest": func(e *groupEnv) {
		g := e.group("g")
		e.overwrite(e.key(g, 0), maskPNG(0, 1))
		e.wait(1000 * time.Hour)
		r := e.sweep(false)
		if len(r.Unmanaged) != 1 || len(e.keys(g)) != 1 {
			e.Errorf("report %+v, %q are left", r, e.keys(g))
		}
	},
	"LeavesWhatIsNoGroupsAlone": func(e *groupEnv) {
		prefix, err := maskstore.AnnotationPrefix(e.annotation)
		e.must(err)
		key := prefix + "_large/volume.bin"
		e.overwrite(key, []byte("large"))
		e.wait(1000 * time.Hour)
		if r := e.sweep(false); r.Groups > 0 || len(r.Unmanaged) > 0 {
			e.Errorf("report is %+v", r)
		}
		if ids := e.groups(nil); len(ids) > 0 {
			e.Errorf("the listing shows %q", ids)
		}
		_, err = e.storage.Stat(e.Context(), key)
		e.must(err)
	},
	"GivesWayToABegin": func(e *groupEnv) {
		for _, committed := range []bool{false, true} {
			g := e.group(map[bool]string{false: "new", true: "resave"}[committed])
			revision := 1
			if committed {
				e.save(g, files(2, 1))
				revision = 2
			}
			e.begin(g, hashed(files(2, 2)), nil)
			e.wait(26 * time.Hour)
			h := &hooked{ObjectStorage: e.storage, before: once("Put", metadataName, func() { e.save(g, files(2, 3)) })}
			r, err := maskstore.Sweep(e.Context(), h, &maskstore.SweepOptions{Annotation: e.annotation, Now: e.now})
			e.must(err)
			if len(r.Tombstoned)+len(r.Dropped) > 0 {
				e.Errorf("report is %+v", r)
			}
			e.wantMasks(g, revision, files(2, 3))
		}
	},
	"GivesWayToABeginOverATombstone": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		e.must(g.Delete(e.Context()))
		e.wait(26 * time.Hour)
		h := &hooked{ObjectStorage: e.storage, before: once("Put", metadataName, func() { e.save(g, files(2, 2)) })}
		_, err := maskstore.Sweep(e.Context(), h, &maskstore.SweepOptions{Annotation: e.annotation, Now: e.now})
		e.must(err)
		e.wantMasks(g, 1, files(2, 2))
	},
	"TombstoneThatIsBeingRemovedKeepsUploadsOut": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		e.must(g.Delete(e.Context()))
		e.wait(26 * time.Hour)
		h := &hooked{ObjectStorage: e.storage, before: once("Delete", metadataName, func() {
			_, err := g.Begin(e.Context(), hashed(files(1, 1)), nil)
			e.wantErr(err, maskstore.ErrDeleted)
		})}
		_, err := maskstore.Sweep(e.Context(), h, &maskstore.SweepOptions{Annotation: e.annotation, Now: e.now})
		e.must(err)
		e.save(g, files(1, 1))
	},
	// A Delete that wrote its own tombstone there would lose it to the Sweep, and then delete what the next upload puts.
	"TombstoneThatIsBeingRemovedKeepsDeletesOut": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		e.must(g.Delete(e.Context()))
		e.wait(26 * time.Hour)
		h := &hooked{ObjectStorage: e.storage, before: func(op, key string) error {
			if op != "Delete" || !strings.HasSuffix(key, metadataName) {
				return nil
			}
			e.wantErr(g.Delete(e.Context()), maskstore.ErrUnavailable)
			return errLost // the Sweep stops here
		}}
		_, err := maskstore.Sweep(e.Context(), h, &maskstore.SweepOptions{Annotation: e.annotation, Now: e.now})
		e.wantErr(err, maskstore.ErrUnavailable)
		e.wantErr(g.Delete(e.Context()), maskstore.ErrUnavailable)
		e.wait(21 * time.Minute)
		e.must(g.Delete(e.Context()))
	},
	"AbortsStaleMultipartUploads": func(e *groupEnv) {
		storage, ok := maskstore.As[maskstore.MultipartStorage](e.storage)
		if !ok {
			return // nothing there that could be stale
		}
		g := e.group("g")
		specs := hashed(files(2, 1))
		specs[1].Size = 6 << 20 // large enough to come in parts
		up := e.begin(g, specs, nil)
		id, err := storage.CreateMultipartUpload(e.Context(), up.Masks[1].Key, nil)
		e.must(err)
		if r := e.sweep(false); len(r.Aborted) > 0 {
			e.Fatal("an upload that has just begun was aborted")
		}
		e.wait(26 * time.Hour)
		if r := e.sweep(false); len(r.Aborted) != 1 || r.Aborted[0].UploadID != id {
			e.Fatalf("aborted are %+v; want %s", r.Aborted, id)
		}
		for upload, err := range storage.ListMultipartUploads(e.Context(), up.Masks[1].Key) {
			e.must(err)
			e.Errorf("upload %s is left", upload.UploadID)
		}
	},
	"LeavesAloneUploadsThatMayBeUnderWay": func(e *groupEnv) {
		storage, ok := maskstore.As[maskstore.MultipartStorage](e.storage)
		if !ok {
			return
		}
		g := e.group("g")
		e.overwrite(e.key(g, 1), maskPNG(1, 1))
		_, err := g.Adopt(e.Context(), nil) // it has given out no URL, and so is at rest at once
		e.must(err)
		id, err := storage.CreateMultipartUpload(e.Context(), e.key(g, 2), nil)
		e.must(err)
		if r := e.sweep(false); len(r.Aborted) > 0 {
			e.Errorf("aborted are %+v", r.Aborted)
		}
		e.must(storage.AbortMultipartUpload(e.Context(), e.key(g, 2), id))
	},
}
