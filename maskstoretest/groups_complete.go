package maskstoretest

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"

	"github.com/pacs-extension/maskstore"
)

var groupCompleteTests = map[string]func(*groupEnv){
	"CommitsWhatWasDeclared": func(e *groupEnv) {
		for name, specs := range map[string][]maskstore.MaskSpec{
			"hashed": hashed(files(3, 1)), "unhashed": unhashed(files(3, 1)),
		} {
			for _, reports := range []bool{true, false} {
				g := e.group(name + map[bool]string{true: "-reported"}[reports])
				masks := files(3, 1)
				up := e.begin(g, specs, &maskstore.BeginOptions{Creator: "ann"})
				etags := e.putAll(up, masks)
				if !reports {
					etags = nil
				}
				done, err := g.Complete(e.Context(), up.UploadID, etags, nil)
				e.must(err)
				if m := done.Manifest; m.Creator != "ann" || m.CommittedAt.IsZero() || m.Revision != 1 || len(done.Verdicts) != 3 ||
					len(done.Unexpected) != 0 {
					e.Errorf("%s: completion is %+v", g.ID(), done)
				}
				e.wantMasks(g, 1, masks)
			}
		}
	},
	"ReportedETagsCostNoStat": func(e *groupEnv) {
		h := &hooked{ObjectStorage: e.storage}
		g := e.groupOn(h, "g")
		up := e.begin(g, hashed(files(5, 1)), nil)
		etags := e.putAll(up, files(5, 1))
		h.calls = nil
		_, err := g.Complete(e.Context(), up.UploadID, etags, nil)
		e.must(err)
		if want := []string{"Get", "List", "Put"}; !slices.Equal(h.calls, want) {
			e.Errorf("calls were %q; want %q", h.calls, want)
		}
	},
	"EmptyUploadIDIsTheOpenOne": func(e *groupEnv) {
		g := e.group("g")
		for revision := range 2 {
			masks := files(2, byte(revision))
			e.putAll(e.begin(g, hashed(masks), nil), masks)
			for range 2 { // the second time it is the committed one
				done, err := g.Complete(e.Context(), "", nil, nil)
				e.must(err)
				if done.Manifest.Revision != revision+1 {
					e.Fatalf("revision %d is committed; want %d", done.Manifest.Revision, revision+1)
				}
			}
		}
	},
	"TwiceGivesTheSameAnswer": func(e *groupEnv) {
		g := e.group("g")
		e.overwrite(e.key(g, 77), maskPNG(7, 7))
		up := e.begin(g, hashed(files(2, 1)), nil)
		etags := e.putAll(up, files(2, 1))
		first, err := g.Complete(e.Context(), up.UploadID, etags, nil)
		e.must(err)
		second, err := g.Complete(e.Context(), up.UploadID, etags, nil)
		e.must(err)
		if !reflect.DeepEqual(first.Verdicts, second.Verdicts) || !slices.Equal(first.Unexpected, second.Unexpected) ||
			first.Manifest.Revision != second.Manifest.Revision || !first.Manifest.CommittedAt.Equal(second.Manifest.CommittedAt) {
			e.Errorf("the second answer is %+v; want %+v", second, first)
		}
		if !slices.Equal(second.Unexpected, []string{e.key(g, 77)}) {
			e.Errorf("unexpected are %q", second.Unexpected)
		}
	},
	"AgainCommitsNoOthers": func(e *groupEnv) {
		g := e.group("g")
		first := e.save(g, files(2, 1))
		up := e.begin(g, hashed(files(2, 2)), nil)
		etags := e.putAll(up, files(2, 2))
		done, err := g.Complete(e.Context(), first.UploadID, etags, nil)
		e.must(err)
		if done.Manifest.Revision != 1 {
			e.Errorf("completing revision 1 again gave revision %d", done.Manifest.Revision)
		}
		done, err = g.Complete(e.Context(), up.UploadID, etags, nil)
		e.must(err)
		if done.Manifest.Revision != 2 {
			e.Errorf("the open upload became revision %d; want 2", done.Manifest.Revision)
		}
	},
	"UnexpectedObjectsStay": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(3, 1))
		m := e.save(g, files(1, 2))
		if len(m.Unexpected) != 2 {
			e.Fatalf("unexpected are %v", m.Unexpected)
		}
		for i := 1; i < 3; i++ {
			_, err := e.storage.Stat(e.Context(), e.key(g, i))
			e.must(err)
		}
	},
	"VerdictPerMask": func(e *groupEnv) {
		g := e.group("g")
		up := e.begin(g, hashed(files(4, 1)), nil)
		status, _ := e.put(up.Masks[0].URL, maskPNG(0, 1))
		if status != http.StatusOK {
			e.Fatalf("PUT: status %d", status)
		}
		e.overwrite(up.Masks[1].Key, append(maskPNG(1, 1), 0))
		e.overwrite(up.Masks[2].Key, maskPNG(2, 9))
		done, err := g.Complete(e.Context(), up.UploadID, nil, nil)
		e.wantProblems(done, err, "", maskstore.ProblemWrongSize, maskstore.ProblemWrongHash, maskstore.ProblemMissing)
		for i, m := range up.Masks {
			if v := done.Verdicts[i]; v.Key != m.Key || v.Slice != m.Slice || v.Label != m.Label {
				e.Errorf("the verdict on %s is %+v", m.Key, v)
			}
		}
		_, err = g.Manifest(e.Context())
		e.wantErr(err, maskstore.ErrIncomplete)
	},
	"OldObjectOfTheSameSizeIsMissing": func(e *groupEnv) {
		for name, specs := range map[string]func([]maskstore.MaskFile) []maskstore.MaskSpec{
			"hashed": hashed, "unhashed": unhashed,
		} {
			g := e.group(name)
			e.save(g, files(2, 1))
			up := e.begin(g, specs(files(2, 2)), nil)
			e.put(up.Masks[0].URL, maskPNG(0, 2))
			done, err := g.Complete(e.Context(), up.UploadID, nil, nil)
			e.wantProblems(done, err, "", maskstore.ProblemMissing)
			e.wantErr(err, maskstore.ErrIncomplete)
		}
	},
	"ReportingClientMustReportAll": func(e *groupEnv) {
		g := e.group("g")
		up := e.begin(g, unhashed(files(2, 1)), nil)
		etags := e.putAll(up, files(2, 1))
		delete(etags, up.Masks[1].Key)
		done, err := g.Complete(e.Context(), up.UploadID, etags, nil)
		e.wantProblems(done, err, "", maskstore.ProblemNotThisUpload)
	},
	"AnothersMasksInPlaceAreNotCommitted": func(e *groupEnv) {
		g := e.group("g")
		ann := e.begin(g, hashed(files(2, 1)), &maskstore.BeginOptions{Creator: "ann"})
		bob := e.begin(g, hashed(files(2, 2)), &maskstore.BeginOptions{Creator: "bob", Supersede: true})
		e.put(ann.Masks[0].URL, maskPNG(0, 1)) // late, over nothing, as its URL allows
		if status, _ := e.put(bob.Masks[0].URL, maskPNG(0, 2)); status != http.StatusPreconditionFailed {
			e.Fatalf("PUT over another's mask: status %d; want 412", status)
		}
		done, err := g.Complete(e.Context(), bob.UploadID, nil, nil)
		e.wantProblems(done, err, maskstore.ProblemWrongHash, maskstore.ProblemMissing)
		bob, err = g.Renew(e.Context(), bob.UploadID, nil, nil)
		e.must(err)
		_, err = g.Complete(e.Context(), bob.UploadID, e.putAll(bob, files(2, 2)), nil)
		e.must(err)
		e.wantMasks(g, 1, files(2, 2))
	},
	"KeptMaskIsProvenByItsETagAlone": func(e *groupEnv) {
		g := e.group("g")
		up := e.begin(g, unhashed(files(2, 1)), nil)
		e.putAll(up, files(2, 1))
		_, err := g.Complete(e.Context(), up.UploadID, nil, nil)
		e.must(err)
		abandoned := e.begin(g, unhashed(files(1, 2)), &maskstore.BeginOptions{Keep: true})
		e.putAll(abandoned, files(1, 2))
		up = e.begin(g, unhashed(files(2, 3)[1:]), &maskstore.BeginOptions{Keep: true, Supersede: true})
		e.putAll(up, files(2, 3))
		done, err := g.Complete(e.Context(), up.UploadID, nil, nil)
		e.wantProblems(done, err, "", maskstore.ProblemNotThisUpload)
	},
	"OldETagReportedIsNoProof": func(e *groupEnv) {
		g := e.group("g")
		old := e.save(g, files(1, 1)).Masks[0]
		up := e.begin(g, hashed(files(1, 2)), nil)
		done, err := g.Complete(e.Context(), up.UploadID, map[string]string{old.Key: old.ETag}, nil)
		e.wantProblems(done, err, maskstore.ProblemMissing)
	},
	"SameContentAgainWithoutSHA256": func(e *groupEnv) {
		g := e.group("g")
		for range 2 { // the second time the ETags reported are those that lay there
			up := e.begin(g, unhashed(files(2, 1)), nil)
			_, err := g.Complete(e.Context(), up.UploadID, e.putAll(up, files(2, 1)), nil)
			e.must(err)
		}
		e.wantMasks(g, 2, files(2, 1))
	},
	"AnothersLeftoverIsMissing": func(e *groupEnv) {
		g := e.group("g")
		e.putAll(e.begin(g, unhashed(files(2, 1)), nil), files(2, 1))
		up := e.begin(g, unhashed(files(2, 2)), &maskstore.BeginOptions{Supersede: true})
		done, err := g.Complete(e.Context(), up.UploadID, nil, nil)
		e.wantProblems(done, err, maskstore.ProblemMissing, maskstore.ProblemMissing)
		_, err = g.Complete(e.Context(), up.UploadID, e.putAll(up, files(2, 2)), nil)
		e.must(err)
		e.wantMasks(g, 1, files(2, 2))
	},
	"OwnPutWithLostAnswerCounts": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		up := e.begin(g, hashed(files(2, 2)), nil)
		etags := e.putAll(up, files(2, 2))
		delete(etags, up.Masks[0].Key)
		_, err := g.Complete(e.Context(), up.UploadID, etags, nil)
		e.must(err)
		e.wantMasks(g, 2, files(2, 2))
	},
	"UnequalETagDisprovesNothing": func(e *groupEnv) {
		g := e.group("g")
		up := e.begin(g, hashed(files(1, 1)), nil)
		e.putAll(up, files(1, 1))
		_, err := g.Complete(e.Context(), up.UploadID, map[string]string{up.Masks[0].Key: "0123"}, nil)
		e.must(err)
	},
	"LostAnswerIsSuccess": func(e *groupEnv) {
		up := e.begin(e.group("g"), hashed(files(2, 1)), nil)
		etags := e.putAll(up, files(2, 1))
		g := e.groupOn(&hooked{ObjectStorage: e.storage, after: loseAnswer("Put", metadataName)}, "g")
		done, err := g.Complete(e.Context(), up.UploadID, etags, nil)
		e.must(err)
		if done.Manifest.Revision != 1 {
			e.Errorf("revision %d is committed; want 1", done.Manifest.Revision)
		}
	},
	"BeginWithinComplete": func(e *groupEnv) {
		up := e.begin(e.group("g"), hashed(files(2, 1)), nil)
		etags := e.putAll(up, files(2, 1))
		var other *maskstore.GroupUpload
		h := &hooked{ObjectStorage: e.storage, before: once("Put", metadataName, func() {
			other = e.begin(e.group("g"), hashed(files(2, 2)), &maskstore.BeginOptions{Supersede: true})
		})}
		_, err := e.groupOn(h, "g").Complete(e.Context(), up.UploadID, etags, nil)
		e.wantErr(err, maskstore.ErrSuperseded)
		_, err = e.group("g").Complete(e.Context(), other.UploadID, e.putAll(other, files(2, 2)), nil)
		e.must(err)
		e.wantMasks(e.group("g"), 1, files(2, 2))
	},
	"DeleteWithinComplete": func(e *groupEnv) {
		up := e.begin(e.group("g"), hashed(files(2, 1)), nil)
		etags := e.putAll(up, files(2, 1))
		h := &hooked{
			ObjectStorage: e.storage, before: once("Put", metadataName, func() { e.must(e.group("g").Delete(e.Context())) }),
		}
		_, err := e.groupOn(h, "g").Complete(e.Context(), up.UploadID, etags, nil)
		e.wantErr(err, maskstore.ErrDeleted)
	},
	"VerifiesContentOnRequest": func(e *groupEnv) {
		html := append([]byte("<script>alert(1)</script>"), make([]byte, 50)...)
		masks := []maskstore.MaskFile{
			{Slice: 0, Label: "liver", Body: maskstore.BytesBody(maskPNG(0, 1))},
			{Slice: 1, Label: "liver", Body: maskstore.BytesBody(html)},
		}
		for _, opts := range []maskstore.CompleteOptions{{VerifyPNG: true}, {VerifyContent: true}} {
			g := e.group(fmt.Sprintf("g-%v", opts.VerifyContent))
			up := e.begin(g, unhashed(masks), nil)
			etags := e.putAll(up, masks)
			done, err := g.Complete(e.Context(), up.UploadID, etags, &opts)
			e.wantProblems(done, err, "", maskstore.ProblemNotPNG)
		}
		for i, size := range []maskstore.Metadata{{Width: 2, Height: 2}, {Width: 1, Height: 1}} { // it is 2 × 1
			g := e.group(fmt.Sprintf("sized-%d", i))
			up := e.begin(g, hashed(masks[:1]), &maskstore.BeginOptions{Metadata: &size})
			done, err := g.Complete(e.Context(), up.UploadID, e.putAll(up, masks), &maskstore.CompleteOptions{VerifyPNG: true})
			e.wantProblems(done, err, maskstore.ProblemNotPNG)
		}
		g := e.group("whole")
		up := e.begin(g, unhashed(masks[:1]), nil)
		done, err := g.Complete(e.Context(), up.UploadID, e.putAll(up, masks), &maskstore.CompleteOptions{VerifyContent: true})
		e.must(err)
		if got, want := done.Manifest.Masks[0].SHA256, masks[0].Body.SHA256; got != want {
			e.Errorf("the manifest has SHA-256 %q; want %q", got, want)
		}
	},
	"VerifiesWhatWasProven": func(e *groupEnv) {
		for name, spoil := range map[string]func(key string){
			"overwritten": func(key string) { e.overwrite(key, maskPNG(0, 9)) },
			"gone":        func(key string) { e.must(e.storage.Delete(e.Context(), key)) },
		} {
			up := e.begin(e.group(name), hashed(files(1, 1)), nil)
			etags := e.putAll(up, files(1, 1))
			h := &hooked{ObjectStorage: e.storage, before: once("Get", "0000_liver.png", func() { spoil(up.Masks[0].Key) })}
			done, err := e.groupOn(h, name).Complete(e.Context(), up.UploadID, etags, &maskstore.CompleteOptions{VerifyPNG: true})
			e.wantProblems(done, err, maskstore.ProblemNotThisUpload)
		}
	},
	"VerifiesTheHashOfWhatIsReported": func(e *groupEnv) {
		g := e.group("g")
		up := e.begin(g, hashed(files(1, 1)), nil)
		key := up.Masks[0].Key
		e.overwrite(key, maskPNG(0, 9))
		info, err := e.storage.Stat(e.Context(), key)
		e.must(err)
		done, err := g.Complete(e.Context(), up.UploadID, map[string]string{key: info.ETag},
			&maskstore.CompleteOptions{VerifyContent: true})
		e.wantProblems(done, err, maskstore.ProblemWrongHash)
	},
	"OfNoGroup": func(e *groupEnv) {
		_, err := e.group("g").Complete(e.Context(), "", nil, nil)
		e.wantErr(err, maskstore.ErrNotFound)
		_, err = e.group("g").Complete(e.Context(), "x", nil, nil)
		e.wantErr(err, maskstore.ErrNotFound)
	},
	"OfAnUnknownUpload": func(e *groupEnv) {
		g := e.group("g")
		e.begin(g, hashed(files(1, 1)), nil)
		_, err := g.Complete(e.Context(), "x", nil, nil)
		e.wantErr(err, maskstore.ErrSuperseded)
	},
	"UploadFromAServer": func(e *groupEnv) {
		g := e.group("g")
		e.overwrite(e.key(g, 1), maskPNG(9, 9)) // in the way
		var seen int
		done, err := g.Upload(e.Context(), files(3, 1),
			&maskstore.GroupUploadOptions{OnProgress: func(maskstore.Progress) { seen++ }})
		e.must(err)
		if done.Manifest.Revision != 1 || seen < 3 {
			e.Errorf("revision %d, %d calls of OnProgress", done.Manifest.Revision, seen)
		}
		e.wantMasks(g, 1, files(3, 1))
		h := &hooked{ObjectStorage: e.storage}
		_, err = e.groupOn(h, "g").Upload(e.Context(), files(3, 1), nil)
		e.must(err)
		if h.count("Put") != 2 {
			e.Errorf("uploading the same again took %d Puts; want 2, of the manifest", h.count("Put"))
		}
	},
	"UploadPutsWhatIsNotThereAsCommitted": func(e *groupEnv) {
		g, masks := e.group("g"), files(10, 1)
		_, err := g.Upload(e.Context(), masks, nil)
		e.must(err)
		e.must(e.storage.Delete(e.Context(), e.key(g, 3)))
		e.overwrite(e.key(g, 5), maskPNG(5, 9))
		e.overwrite(e.key(g, 7), append(maskPNG(7, 1), 0))
		h := &hooked{ObjectStorage: e.storage}
		_, err = e.groupOn(h, "g").Upload(e.Context(), masks, nil)
		e.must(err)
		if h.count("Put") != 3+3 {
			e.Errorf("it took %d Puts; want 3 of masks, and 3 of the manifest", h.count("Put"))
		}
		e.wantMasks(g, 2, masks)
	},
	"UploadCannotPutWhatItHasNot": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		e.must(e.storage.Delete(e.Context(), e.key(g, 1)))
		h := &hooked{ObjectStorage: e.storage}
		done, err := e.groupOn(h, "g").Upload(e.Context(), files(1, 2),
			&maskstore.GroupUploadOptions{BeginOptions: maskstore.BeginOptions{Keep: true}})
		e.wantProblems(done, err, "", maskstore.ProblemMissing)
		if h.count("Put") != 2 {
			e.Errorf("it took %d Puts; want one of the mask, and one of the manifest", h.count("Put"))
		}
		h = &hooked{ObjectStorage: e.storage}
		done, err = e.groupOn(h, "sized").Upload(e.Context(), files(1, 1), &maskstore.GroupUploadOptions{
			BeginOptions: maskstore.BeginOptions{Metadata: &maskstore.Metadata{Width: 512, Height: 512}},
			Complete:     &maskstore.CompleteOptions{VerifyPNG: true},
		})
		e.wantProblems(done, err, maskstore.ProblemNotPNG)
		if h.count("Put") != 2 {
			e.Errorf("it took %d Puts of what is not right; want one of the mask, and one of the manifest", h.count("Put"))
		}
	},
	"UploadGivesUpAgainstAnotherWriter": func(e *groupEnv) {
		h := &hooked{ObjectStorage: e.storage}
		g := e.groupOn(h, "g")
		h.before = func(op, _ string) error {
			if op == "List" {
				e.overwrite(e.key(g, 1), maskPNG(1, 9))
			}
			return nil
		}
		done, err := g.Upload(e.Context(), files(2, 1), nil)
		e.wantErr(err, maskstore.ErrIncomplete)
		if done == nil || len(done.Verdicts) != 2 || done.Verdicts[0].Problem != "" || done.Verdicts[1].Problem == "" {
			e.Errorf("completion is %+v", done)
		}
		h.before = nil
		_, err = g.Upload(e.Context(), files(2, 1),
			&maskstore.GroupUploadOptions{BeginOptions: maskstore.BeginOptions{Supersede: true}})
		e.must(err)
		e.wantMasks(g, 1, files(2, 1))
	},
	"UploadOfManyToANewGroup": func(e *groupEnv) { // by a batch, where the storage has one
		g, seen := e.group(""), 0
		masks := files(manyItems, 1)
		_, err := g.Upload(e.Context(), masks, &maskstore.GroupUploadOptions{OnProgress: func(maskstore.Progress) { seen++ }})
		e.must(err)
		e.wantMasks(g, 1, masks)
		if seen != len(masks) {
			e.Errorf("%d calls of OnProgress for %d masks", seen, len(masks))
		}
	},
	"UploadRefusesWhatIsNoPNG": func(e *groupEnv) {
		h := &hooked{ObjectStorage: e.storage}
		_, err := e.groupOn(h, "g").Upload(e.Context(), []maskstore.MaskFile{{Label: "liver"}}, nil)
		e.wantErr(err, maskstore.ErrInvalidArgument)
		masks := append(files(2, 1), maskstore.MaskFile{Slice: 5, Label: "liver", Body: maskstore.BytesBody([]byte("GIF89a"))})
		_, err = e.groupOn(h, "g").Upload(e.Context(), masks, nil)
		e.wantErr(err, maskstore.ErrNotPNG)
		if errs := maskstore.KeyErrors(err); len(errs) != 1 || errs[0].Key != e.key(e.group("g"), 5) {
			e.Errorf("error %v does not name the mask", err)
		}
		if len(h.calls) > 0 {
			e.Errorf("calls were made: %q", h.calls)
		}
	},
	"AdoptCommitsMasksThatCameAlone": func(e *groupEnv) {
		g := e.group("g")
		_, err := g.Adopt(e.Context(), nil)
		e.wantErr(err, maskstore.ErrNotFound)
		for i, m := range files(3, 1) {
			e.overwrite(e.key(g, i), read(m.Body))
		}
		e.overwrite(e.key(g, 4)+".bak", []byte("?"))
		done, err := g.Adopt(e.Context(), &maskstore.AdoptOptions{Creator: "mover"})
		e.must(err)
		if len(done.Unexpected) != 1 || done.Manifest.Creator != "mover" ||
			done.Manifest.Masks[2].SHA256 != files(3, 1)[2].Body.SHA256 {
			e.Errorf("completion is %+v", done)
		}
		e.wantMasks(g, 1, files(3, 1))
		_, err = g.Adopt(e.Context(), nil)
		e.wantErr(err, maskstore.ErrPreconditionFailed)
		e.save(g, files(3, 2))
		e.wantMasks(g, 2, files(3, 2))
	},
	"AdoptRefusesWhatIsNoPNG": func(e *groupEnv) {
		g := e.group("g")
		e.overwrite(e.key(g, 0), maskPNG(0, 1))
		e.overwrite(e.key(g, 1), []byte("<html>"))
		done, err := g.Adopt(e.Context(), nil)
		e.wantProblems(done, err, "", maskstore.ProblemNotPNG)
		_, err = g.Manifest(e.Context())
		e.wantErr(err, maskstore.ErrNotFound)
	},
	"AdoptDropsNoMask": func(e *groupEnv) {
		for i, row := range []struct {
			name    string
			data    []byte
			problem maskstore.Problem
		}{
			{"0001_liver.png", nil, maskstore.ProblemNotPNG},
			{"0001_cafe\u0301.png", maskPNG(1, 1), maskstore.ProblemBadName},
			{"0001_liver.PNG", maskPNG(1, 1), maskstore.ProblemBadName},
			{"more/0001_liver.png", maskPNG(1, 1), maskstore.ProblemBadName},
		} {
			g := e.group(fmt.Sprint("g", i))
			prefix, err := maskstore.GroupPrefix(e.annotation, g.ID())
			e.must(err)
			e.overwrite(e.key(g, 0), maskPNG(0, 1))
			e.overwrite(prefix+row.name, row.data)
			e.overwrite(prefix+"._0000_liver.png", []byte("what a Mac leaves beside a file"))
			done, err := g.Adopt(e.Context(), nil)
			e.wantProblems(done, err, "", row.problem)
			if v := done.Verdicts[1]; v.Key != prefix+row.name || v.Detail == "" || len(done.Unexpected) != 1 {
				e.Errorf("%s: completion is %+v", row.name, done)
			}
			_, err = g.Manifest(e.Context())
			e.wantErr(err, maskstore.ErrNotFound)
		}
	},
}

var groupReadTests = map[string]func(*groupEnv){
	"DownloadURLsArePinned": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		m, urls, err := g.DownloadURLs(e.Context(), nil)
		e.must(err)
		if len(urls) != 2 || m.Revision != 1 {
			e.Fatalf("%d URLs of revision %d", len(urls), m.Revision)
		}
		plain := urls[0].URL
		plain.Header = nil
		for name, url := range map[string]maskstore.SignedURL{"pinned": urls[0].URL, "plain": plain} {
			if status := e.get(url); status != http.StatusOK {
				e.Errorf("%s: status %d", name, status)
			}
		}
		e.overwrite(urls[0].Key, maskPNG(0, 9))
		if status := e.get(urls[0].URL); status != http.StatusPreconditionFailed {
			e.Errorf("pinned, of a mask that was replaced: status %d; want 412", status)
		}
	},
	"ReplacedMaskIsAnError": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(3, 1))
		for name, spoil := range map[string]func(){
			"overwritten": func() { e.overwrite(e.key(g, 1), maskPNG(1, 9)) },
			"gone":        func() { e.must(e.storage.Delete(e.Context(), e.key(g, 1))) },
		} {
			spoil()
			dir := e.TempDir() + "/out"
			_, err := g.Download(e.Context(), dir)
			e.wantErr(err, maskstore.ErrReplaced)
			if keys := maskstore.KeyErrors(err); len(keys) == 0 || keys[0].Key != e.key(g, 1) {
				e.Errorf("%s: error %v does not name the mask", name, err)
			}
			e.wantNoFiles(dir)
			for _, err = range g.Masks(e.Context()) {
			}
			e.wantErr(err, maskstore.ErrReplaced)
		}
	},
	"DownloadStartsOverWithANewRevision": func(e *groupEnv) {
		e.save(e.group("g"), files(3, 1))
		h := &hooked{ObjectStorage: e.storage, before: once("Get", "0002_liver.png", func() { e.save(e.group("g"), files(3, 2)) })}
		dir := e.TempDir() + "/out"
		m, err := e.groupOn(h, "g").Download(e.Context(), dir)
		e.must(err)
		if m.Revision != 2 {
			e.Fatalf("revision %d was downloaded; want 2", m.Revision)
		}
		got, err := maskstore.ReadMaskDir(dir)
		e.must(err)
		if !reflect.DeepEqual(hashed(got), hashed(files(3, 2))) {
			e.Error("the files are not those of revision 2")
		}
	},
	"DownloadWantsAnEmptyFolder": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		dir := e.TempDir()
		_, err := g.Download(e.Context(), dir)
		e.must(err)
		_, err = g.Download(e.Context(), dir)
		e.wantErr(err, maskstore.ErrInvalidArgument)
	},
	"ForeignManifestIsRefused": func(e *groupEnv) {
		g := e.group("g")
		e.save(g, files(2, 1))
		original := e.manifestBytes(g)
		for name, edit := range map[string]func(map[string]any){
			"group":    func(top map[string]any) { top["group_id"] = "other" },
			"schema":   func(top map[string]any) { top["schema_version"] = 2 },
			"key":      func(top map[string]any) { top["masks"].([]any)[0].(map[string]any)["key"] = "mask/../secret" },
			"twice":    func(top map[string]any) { top["masks"].([]any)[0] = top["masks"].([]any)[1] },
			"size":     func(top map[string]any) { top["masks"].([]any)[0].(map[string]any)["size"] = -1 },
			"revision": func(top map[string]any) { top["revision"] = 0 },
			"etag":     func(top map[string]any) { delete(top["masks"].([]any)[0].(map[string]any), "etag") },
			"type":     func(top map[string]any) { top["masks"] = "none" },
		} {
			e.editManifest(g, edit)
			_, err := g.Manifest(e.Context())
			if !errors.Is(err, maskstore.ErrInvalidManifest) {
				e.Errorf("%s: error is %v; want ErrInvalidManifest", name, err)
			}
			_, err = g.Begin(e.Context(), hashed(files(1, 2)), nil)
			if !errors.Is(err, maskstore.ErrInvalidManifest) {
				e.Errorf("%s: Begin over it: error is %v; want ErrInvalidManifest", name, err)
			}
			e.overwrite(e.metadataKey(g), original)
		}
	},
}
