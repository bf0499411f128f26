package maskstore

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The whole layout of a bucket:
//
//	mask/                                        all that this package ever touches
//	├── <annotation>/                            AnnotationPrefix
//	│   ├── <group>/                             GroupPrefix
//	│   │   ├── metadata.json                    MetadataKey: the group's Manifest
//	│   │   └── NNNN_label.png                   MaskKey: NNNN is the slice number
//	│   └── _…/                                  a program's own, such as _large/; no group's ID starts with _
//	└── _…/                                      the library's own; no annotation's ID starts with _
const (
	root         = "mask/"
	metadataName = "metadata.json"
	maskSuffix   = ".png"
)

// Limits of keys and of what they are made of.
const (
	// MaxKeyBytes is S3's limit for a key:
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
	MaxKeyBytes = 1024
	// MaxSegmentBytes limits what stands between two slashes: MinIO stores segments as file names.
	MaxSegmentBytes = 255
	// MaxIDBytes limits the ID of an annotation and of a group.
	MaxIDBytes = 128
	// MaxSlice is the last slice number that four digits can say.
	MaxSlice = 9999
	// MaxLabelRunes limits a label; in bytes, MaxSegmentBytes limits it together with its slice and suffix.
	MaxLabelRunes = 64
)

const maxLabelBytes = MaxSegmentBytes - len("NNNN_") - len(maskSuffix)

// MaskKey is the key of one mask: mask/<annotation>/<group>/NNNN_label.png.
//
// For every valid k, ParseMaskKey(k.String()) gives k, and for every s that ParseMaskKey takes, String gives s.
type MaskKey struct {
	Annotation string // see ValidID
	Group      string // see ValidID
	Slice      int    // 0 to MaxSlice
	Label      string // see ValidLabel; may hold underscores
}

// String gives the key. It does not validate: storages refuse the key of an invalid MaskKey where it breaks the
// rules of ValidKey; Validate says more, and earlier.
func (k MaskKey) String() string {
	return root + k.Annotation + "/" + k.Group + "/" + maskName(k.Slice, k.Label)
}

// Validate says which field is invalid, as an *InputError of kind ErrInvalidArgument.
func (k MaskKey) Validate() error {
	if err := validID("annotation", k.Annotation); err != nil {
		return err
	}
	if err := validID("group", k.Group); err != nil {
		return err
	}
	return validMask(k.Slice, k.Label)
}

// ParseMaskKey takes a mask's key apart. What is not exactly such a key is of kind ErrInvalidKey.
func ParseMaskKey(key string) (MaskKey, error) {
	const want = "mask/<annotation>/<group>/NNNN_label.png"
	bad := func(problem string) (MaskKey, error) { return MaskKey{}, keyError("key", key, problem, want) }
	segments := strings.Split(key, "/")
	if len(segments) != 4 || segments[0]+"/" != root {
		return bad("is no mask's")
	}
	slice, label, ok := parseMaskName(segments[3])
	if !ok {
		return bad("does not end in NNNN_label.png")
	}
	k := MaskKey{Annotation: segments[1], Group: segments[2], Slice: slice, Label: label}
	if err := k.Validate(); err != nil {
		return MaskKey{}, &Error{Key: key, Kind: ErrInvalidKey, Err: err.(*Error).Err}
	}
	return k, nil
}

func maskName(slice int, label string) string {
	digits := strconv.Itoa(slice)
	return "0000"[:max(0, 4-len(digits))] + digits + "_" + label + maskSuffix
}

// parseMaskName takes NNNN_label.png apart; the label is not validated.
func parseMaskName(name string) (slice int, label string, ok bool) {
	digits, rest, ok := strings.Cut(name, "_")
	label, isPNG := strings.CutSuffix(rest, maskSuffix)
	if !ok || !isPNG || len(digits) != 4 || strings.Trim(digits, "0123456789") != "" {
		return 0, "", false
	}
	slice, err := strconv.Atoi(digits)
	return slice, label, err == nil
}

// AnnotationPrefix is the prefix of all groups of an annotation: mask/<annotation>/.
func AnnotationPrefix(annotation string) (string, error) {
	if err := validID("annotation", annotation); err != nil {
		return "", err
	}
	return root + annotation + "/", nil
}

// GroupPrefix is the prefix of all objects of a group: mask/<annotation>/<group>/.
func GroupPrefix(annotation, group string) (string, error) {
	prefix, err := AnnotationPrefix(annotation)
	if err != nil {
		return "", err
	}
	if err := validID("group", group); err != nil {
		return "", err
	}
	return prefix + group + "/", nil
}

// MetadataKey is the key of a group's manifest: mask/<annotation>/<group>/metadata.json.
func MetadataKey(annotation, group string) (string, error) {
	prefix, err := GroupPrefix(annotation, group)
	if err != nil {
		return "", err
	}
	return prefix + metadataName, nil
}

// ValidID says why id cannot be the ID of an annotation or a group: it must match
// [A-Za-z0-9][A-Za-z0-9._-]* and have at most MaxIDBytes bytes.
func ValidID(id string) error { return validID("id", id) }

func validID(field, id string) error {
	const want = "1 to 128 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
	switch {
	case id == "":
		return inputError(field, "is empty", want)
	case len(id) > MaxIDBytes:
		return inputError(field, fmt.Sprintf("has %d bytes", len(id)), want)
	}
	for i := range len(id) {
		if c := id[i]; !isAlphanumeric(c) && (i == 0 || c != '.' && c != '_' && c != '-') {
			return inputError(field, fmt.Sprintf("%q holds %q at byte %d", id, c, i), want)
		}
	}
	return nil
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// validMask checks what names a mask within its group.
func validMask(slice int, label string) error {
	if slice < 0 || slice > MaxSlice {
		return inputError("slice", fmt.Sprintf("is %d", slice), fmt.Sprintf("0 to %d", MaxSlice))
	}
	return ValidLabel(label)
}

// ValidLabel says why label cannot be a mask's label: it must hold 1 to MaxLabelRunes letters, digits and marks of
// any script, underscores and hyphens, in Unicode's normal form NFC, and fit into a segment of the key with its
// slice number. NormalizeLabel makes such a label.
func ValidLabel(label string) error {
	const want = "1 to 64 letters, digits, marks, _ or - in NFC, as NormalizeLabel makes them"
	runes := utf8.RuneCountInString(label)
	switch {
	case label == "":
		return inputError("label", "is empty", want)
	case !utf8.ValidString(label):
		return inputError("label", "is not UTF-8", want)
	case runes > MaxLabelRunes:
		return inputError("label", fmt.Sprintf("has %d runes", runes), want)
	case len(label) > maxLabelBytes:
		return inputError("label", fmt.Sprintf("has %d bytes", len(label)), fmt.Sprintf("at most %d bytes", maxLabelBytes))
	}
	for _, r := range label {
		if !isLabelRune(r) {
			return inputError("label", fmt.Sprintf("%q holds %q", label, r), want)
		}
	}
	if !norm.NFC.IsNormalString(label) {
		return inputError("label", fmt.Sprintf("%q is not in NFC", label), want)
	}
	return nil
}

func isLabelRune(r rune) bool {
	return r == '_' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
}

// NormalizeLabel makes a valid label from what a person typed: in NFC, each run of other characters turned into
// one underscore, none of those at the ends, format characters dropped, cut to fit. Where nothing is left it is an
// error. Different inputs may become the same label.
func NormalizeLabel(typed string) (string, error) {
	var b strings.Builder
	gap := false
	for _, r := range norm.NFC.String(typed) {
		switch {
		case unicode.Is(unicode.Cf, r):
		case r == '_' || !isLabelRune(r):
			gap = b.Len() > 0
		default:
			if gap {
				b.WriteByte('_')
				gap = false
			}
			b.WriteRune(r)
		}
	}
	label := norm.NFC.String(b.String())
	runes := 0
	for i, r := range label {
		if runes == MaxLabelRunes || i+utf8.RuneLen(r) > maxLabelBytes {
			label = strings.TrimRight(label[:i], "_")
			break
		}
		runes++
	}
	if label == "" {
		return "", inputError("label", fmt.Sprintf("%q holds no letter or digit", typed), "at least one")
	}
	return label, nil
}

// ValidKey says why a storage refuses a key, before it sends any request. A key begins with mask/, is valid UTF-8
// of at most MaxKeyBytes, and has no control character, no U+FFFE or U+FFFF (which XML, and so a request to delete many,
// cannot hold), no empty segment, none that is . or .. and none of over MaxSegmentBytes.
func ValidKey(key string) error {
	if err := validPath("key", key); err != nil {
		return err
	}
	last := key[strings.LastIndexByte(key, '/')+1:]
	return validSegment("key", key, last)
}

// ValidPrefix says why a storage refuses to list a prefix: a prefix is the beginning of a valid key, and not
// shorter than mask/.
func ValidPrefix(prefix string) error { return validPath("prefix", prefix) }

// validPath checks all of a key but its last segment, which may be a part of one.
func validPath(field, path string) error {
	switch {
	case !strings.HasPrefix(path, root):
		return keyError(field, path, "is outside mask/", "mask/…")
	case len(path) > MaxKeyBytes:
		return keyError(field, path[:64], fmt.Sprintf("… has %d bytes", len(path)), "at most 1024")
	case !utf8.ValidString(path):
		return keyError(field, path, "is not UTF-8", "valid UTF-8")
	}
	begin := 0 // of the segment
	for i, r := range path {
		switch {
		case r == '/':
			if err := validSegment(field, path, path[begin:i]); err != nil {
				return err
			}
			begin = i + 1
		case r < ' ' || r >= 0x7f && (unicode.IsControl(r) || r == '\ufffe' || r == '\uffff'):
			return keyError(field, path, fmt.Sprintf("holds %U at byte %d", r, i), "no control character, U+FFFE or U+FFFF")
		}
	}
	if len(path)-begin > MaxSegmentBytes {
		return validSegment(field, path, path[begin:])
	}
	return nil
}

func validSegment(field, path, segment string) error {
	switch {
	case segment == "":
		return keyError(field, path, "has an empty segment", "none")
	case segment == "." || segment == "..":
		return keyError(field, path, "has the segment "+segment, "none such: they are refused, not resolved")
	case len(segment) > MaxSegmentBytes:
		return keyError(field, path, fmt.Sprintf("has a segment of %d bytes", len(segment)), "at most 255")
	}
	return nil
}

func keyError(field, key, problem, want string) error {
	return &Error{Kind: ErrInvalidKey, Err: &InputError{Field: field, Problem: fmt.Sprintf("%q %s", key, problem), Want: want}}
}
