package main

import (
	"path"
	"slices"
	"strings"
)

// guard is a guard of the library, and how it is taken out.
type guard struct {
	name     string
	old, new string // text that stands in the file once, in a function, and what stands there without the guard
	test     string // the test, or tests by |, of which one must fail; after a folder and a space those of another package

	number    int // in the table, from 1
	file, pkg string
}

func allGuards() []guard {
	var all []guard
	for _, f := range slices.Concat(ofTheBase, ofServers, ofWorkflows) {
		for _, g := range f.guards {
			g.file, g.number, g.pkg = f.file, len(all)+1, path.Dir(f.file)
			if pkg, test, ok := strings.Cut(g.test, " "); ok {
				g.pkg, g.test = pkg, test
			}
			all = append(all, g)
		}
	}
	return all
}

const (
	ofGroups = "maskstoretest TestMemoryGroups"
	ofMemory = "maskstoretest TestMemory"
)

// fileGuards are the guards of a file.
type fileGuards struct {
	file   string
	guards []guard
}

// ofTheBase are the guards of keys, options, contents and signatures, and of Memory.
var ofTheBase = []fileGuards{
	{"paths.go", []guard{
		{name: "keys outside mask/", old: `!strings.HasPrefix(path, root)`, new: `false`, test: "TestValidKey"},
		{name: "keys over 1024 bytes", old: `len(path) > MaxKeyBytes`, new: `false`, test: "TestValidKey"},
		{name: "keys that are not UTF-8", old: `!utf8.ValidString(path)`, new: `false`, test: "TestValidKey"},
		{name: "control characters", old: `unicode.IsControl(r) || `, new: ``, test: "TestValidKey"},
		{name: "characters that XML cannot hold", old: ` || r == '\ufffe' || r == '\uffff'`, new: ``, test: "TestValidKey"},
		{name: "empty segments", old: `case segment == "":`, new: `case false:`, test: "TestValidKey"},
		{name: "segments . and ..", old: `segment == "." || segment == ".."`, new: `false`, test: "TestValidKey"},
		{name: "segments over 255 bytes", old: `case len(segment) > MaxSegmentBytes:`, new: `case false:`, test: "TestValidKey"},
		{name: "the segments before the last", old: `err := validSegment(field, path, path[begin:i]); err != nil`,
			new: `err := validSegment(field, path, path[begin:i]); err != nil && false`, test: "TestValidKey"},
		{name: "the last segment", old: `return validSegment("key", key, last)`, new: `_ = last; return nil`,
			test: "TestValidKey"},
		{name: "IDs over 128 bytes", old: `len(id) > MaxIDBytes`, new: `false`, test: "TestBadInput"},
		{name: "the characters of an ID", old: `!isAlphanumeric(c) && (i == 0 || c != '.' && c != '_' && c != '-')`,
			new: `false`, test: "TestBadInput"},
		{name: "the first character of an ID", old: `i == 0 || c != '.'`, new: `c != '.'`, test: "TestBadInput"},
		{name: "labels over 64 runes", old: `runes > MaxLabelRunes:`, new: `false:`, test: "TestBadInput"},
		{name: "labels that do not fit into a segment", old: `len(label) > maxLabelBytes`, new: `false`, test: "TestBadInput"},
		{name: "the characters of a label", old: `if !isLabelRune(r) {`, new: `if false {`, test: "TestBadInput"},
		{name: "labels that are not NFC", old: `!norm.NFC.IsNormalString(label)`, new: `false`, test: "TestBadInput"},
		{name: "slices outside four digits", old: `slice < 0 || slice > MaxSlice`, new: `false`, test: "TestBadInput"},
		{name: "keys that are no mask's", old: `segments[0]+"/" != root`, new: `false`, test: "TestParseMaskKeyRefuses"},
	}},
	{"storage.go", []guard{
		{name: "the key of a Put", old: `cmp.Or(ValidKey(key), o.check()); err != nil || body != nil`,
			new: `o.check(); err != nil || body != nil`, test: "TestBadInput"},
		{name: "the options of a Put", old: `cmp.Or(ValidKey(key), o.check()); err != nil || body != nil`,
			new: `ValidKey(key); err != nil || body != nil`, test: ofMemory},
		{name: "URLs for over one PUT", old: `o.Size > MaxPutSize`, new: `false`, test: "TestBadInput"},
		{name: "negative sizes", old: `if size < 0 {`, new: `if false {`, test: "TestBadInput"},
		{name: "two conditions", old: `noOverwrite && ifMatch != ""`, new: `false`, test: "TestBadInput"},
		{name: "types that are none", old: `err != nil || !strings.Contains(t, "/")`, new: `t == "" && err == nil`,
			test: "TestBadInput"},
		{name: "ETags that are none", old: `r <= ' ' || r == '"' || r >= 0x7f`, new: `false`, test: "TestBadInput"},
		{name: "file names that are not printable", old: `!utf8.ValidString(o.Filename) || strings.ContainsFunc(o.Filename, unicode.IsControl)`,
			new: `false`, test: "TestOptionsAreChecked"},
		{name: "negative offsets", old: `case o.Offset < 0:`, new: `case false:`, test: "TestBadInput"},
		{name: "negative lengths", old: `case o.Length < 0:`, new: `case false:`, test: "TestBadInput"},
		{name: "hashes of a part", old: `!o.SHA256.IsZero() && (o.Offset != 0 || o.Length != 0)`, new: `false`,
			test: "TestBadInput"},
		{name: "StartAfter outside mask/", old: `err := ValidPrefix(o.StartAfter); err != nil`,
			new:  `err := error(nil); err != nil`,
			test: "TestBadInput"},
		{name: "TTLs under a second", old: `ttl < time.Second:`, new: `false:`, test: "TestCheckTTL"},
		{name: "TTLs over the maximum", old: `ttl > limit:`, new: `false:`, test: "TestCheckTTL"},
		{name: "the default TTL's maximum", old: `min(def, limit)`, new: `def`, test: "TestCheckTTL"},
		{name: "SHA-256 that are none", old: `err != nil || n != len(s) || len(text) != 2*len(s)`, new: `err != nil && n < 0`,
			test: "TestSHA256"},
	}},
	{"body.go", []guard{
		{name: "bodies without Open", old: `case b.Open == nil:`, new: `case false:`,
			test: "TestUploadAllRefuses|TestDirectUploadRefuses"},
		{name: "the SHA-256 of a body", old: `!v.sum.IsZero() && v.sha256() != v.sum`, new: `false`, test: "TestVerifier"},
		{name: "bodies that are too short", old: `v.size > 0 && v.read < v.size`, new: `false`, test: "TestVerifier"},
		{name: "bodies that are too long", old: `v.size > 0 && v.read > v.size`, new: `false`, test: "TestVerifier"},
		{name: "last bytes only when all are right", old: `err == nil && n > 0 && v.read == v.size`, new: `false`,
			test: "TestVerifier"},
		{name: "each part's own hash", old: `p.Size), p.Size, p.SHA256)`, new: `p.Size), p.Size, SHA256{})`,
			test: "TestDownloadFileFails"},
	}},
	{"internal/sigv4/verify.go", []guard{
		{name: "the signature", old: `subtle.ConstantTimeCompare(signature[:], []byte(q.signature)) == 0`,
			new:  `len(signature) == 0`,
			test: "TestVerifyRefuses"},
		{name: "the session token", old: `subtle.ConstantTimeCompare([]byte(c.SessionToken), []byte(q.token)) == 0`, new: `false`,
			test: "TestVerifyToken|TestVerifyRefuses"},
		{name: "unknown access keys", old: `if !ok {`, new: `if !ok && false {`, test: "TestVerifyRefuses"},
		{name: "the algorithm", old: `q.algorithm != algorithm`, new: `false`, test: "TestVerifyRefuses"},
		{name: "parameters that stand twice", old: ` || *field != ""`, new: ``, test: "TestVerifyRefuses"},
		{name: "parameters that are missing", old: `case found < len(fields)-1:`, new: `case false:`, test: "TestVerifyRefuses"},
		{name: "the date of the scope", old: `scope[1] != q.date[:dateLength]`, new: `false`, test: "TestVerifyRefuses"},
		{name: "the region", old: `scope[2] != region`, new: `false`, test: "TestVerifyRefuses"},
		{name: "the service", old: `scope[3] != "s3"`, new: `false`, test: "TestVerifyRefuses"},
		{name: "the longest life", old: ` || ttl > maxTTL`, new: ``, test: "TestVerifyRefuses"},
		{name: "signatures of the future", old: `date.After(now.Add(maxSkew))`, new: `false`, test: "TestVerifyRefuses"},
		{name: "signatures that expired", old: `!now.Before(date.Add(ttl))`, new: `false`, test: "TestVerifyRefuses"},
		{name: "the host", old: `!slices.Contains(signed, "host")`, new: `false`, test: "TestVerifyRefuses"},
		{name: "unsigned headers of Amazon's", old: `strings.HasPrefix(name, "x-amz-") && !slices.Contains(signed, name)`,
			new: `false`, test: "TestVerifyRefuses"},
		{name: "signed headers that are missing", old: `if len(values) == 0 {`, new: `if false {`, test: "TestVerifyRefuses"},
	}},
	{"sign.go", []guard{
		{name: "the size in the signature", old: `opts.Size > 0`, new: `false`, test: ofMemory},
		{name: "the type in the signature", old: `opts.ContentType != ""`, new: `false`, test: ofMemory},
		{name: "If-Match in the signature", old: `opts.IfMatch != ""`, new: `false`, test: ofMemory},
		{name: "If-None-Match in the signature", old: `if opts.NoOverwrite {`, new: `if false {`, test: ofMemory},
		{name: "SHA-256 in the signature", old: `!opts.SHA256.IsZero()`, new: `false`, test: ofMemory},
		{name: "part URLs without SHA-256", old: `case o.SHA256.IsZero():`, new: `case false:`, test: ofMemory},
		{name: "part URLs with a condition", old: `case o.IfMatch != "":`, new: `case false:`, test: ofMemory},
		{name: "the key of a part URL", old: `cmp.Or(ValidKey(key), checkUploadID(uploadID), checkPartNumber("partNumber", partNumber), o.check())`,
			new: `cmp.Or(checkUploadID(uploadID), checkPartNumber("partNumber", partNumber), o.check())`, test: ofMemory},
		{name: "the number of a part URL", old: `checkPartNumber("partNumber", partNumber), o.check())`, new: `o.check())`,
			test: ofMemory},
	}},
	{"memory.go", []guard{
		{name: "NoOverwrite", old: `c.noOverwrite && old != nil`, new: `false`, test: ofMemory},
		{name: "IfMatch of what is absent", old: `case old == nil:
		return errAbsent`, new: `case old == nil:
		return nil`, test: "TestMemoryPutConditions"},
		{name: "IfMatch", old: `old.info.ETag != c.ifMatch`, new: `false`, test: "TestMemoryPutConditions"},
		{name: "the checksum of a Put", old: `body}, o.Size, o.SHA256)`, new: `body}, o.Size, SHA256{})`,
			test: "TestMemoryPut|TestMemoryPutIsAllOrNothing"},
		{name: "the size of a Put", old: `body}, o.Size, o.SHA256)`, new: `body}, 0, o.SHA256)`,
			test: "TestMemoryPut|TestMemoryPutIsAllOrNothing"},
		{name: "the key of a Get or Stat", old: `if err := ValidKey(key); err != nil {
		return nil, err`, new: `if err := error(nil); err != nil {
		return nil, err`, test: ofMemory},
		{name: "IfMatch of a Get", old: `err != nil:
		return nil, opError("Get", key, nil, err)
	case o.IfMatch != "" && o.IfMatch != object.info.ETag:`, new: `err != nil:
		return nil, opError("Get", key, nil, err)
	case false:`, test: "TestMemoryGet"},
		{name: "offsets past the end", old: `o.Offset > 0 && o.Offset >= object.info.Size`, new: `o.Offset > object.info.Size`,
			test: "TestMemoryGet"},
		{name: "the checksum of a Get", old: `newVerifier(content, object.info.Size, sum)`,
			new: `newVerifier(content, object.info.Size, SHA256{})`, test: ofMemory},
		{name: "the keys of a Delete", old: `err := ValidKey(key); err != nil {
			errs`, new: `err := error(nil); err != nil {
			errs`, test: ofMemory},
		{name: "the key of a copy", old: `cmp.Or(ValidKey(dst), checkETag(o.IfMatch))`, new: `checkETag(o.IfMatch)`,
			test: ofMemory},
		{name: "IfMatch of a copy", old: `return ObjectInfo{}, opError("Copy", src, nil, err)
	case o.IfMatch != "" && o.IfMatch != object.info.ETag:`, new: `return ObjectInfo{}, opError("Copy", src, nil, err)
	case false:`, test: "TestMemoryCopy"},
		{name: "copies over one PUT", old: `object.info.Size > MaxPutSize`, new: `false`, test: "TestMemoryCopy"},
		{name: "the prefix of a List", old: `cmp.Or(ValidPrefix(prefix), o.check())`, new: `o.check()`,
			test: "TestMemoryListRefuses"},
	}},
	{"memory_http.go", []guard{
		{name: "the signature of a request", old: `err := sigv4.Verify(r, memoryRegion, m.now(), m.secretOf); err != nil`,
			new: `err := error(nil); err != nil`, test: "TestMemoryRefusesUploads|TestMemoryRefusesSigned"},
		{name: "the key of a request", old: `case ValidKey(key) != nil:`, new: `case false:`, test: "TestMemoryRefusesSigned"},
		{name: "the bucket of a request", old: `case bucket != m.bucket():`, new: `case bucket == "":`,
			test: "TestMemoryRefusesSigned"},
		{name: "bodies that break off", old: `err != nil || int64(len(data)) < r.ContentLength`, new: `err != nil && false`,
			test: "TestMemoryIncompleteBody"},
		{name: "the SHA-256 of a PUT", old: `SHA256(sum) != sum256`, new: `false`,
			test: "TestMemoryRefusesUploads|TestMemoryServesParts"},
		{name: "the MD5 of a PUT", old: `fmt.Sprintf("%x", sum) != etag`, new: `false`, test: "TestMemoryRefusesUploads"},
		{name: "the digests of a part", old: `checkDigests(r.Header, part.SHA256, part.ETag)`, new: `error(nil)`,
			test: "TestMemoryServesParts"},
		{name: "If-None-Match of a PUT", old: `none == "*"}, nil`, new: `false}, nil`, test: "TestMemoryReplay"},
		{name: "If-Match of a PUT", old: `match := h.Get("If-Match")`, new: `match := ""`, test: "TestMemoryReplay"},
	}},
	{"memory_get.go", []guard{
		{name: "If-Match of a GET", old: `if !matchesETag(match, info.ETag) {`, new: `if false {`, test: "TestMemoryServesGet"},
	}},
	{"memory_sign.go", []guard{
		{name: "the key of an upload URL", old: `err := cmp.Or(ValidKey(key), o.check()); err != nil {
		return SignedURL{}, opError("UploadURL", key`, new: `err := o.check(); err != nil {
		return SignedURL{}, opError("UploadURL", key`, test: ofMemory},
		{name: "the key of a download URL", old: `err := cmp.Or(ValidKey(key), o.check()); err != nil {
		return SignedURL{}, opError("DownloadURL", key`, new: `err := o.check(); err != nil {
		return SignedURL{}, opError("DownloadURL", key`, test: ofMemory},
		{name: "a BaseURL that clients can use", old: `m.checkOrigin(), `, new: ``, test: "TestMemorySigningNeeds"},
	}},
	{"memory_multipart.go", []guard{
		{name: "the upload of another key", old: `u != nil && u.key == key`, new: `u != nil`, test: "TestMemoryMultipartRefuses"},
		{name: "the checksum of a part", old: `newVerifier(limited, body.Size, body.SHA256)`,
			new: `newVerifier(limited, body.Size, SHA256{})`, test: ofMemory},
		{name: "the ETags of parts", old: `stored.ETag != p.ETag`, new: `false`, test: ofMemory},
		{name: "parts that are too small", old: `i < len(parts)-1 && stored.Size < MinPartSize`, new: `false`,
			test: ofMemory},
		{name: "parts out of order", old: `i > 0 && p.PartNumber <= parts[i-1].PartNumber`, new: `false`, test: "TestBadInput"},
		{name: "part numbers", old: `n < 1 || n > MaxPartNumber`, new: `false`, test: "TestBadInput"},
		{name: "the conditions of a completion", old: `condition{o.IfMatch, o.NoOverwrite}`, new: `condition{}`, test: ofMemory},
		{name: "the key of a part", old: `cmp.Or(ValidKey(key), checkPartNumber("partNumber", partNumber), body.check())`,
			new: `cmp.Or(checkPartNumber("partNumber", partNumber), body.check())`, test: ofMemory},
	}},
}
