package maskstoretest

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pacs-extension/maskstore"
)

const metadataName = "metadata.json"

var groupBeginTests = map[string]func(*groupEnv){
	"NewGroupCostsOnePut": func(e *groupEnv) {
		h := &hooked{ObjectStorage: e.storage}
		g := e.groupOn(h, "")
		e.begin(g, hashed(files(3, 1)), nil)
		if !slices.Equal(h.calls, []string{"Put"}) {
			e.Fatalf("calls were %q", h.calls)
		}
	},
	"ReadersSeeNothingBeforeTheFirstCommit": func(e *groupEnv) {
		g := e.group("g")
		_, err := g.Manifest(e.Context())
		e.wantErr(err, maskstore.ErrNotFound)
		e.begin(g, hashed(files(2, 1)), nil)
		_, err = g.Manifest(e.Context())
		e.wantErr(err, maskstore.ErrIncomplete)
		_, _, err = g.DownloadURLs(e.Context(), nil)
		e.wantErr(err, maskstore.ErrIncomplete)
	},
	"ReadersSeeTheOldRevisionMeanwhile": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		e.begin(g, hashed(files(3, 2)), nil)
		e.wantMasks(g, 1, files(2, 1))
	},
	"URLBindsWhatWasDeclared": func(e *groupEnv) {
		masks := files(1, 1)
		url := e.begin(e.group("g"), hashed(masks), nil).Masks[0].URL
		data := read(masks[0].Body)
		for name, try := range map[string]func() (int, string){
			"another content": func() (int, string) { return e.put(url, maskPNG(0, 9)) },
			"another length": func() (int, string) {
				longer := url
				longer.ContentLength = 0
				return e.put(longer, append(slices.Clone(data), 0))
			},
			"another type": func() (int, string) {
				html := url
				html.Header = url.Header.Clone()
				html.Header.Set("Content-Type", "text/html")
				return e.put(html, data)
			},
		} {
			if status, _ := try(); status < 400 || status > 499 {
				e.Errorf("%s: status %d", name, status)
			}
		}
		if status, _ := e.put(url, data); status != http.StatusOK {
			e.Errorf("as declared: status %d", status)
		}
		url = e.begin(e.group("unhashed"), unhashed(masks), nil).Masks[0].URL
		url.ContentLength = 0
		if status, _ := e.put(url, append(slices.Clone(data), 0)); status < 400 || status > 499 {
			e.Errorf("another length, without a SHA-256: status %d", status)
		}
	},
	"URLWorksOnce": func(e *groupEnv) {
		g := e.group("g")
		for version := range byte(2) { // over nothing, and over a committed mask
			masks := files(1, version)
			up := e.begin(g, hashed(masks), nil)
			etags := e.putAll(up, masks)
			if status, _ := e.put(up.Masks[0].URL, read(masks[0].Body)); status != http.StatusPreconditionFailed {
				e.Errorf("replay: status %d; want 412", status)
			}
			_, err := g.Complete(e.Context(), up.UploadID, etags, nil)
			e.must(err)
			if status, _ := e.put(up.Masks[0].URL, read(masks[0].Body)); status != http.StatusPreconditionFailed {
				e.Errorf("late replay: status %d; want 412", status)
			}
		}
		e.wantMasks(g, 2, files(1, 1))
	},
	"OlderURLChangesNothing": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		older := e.begin(g, hashed(files(2, 2)), nil)
		e.save(g, files(2, 3))
		for i, m := range older.Masks {
			if status, _ := e.put(m.URL, maskPNG(byte(i), 2)); status != http.StatusPreconditionFailed {
				e.Errorf("PUT by an older URL: status %d; want 412", status)
			}
		}
		e.wantMasks(g, 2, files(2, 3))
	},
	"UnchangedMasksHaveNoURL": func(e *groupEnv) {
		g := e.group("g")
		masks := files(200, 1)
		_, err := g.Upload(e.Context(), masks, nil)
		e.must(err)
		for _, i := range []int{7, 77, 177} {
			masks[i].Body = maskstore.BytesBody(maskPNG(byte(i), 2))
		}
		up := e.begin(g, hashed(masks), nil)
		etags := e.putAll(up, masks)
		if len(etags) != 3 {
			e.Fatalf("%d PUTs; want 3", len(etags))
		}
		_, err = g.Complete(e.Context(), up.UploadID, etags, nil)
		e.must(err)
		e.wantMasks(g, 2, masks)
	},
	"SpoiledMaskIsNotUnchanged": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		abandoned := files(2, 2)
		up := e.begin(g, hashed(abandoned), nil)
		e.put(up.Masks[0].URL, read(abandoned[0].Body))
		up = e.begin(g, hashed(files(2, 1)), &maskstore.BeginOptions{Supersede: true})
		if up.Masks[0].Unchanged || !up.Masks[1].Unchanged {
			e.Fatalf("unchanged: %v, %v; want false, true", up.Masks[0].Unchanged, up.Masks[1].Unchanged)
		}
		_, err := g.Complete(e.Context(), up.UploadID, e.putAll(up, files(2, 1)), nil)
		e.must(err)
		e.wantMasks(g, 2, files(2, 1))
	},
	"RevisionIsTheMasksNamed": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(3, 1))
		e.save(g, files(1, 2))
		e.wantMasks(g, 2, files(1, 2))
		e.save(g, files(3, 3)) // what revision 2 left lying is overwritten at the first try
		e.wantMasks(g, 3, files(3, 3))
	},
	"KeepKeepsTheOthers": func(e *groupEnv) {
		for name, specs := range map[string]func([]maskstore.MaskFile) []maskstore.MaskSpec{
			"hashed": hashed, "unhashed": unhashed,
		} {
			g := e.group(name)
			up := e.begin(g, specs(files(3, 1)), nil)
			_, err := g.Complete(e.Context(), up.UploadID, e.putAll(up, files(3, 1)), nil)
			e.must(err)
			masks := files(1, 2)
			up = e.begin(g, specs(masks), &maskstore.BeginOptions{Keep: true})
			_, err = g.Complete(e.Context(), up.UploadID, e.putAll(up, masks), nil)
			e.must(err)
			e.wantMasks(g, 2, append(masks, files(3, 1)[1:]...))
		}
	},
	"NoOverwriteRefusesAnyManifest": func(e *groupEnv) {
		g := e.group("g")
		first := e.begin(g, hashed(files(1, 1)), &maskstore.BeginOptions{NoOverwrite: true})
		_, err := g.Begin(e.Context(), hashed(files(1, 2)), &maskstore.BeginOptions{NoOverwrite: true, Supersede: true})
		e.wantErr(err, maskstore.ErrPreconditionFailed)
		_, err = g.Complete(e.Context(), first.UploadID, e.putAll(first, files(1, 1)), nil)
		e.must(err)
		_, err = g.Begin(e.Context(), hashed(files(1, 2)), &maskstore.BeginOptions{NoOverwrite: true})
		e.wantErr(err, maskstore.ErrPreconditionFailed)
		e.wantMasks(g, 1, files(1, 1))
	},
	"OpenUploadKeepsOthersOut": func(e *groupEnv) {
		g := e.group("g")
		first := e.begin(g, hashed(files(1, 1)), &maskstore.BeginOptions{Creator: "ann"})
		_, err := g.Begin(e.Context(), hashed(files(1, 2)), &maskstore.BeginOptions{Creator: "bob", SupersedeOwn: true})
		e.wantErr(err, maskstore.ErrUploadOpen)
		var open *maskstore.UploadOpenError
		if !errors.As(err, &open) || open.Creator != "ann" || open.Until.Before(first.Expires) {
			e.Fatalf("error is %v; want it to say that ann's upload is open, and until when", err)
		}
		_, err = g.Complete(e.Context(), first.UploadID, e.putAll(first, files(1, 1)), nil)
		e.must(err)
	},
	"OwnUploadKeepsOutWithoutSupersedeOwn": func(e *groupEnv) {
		for _, row := range []maskstore.BeginOptions{{Creator: "ann"}, {SupersedeOwn: true}} { // nobody is known by no name
			g := e.group("g-" + row.Creator + "x")
			e.begin(g, hashed(files(1, 1)), &maskstore.BeginOptions{Creator: row.Creator})
			_, err := g.Begin(e.Context(), hashed(files(1, 2)), &row)
			e.wantErr(err, maskstore.ErrUploadOpen)
		}
	},
	"ExpiredUploadDoesNot": func(e *groupEnv) {
		g := e.group("g")
		e.begin(g, hashed(files(1, 1)), nil)
		e.wait(12 * time.Minute)
		e.save(g, files(1, 2))
		e.wantMasks(g, 1, files(1, 2))
	},
	"SupersededUploadIsToldSo": func(e *groupEnv) {
		g := e.group("g")
		for _, take := range []maskstore.BeginOptions{{Creator: "bob", Supersede: true}, {Creator: "ann", SupersedeOwn: true}} {
			first := e.begin(g, hashed(files(1, 1)), &maskstore.BeginOptions{Creator: "ann"})
			etags := e.putAll(first, files(1, 1))
			second := e.begin(g, hashed(files(1, 2)), &take)
			_, err := g.Renew(e.Context(), first.UploadID, etags, nil)
			e.wantErr(err, maskstore.ErrSuperseded)
			_, err = g.Complete(e.Context(), first.UploadID, etags, nil)
			e.wantErr(err, maskstore.ErrSuperseded)
			_, err = g.Complete(e.Context(), second.UploadID, e.putAll(second, files(1, 2)), nil)
			e.must(err)
			e.must(g.Delete(e.Context()))
			g = e.group("g2")
		}
	},
	"LostAnswerIsSuccess": func(e *groupEnv) {
		g := e.groupOn(&hooked{ObjectStorage: e.storage, after: loseAnswer("Put", metadataName)}, "g")
		masks := files(2, 1)
		up := e.begin(g, hashed(masks), nil)
		_, err := e.group("g").Complete(e.Context(), up.UploadID, e.putAll(up, masks), nil)
		e.must(err)
	},
	"OwnWriteFoundLaterIsSuccess": func(e *groupEnv) {
		h := &hooked{ObjectStorage: e.storage}
		fail := loseAnswer("Get", metadataName)
		h.after = func(op, key string, err error) error {
			if op == "Put" && h.count("Put") == 1 {
				return maskstore.ErrPreconditionFailed // a retry's, after the answer to the first attempt was lost
			}
			if h.count("Put") > 0 {
				return fail(op, key, err)
			}
			return err
		}
		up := e.begin(e.groupOn(h, "g"), hashed(files(1, 1)), nil)
		_, err := e.group("g").Complete(e.Context(), up.UploadID, e.putAll(up, files(1, 1)), nil)
		e.must(err)
	},
	"ManifestGoneMeanwhile": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(1, 1))
		h := &hooked{ObjectStorage: e.storage, before: once("Put", metadataName, func() {
			e.must(e.storage.Delete(e.Context(), e.metadataKey(g)))
		})}
		up := e.begin(e.groupOn(h, "g"), hashed(files(2, 2)[1:]), nil)
		if up.Revision != 1 {
			e.Errorf("revision %d is begun; want 1", up.Revision)
		}
	},
	"ExpiresWithItsFirstURL": func(e *groupEnv) {
		up := e.begin(e.group("g"), hashed(files(2, 1)), nil)
		first := slices.MinFunc(up.Masks, func(a, b maskstore.MaskURL) int { return a.URL.Expires.Compare(b.URL.Expires) })
		if !up.Expires.Equal(first.URL.Expires) {
			e.Errorf("expires at %v; its first URL at %v", up.Expires, first.URL.Expires)
		}
	},
	"NoURLOutlivesTheUpload": func(e *groupEnv) {
		h := &hooked{ObjectStorage: e.storage, before: once("Put", metadataName, func() { e.wait(2 * time.Minute) })}
		_, err := e.groupOn(h, "g").Begin(e.Context(), hashed(files(1, 1)), nil)
		e.wantErr(err, maskstore.ErrUnavailable)
	},
	"BeginWithinAnothersFirstBegin": func(e *groupEnv) {
		other := e.group("g")
		first := once("Put", metadataName, func() { e.begin(other, hashed(files(2, 1)), nil) })
		_, err := e.groupOn(&hooked{ObjectStorage: e.storage, before: first}, "g").Begin(e.Context(), hashed(files(2, 2)), nil)
		e.wantErr(err, maskstore.ErrUploadOpen)
	},
	"BeginWithinAnothersBegin": func(e *groupEnv) {
		other := e.group("g")
		e.save(other, files(2, 1))
		e.begin(other, hashed(files(2, 2)), nil) // so that the next one lists
		e.wait(12 * time.Minute)
		h := &hooked{ObjectStorage: e.storage, before: once("Put", metadataName, func() { e.save(other, files(2, 3)) })}
		g := e.groupOn(h, "g")
		up := e.begin(g, unhashed(files(2, 4)), nil)
		done, err := g.Complete(e.Context(), up.UploadID, nil, nil)
		e.wantProblems(done, err, maskstore.ProblemMissing, maskstore.ProblemMissing)
		e.wantMasks(g, 2, files(2, 3))
		_, err = g.Complete(e.Context(), up.UploadID, e.putAll(up, files(2, 4)), nil)
		e.must(err)
		e.wantMasks(g, 3, files(2, 4))
	},
	"MembersOfOthersSurvive": func(e *groupEnv) {
		g := e.group("g")
		masks := files(2, 1)
		up := e.begin(g, hashed(masks), &maskstore.BeginOptions{Metadata: &maskstore.Metadata{
			Width: 2, Height: 1, StudyInstanceUID: "1.2.840.1",
			Segments: []maskstore.Segment{
				{Number: 1, Label: "liver", Type: &maskstore.Code{Scheme: "SCT", Value: "10200004", Meaning: "Liver"}},
			},
		}})
		_, err := g.Complete(e.Context(), up.UploadID, e.putAll(up, masks), nil)
		e.must(err)
		e.editManifest(g, func(top map[string]any) {
			top["reviewed_by"] = "dr"
			segment := top["segments"].([]any)[0].(map[string]any)
			segment["opacity"] = 0.5
			segment["segmented_property_type"].(map[string]any)["code_version"] = "2026"
			top["masks"].([]any)[1].(map[string]any)["note"] = "checked"
		})
		masks[0].Body = maskstore.BytesBody(maskPNG(0, 2))
		e.save(g, masks)
		e.editManifest(g, func(top map[string]any) {
			segment := top["segments"].([]any)[0].(map[string]any)
			code := segment["segmented_property_type"].(map[string]any)
			mask := top["masks"].([]any)[1].(map[string]any)
			if top["reviewed_by"] != "dr" || segment["opacity"] != 0.5 || code["code_version"] != "2026" ||
				mask["note"] != "checked" {
				e.Errorf("members that someone else wrote are lost: %v", top)
			}
			if top["study_instance_uid"] != "1.2.840.1" {
				e.Error("the re-save lost the metadata")
			}
		})
	},
	"NothingIsWrittenForBadInput": func(e *groupEnv) {
		good := hashed(files(1, 1))[0]
		bad := func(change func(*maskstore.MaskSpec)) []maskstore.MaskSpec {
			s := good
			change(&s)
			return []maskstore.MaskSpec{good, s}
		}
		for _, row := range []struct {
			field string
			specs []maskstore.MaskSpec
			opts  *maskstore.BeginOptions
		}{
			{"masks", nil, nil},
			{"masks", make([]maskstore.MaskSpec, maskstore.MaxGroupMasks+1), nil},
			{"masks[1]", []maskstore.MaskSpec{good, good}, nil},
			{"masks[1].slice", bad(func(s *maskstore.MaskSpec) { s.Slice = -1 }), nil},
			{"masks[1].slice", bad(func(s *maskstore.MaskSpec) { s.Slice = 10000 }), nil},
			{"masks[1].label", bad(func(s *maskstore.MaskSpec) { s.Label = "a/b" }), nil},
			{"masks[1].label", bad(func(s *maskstore.MaskSpec) { s.Label = "" }), nil},
			{"masks[1].size", bad(func(s *maskstore.MaskSpec) { s.Slice, s.Size = 1, 0 }), nil},
			{"masks[1].size", bad(func(s *maskstore.MaskSpec) { s.Slice, s.Size = 1, -1 }), nil},
			{"masks[1].size", bad(func(s *maskstore.MaskSpec) { s.Slice, s.Size = 1, maskstore.MaxPutSize+1 }), nil},
			{"TTL", []maskstore.MaskSpec{good}, &maskstore.BeginOptions{TTL: -1}},
			{"TTL", []maskstore.MaskSpec{good}, &maskstore.BeginOptions{TTL: time.Second / 2}},
			{"TTL", []maskstore.MaskSpec{good}, &maskstore.BeginOptions{TTL: 8 * 24 * time.Hour}},
			{"creator", []maskstore.MaskSpec{good}, &maskstore.BeginOptions{Creator: "a\nb"}},
			{"metadata.study_instance_uid", []maskstore.MaskSpec{good},
				&maskstore.BeginOptions{Metadata: &maskstore.Metadata{StudyInstanceUID: "1.2.x"}}},
			{"metadata.width", []maskstore.MaskSpec{good}, &maskstore.BeginOptions{Metadata: &maskstore.Metadata{Width: 3}}},
			{"metadata.segments[0].segment_number", []maskstore.MaskSpec{good},
				&maskstore.BeginOptions{Metadata: &maskstore.Metadata{Segments: []maskstore.Segment{{Label: "a"}}}}},
		} {
			h := &hooked{ObjectStorage: e.storage}
			_, err := e.groupOn(h, "g").Begin(e.Context(), row.specs, row.opts)
			var input *maskstore.InputError
			if !errors.Is(err, maskstore.ErrInvalidArgument) || !errors.As(err, &input) || input.Field != row.field ||
				input.Want == "" {
				e.Errorf("error is %v; want one about %s that says what is right", err, row.field)
			}
			if len(h.calls) > 0 {
				e.Errorf("%s: calls were made: %q", row.field, h.calls)
			}
		}
	},
}

// editManifest lets edit look at the manifest as JSON, and stores what it makes of it.
func (e *groupEnv) editManifest(g *maskstore.Group, edit func(map[string]any)) {
	e.Helper()
	var top map[string]any
	e.must(json.Unmarshal(e.manifestBytes(g), &top))
	edit(top)
	data, err := json.Marshal(top)
	e.must(err)
	e.overwrite(e.metadataKey(g), data)
}

func (e *groupEnv) manifestBytes(g *maskstore.Group) []byte {
	e.Helper()
	obj, err := e.storage.Get(e.Context(), e.metadataKey(g), nil)
	e.must(err)
	defer obj.Body.Close()
	data, err := io.ReadAll(obj.Body)
	e.must(err)
	return data
}

var groupRenewTests = map[string]func(*groupEnv){
	"SignsWhatIsNotThere": func(e *groupEnv) {
		for name, specs := range map[string][]maskstore.MaskSpec{
			"hashed": hashed(files(3, 1)), "unhashed": unhashed(files(3, 1)),
		} {
			for _, reports := range []bool{true, false} {
				g := e.group(name + map[bool]string{true: "-reported"}[reports])
				masks := files(3, 1)
				up := e.begin(g, specs, nil)
				status, etag := e.put(up.Masks[1].URL, read(masks[1].Body))
				if status != http.StatusOK {
					e.Fatalf("PUT: status %d", status)
				}
				var etags map[string]string
				if reports {
					etags = map[string]string{up.Masks[1].Key: `"` + etag + `"`} // as the header has it
				}
				renewed, err := g.Renew(e.Context(), up.UploadID, etags, nil)
				e.must(err)
				if renewed.UploadID != up.UploadID || renewed.Masks[0].Unchanged || !renewed.Masks[1].Unchanged ||
					renewed.Masks[2].Unchanged {
					e.Fatalf("%s: Renew gave %+v", g.ID(), renewed.Masks)
				}
				more := e.putAll(renewed, masks)
				if reports {
					maps.Copy(etags, more)
				}
				_, err = g.Complete(e.Context(), up.UploadID, etags, nil)
				e.must(err)
				e.wantMasks(g, 1, masks)
			}
		}
	},
	"SettlesAFailedCondition": func(e *groupEnv) {
		g := e.group("g")
		masks := files(1, 1)
		up := e.begin(g, hashed(masks), nil)
		e.overwrite(e.key(g, 0), maskPNG(0, 9))
		if status, _ := e.put(up.Masks[0].URL, read(masks[0].Body)); status != http.StatusPreconditionFailed {
			e.Fatalf("PUT over something new: status %d; want 412", status)
		}
		up, err := g.Renew(e.Context(), up.UploadID, map[string]string{}, nil)
		e.must(err)
		_, err = g.Complete(e.Context(), up.UploadID, e.putAll(up, masks), nil)
		e.must(err)
		e.wantMasks(g, 1, masks)
	},
	"SettlesAMaskThatIsGone": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(1, 1))
		masks := files(1, 2)
		up := e.begin(g, hashed(masks), nil)
		e.must(e.storage.Delete(e.Context(), e.key(g, 0)))
		if status, _ := e.put(up.Masks[0].URL, read(masks[0].Body)); status < 400 {
			e.Fatalf("PUT over what is gone: status %d", status)
		}
		up, err := g.Renew(e.Context(), up.UploadID, nil, nil)
		e.must(err)
		_, err = g.Complete(e.Context(), up.UploadID, e.putAll(up, masks), nil)
		e.must(err)
		e.wantMasks(g, 2, masks)
	},
	"GoesOnAfterExpiry": func(e *groupEnv) {
		g := e.group("g")
		up := e.begin(g, hashed(files(2, 1)), &maskstore.BeginOptions{Creator: "ann"})
		e.wait(12 * time.Minute)
		_, err := g.Renew(e.Context(), up.UploadID, nil, nil)
		e.must(err)
		_, err = g.Begin(e.Context(), hashed(files(2, 2)), nil)
		e.wantErr(err, maskstore.ErrUploadOpen)
	},
	"ShorterTTLKeepsOthersOutAsLong": func(e *groupEnv) {
		g := e.group("g")
		up := e.begin(g, hashed(files(1, 1)), &maskstore.BeginOptions{TTL: time.Hour})
		_, err := g.Renew(e.Context(), up.UploadID, nil, nil)
		e.must(err)
		e.wait(12 * time.Minute)
		_, err = g.Begin(e.Context(), hashed(files(1, 2)), nil)
		e.wantErr(err, maskstore.ErrUploadOpen)
	},
	"TombstoneOutlastsItsURLs": func(e *groupEnv) {
		g := e.group("g")
		up := e.begin(g, hashed(files(1, 1)), nil)
		e.wait(8 * time.Minute)
		_, err := g.Renew(e.Context(), up.UploadID, nil, &maskstore.RenewOptions{TTL: 40 * time.Minute})
		e.must(err)
		e.must(g.Delete(e.Context()))
		e.wait(25 * time.Minute) // the first URLs have expired, and the time for deleting is over
		_, err = g.Begin(e.Context(), hashed(files(1, 2)), nil)
		e.wantErr(err, maskstore.ErrDeleted)
	},
	"OfACommittedUploadHasNothingToSign": func(e *groupEnv) {
		g := e.group("g")
		m := e.save(g, files(2, 1))
		up, err := g.Renew(e.Context(), m.UploadID, nil, nil)
		e.must(err)
		for _, mask := range up.Masks {
			if !mask.Unchanged || mask.URL.URL != "" {
				e.Errorf("%s got a URL after its commit", mask.Key)
			}
		}
	},
	"OfNoGroup": func(e *groupEnv) {
		_, err := e.group("g").Renew(e.Context(), "x", nil, nil)
		e.wantErr(err, maskstore.ErrNotFound)
	},
	"LostAnswerIsSuccess": func(e *groupEnv) {
		up := e.begin(e.group("g"), hashed(files(2, 1)), nil)
		g := e.groupOn(&hooked{ObjectStorage: e.storage, after: loseAnswer("Put", metadataName)}, "g")
		up, err := g.Renew(e.Context(), up.UploadID, nil, nil)
		e.must(err)
		_, err = g.Complete(e.Context(), up.UploadID, e.putAll(up, files(2, 1)), nil)
		e.must(err)
	},
}

// groupRaceTests are those in which two run at once.
var groupRaceTests = map[string]func(*groupEnv){
	"TwoBegin": func(e *groupEnv) {
		for round := range raceRounds {
			id := "g" + strings.Repeat("x", round)
			ups, errs := both(func(i int) (*maskstore.GroupUpload, error) {
				return e.group(id).Begin(e.Context(), hashed(files(1, byte(i))), nil)
			})
			e.wantOneWinner(errs, maskstore.ErrUploadOpen)
			for i, up := range ups {
				if errs[i] == nil {
					e.putAll(up, files(1, byte(i)))
					_, err := e.group(id).Complete(e.Context(), up.UploadID, nil, nil)
					e.must(err)
					e.wantMasks(e.group(id), 1, files(1, byte(i)))
				}
			}
		}
	},
	"TwoComplete": func(e *groupEnv) {
		for round := range raceRounds {
			g := e.group("g")
			masks := files(2, byte(round))
			up := e.begin(g, hashed(masks), nil)
			etags := e.putAll(up, masks)
			done, errs := both(func(int) (*maskstore.Completion, error) {
				return e.group("g").Complete(e.Context(), up.UploadID, etags, nil)
			})
			e.must(errors.Join(errs[:]...))
			for _, d := range done {
				if d.Manifest.Revision != round+1 || d.Manifest.UploadID != up.UploadID {
					e.Fatalf("round %d committed revision %d", round, d.Manifest.Revision)
				}
			}
		}
	},
	"TwoCompleteTheirOwn": func(e *groupEnv) {
		for range raceRounds {
			g := e.group("g")
			before := e.save(g, files(1, 255))
			ann := e.begin(g, hashed(files(1, 1)), nil)
			annETags := e.putAll(ann, files(1, 1))
			bob := e.begin(g, hashed(files(1, 2)), &maskstore.BeginOptions{Supersede: true})
			bobETags := e.putAll(bob, files(1, 2))
			_, errs := both(func(i int) (*maskstore.Completion, error) {
				if i == 0 {
					return e.group("g").Complete(e.Context(), ann.UploadID, annETags, nil)
				}
				return e.group("g").Complete(e.Context(), bob.UploadID, bobETags, nil)
			})
			e.wantErr(errs[0], maskstore.ErrSuperseded)
			e.must(errs[1])
			e.wantMasks(g, before.Revision+1, files(1, 2))
		}
	},
}

const raceRounds = 50

// both runs do twice at once.
func both[T any](do func(i int) (T, error)) (results [2]T, errs [2]error) {
	start := make(chan struct{})
	finished := make(chan struct{})
	for i := range 2 {
		go func() {
			<-start
			results[i], errs[i] = do(i)
			finished <- struct{}{}
		}()
	}
	close(start)
	<-finished
	<-finished
	return results, errs
}

func (e *groupEnv) wantOneWinner(errs [2]error, loser error) {
	e.Helper()
	if (errs[0] == nil) == (errs[1] == nil) {
		e.Fatalf("errors are %v and %v; want one winner", errs[0], errs[1])
	}
	e.wantErr(errors.Join(errs[:]...), loser)
}
