package maskstore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of a group.
const (
	// MaxGroupMasks is how many masks one group can hold. Where keys have over 200 bytes it can be fewer, of the longest some
	// 28,000: a re-save of more is ErrTooLarge.
	MaxGroupMasks = 50_000
	// maxManifestBytes bounds what is read of a metadata.json: so many masks, committed and pending, fit in.
	maxManifestBytes = 64 << 20
	maxCreatorBytes  = 256
	maxRevision      = 1 << 30 // at one a second, after 34 years
	schemaVersion    = 1
)

// Manifest is the committed revision of a group, as metadata.json holds it. Members that this package does not know, of the
// file itself, a mask, a segment or a code, survive when it rewrites the file.
type Manifest struct {
	SchemaVersion int       `json:"schema_version"`
	Annotation    string    `json:"annotation_id"`
	Group         string    `json:"group_id"`
	Revision      int       `json:"revision"`            // 1 for the first commit
	UploadID      string    `json:"upload_id,omitempty"` // of the upload that was committed
	Creator       string    `json:"creator,omitempty"`   // who began that upload
	BegunAt       time.Time `json:"begun_at,omitzero"`
	CommittedAt   time.Time `json:"committed_at,omitzero"`
	Metadata
	Masks []Mask `json:"masks,omitempty"` // in the order of their keys
	// Unexpected are objects that lie in the group and are not the revision's: those that lay there at the commit, and
	// what an abandoned re-save put in place of the revision's masks.
	Unexpected []UnexpectedObject `json:"unexpected,omitempty"`
}

// Metadata ties a group to its images. All of it is optional.
type Metadata struct {
	StudyInstanceUID    string    `json:"study_instance_uid,omitempty"`
	SeriesInstanceUID   string    `json:"series_instance_uid,omitempty"`
	FrameOfReferenceUID string    `json:"frame_of_reference_uid,omitempty"`
	Width               int       `json:"width,omitempty"`  // of every mask, in pixels
	Height              int       `json:"height,omitempty"` // of every mask, in pixels
	Segments            []Segment `json:"segments,omitempty"`
}

// Segment says what a label stands for, after the attributes of DICOM's Segmentation IOD:
// https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.8.20.2.html.
type Segment struct {
	Number        int    `json:"segment_number"`                   // 1 to 65535, each once
	Label         string `json:"segment_label"`                    // that of the masks
	AlgorithmType string `json:"segment_algorithm_type,omitempty"` // AUTOMATIC, SEMIAUTOMATIC or MANUAL
	AlgorithmName string `json:"segment_algorithm_name,omitempty"`
	Colour        string `json:"recommended_display_colour,omitempty"` // #rrggbb
	Category      *Code  `json:"segmented_property_category,omitempty"`
	Type          *Code  `json:"segmented_property_type,omitempty"`

	extra extraMembers
}

// Code is a coded concept, such as SNOMED's (SCT, 10200004, Liver).
type Code struct {
	Scheme  string `json:"coding_scheme_designator"`
	Value   string `json:"code_value"`
	Meaning string `json:"code_meaning"`

	extra extraMembers
}

// Mask is one mask of a group.
type Mask struct {
	Key    string `json:"key"`
	Slice  int    `json:"slice"`
	Label  string `json:"label"`
	Size   int64  `json:"size"`            // in bytes
	SHA256 SHA256 `json:"sha256,omitzero"` // zero where nobody declared or computed it
	ETag   string `json:"etag,omitempty"`  // what reads are pinned to

	extra extraMembers
}

// UnexpectedObject is an object in a group that its manifest does not name.
type UnexpectedObject struct {
	Key  string `json:"key"`
	ETag string `json:"etag"`
}

// document is metadata.json whole: the committed revision, and beside it what only this package needs.
type document struct {
	// WriteID is random in each write, so that no two writes have the same bytes, and with them the same ETag.
	WriteID string `json:"write_id,omitempty"`
	Manifest
	// URLsUntil is when the last URL ever given out for the group has expired, by any upload; in a tombstone also
	// the time until which a Delete or Sweep may be removing objects.
	URLsUntil time.Time `json:"urls_until,omitzero"`
	Pending   *pending  `json:"pending,omitempty"`
	DeletedAt time.Time `json:"deleted_at,omitzero"` // set: a tombstone
	// RemovedBy, in a tombstone, is until when the Sweep that wrote it may remove it: nobody else may write until then.
	RemovedBy time.Time `json:"removed_by,omitzero"`

	extra extraMembers
}

// pending is an upload in progress.
type pending struct {
	UploadID  string    `json:"upload_id"`
	Revision  int       `json:"revision"`
	Creator   string    `json:"creator,omitempty"`
	BegunAt   time.Time `json:"begun_at"`
	URLsUntil time.Time `json:"urls_until"`
	Metadata  *Metadata `json:"metadata,omitempty"` // nil: the committed one stays
	// Masks are the revision's. The ETag of one is set where it was proven to lie at its key already.
	Masks []Mask `json:"masks"`
	// Base holds by key the ETag of what lay there when the mask's URL was signed; nothing lay at other keys.
	Base map[string]string `json:"base_etags,omitempty"`
}

func (d *document) isTombstone() bool { return !d.DeletedAt.IsZero() }

// keepUntil makes URLsUntil no earlier than t.
func (d *document) keepUntil(t time.Time) {
	if t.After(d.URLsUntil) {
		d.URLsUntil = t
	}
}

// commit makes the pending upload, whose masks are all proven, the committed revision.
func (d *document) commit(masks []Mask, unexpected []UnexpectedObject, now time.Time) {
	p := d.Pending
	d.Revision, d.UploadID, d.Creator = p.Revision, p.UploadID, p.Creator
	d.BegunAt, d.CommittedAt = p.BegunAt, now
	if p.Metadata != nil {
		d.Metadata = *p.Metadata
	}
	d.Masks, d.Unexpected, d.Pending = masks, unexpected, nil
}

func compareKeys(a, b Mask) int { return cmp.Compare(a.Key, b.Key) }

func (d *document) validate(annotation, group string) error {
	switch {
	case d.SchemaVersion != schemaVersion:
		return fmt.Errorf("schema_version is %d; this version of the library reads %d", d.SchemaVersion, schemaVersion)
	case d.Annotation != annotation || d.Group != group:
		return fmt.Errorf("is that of annotation %.128q, group %.128q", d.Annotation, d.Group)
	case d.Revision < 0 || d.Revision > maxRevision || d.Revision == 0 && len(d.Masks) > 0:
		return fmt.Errorf("revision %d cannot have %d masks", d.Revision, len(d.Masks))
	}
	if err := checkAbout(d.Creator, nil); err != nil {
		return err
	}
	prefix := root + annotation + "/" + group + "/"
	if err := validateMasks(d.Masks, prefix); err != nil {
		return fmt.Errorf("masks: %w", err)
	}
	for _, m := range d.Masks {
		if m.ETag == "" {
			return fmt.Errorf("masks: %q has no etag", m.Key)
		}
	}
	for _, u := range d.Unexpected {
		if !strings.HasPrefix(u.Key, prefix) {
			return fmt.Errorf("unexpected: %.300q is outside the group", u.Key)
		}
	}
	if p := d.Pending; p != nil {
		if err := p.validate(d.Revision, prefix); err != nil {
			return fmt.Errorf("pending: %w", err)
		}
	}
	return nil
}

func (p *pending) validate(committed int, prefix string) error {
	if p.Revision != committed+1 {
		return fmt.Errorf("revision %d cannot follow %d", p.Revision, committed)
	}
	if err := cmp.Or(checkAbout(p.Creator, nil), validateMasks(p.Masks, prefix)); err != nil {
		return err
	}
	bases := 0
	for _, m := range p.Masks {
		base, ok := p.Base[m.Key]
		if checkETag(base) != nil {
			return fmt.Errorf("base_etags: that of %q cannot be one", m.Key)
		}
		if ok {
			bases++
		}
	}
	if bases < len(p.Base) {
		return fmt.Errorf("base_etags: has %d keys that are no mask's", len(p.Base)-bases)
	}
	return nil
}

// validateMasks checks the masks of the group whose keys begin with prefix.
func validateMasks(masks []Mask, prefix string) error {
	if len(masks) > MaxGroupMasks {
		return fmt.Errorf("are %d; a group holds at most %d", len(masks), MaxGroupMasks)
	}
	seen := make(map[string]bool, len(masks))
	for _, m := range masks {
		name, in := strings.CutPrefix(m.Key, prefix)
		switch err := validMask(m.Slice, m.Label); {
		case err != nil:
			return err
		case !in || name != maskName(m.Slice, m.Label):
			return fmt.Errorf("%.300q is not the key of slice %d, label %q", m.Key, m.Slice, m.Label)
		case m.Size <= 0 || m.Size > MaxPutSize:
			return fmt.Errorf("%q has a size of %d bytes", m.Key, m.Size)
		case checkETag(m.ETag) != nil:
			return fmt.Errorf("%q has an etag that cannot be one", m.Key)
		case seen[m.Key]:
			return fmt.Errorf("%q stands twice", m.Key)
		}
		seen[m.Key] = true
	}
	return nil
}

// Validate says what is wrong with the metadata, naming the field.
func (m *Metadata) Validate() error {
	for _, uid := range []struct{ field, value string }{
		{"study_instance_uid", m.StudyInstanceUID},
		{"series_instance_uid", m.SeriesInstanceUID},
		{"frame_of_reference_uid", m.FrameOfReferenceUID},
	} {
		if uid.value != "" && (len(uid.value) > 64 || strings.Trim(uid.value, "0123456789.") != "") {
			return inputError(uid.field, fmt.Sprintf("%.70q is no UID", uid.value), "at most 64 digits and dots")
		}
	}
	if m.Width < 0 || m.Height < 0 || (m.Width == 0) != (m.Height == 0) {
		return inputError("width", fmt.Sprintf("and height are %d × %d", m.Width, m.Height), "both in pixels, or neither")
	}
	seen := make(map[int]bool, len(m.Segments))
	for i, s := range m.Segments {
		field := func(name string) string { return fmt.Sprintf("segments[%d].%s", i, name) }
		switch {
		case s.Number < 1 || s.Number > 65535:
			return inputError(field("segment_number"), fmt.Sprintf("is %d", s.Number), "1 to 65535")
		case seen[s.Number]:
			return inputError(field("segment_number"), fmt.Sprintf("%d stands twice", s.Number), "each once")
		case ValidLabel(s.Label) != nil:
			return inFields(ValidLabel(s.Label), field("segment_"))
		case !slices.Contains([]string{"", "AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"}, s.AlgorithmType):
			return inputError(field("segment_algorithm_type"), fmt.Sprintf("is %.40q", s.AlgorithmType),
				"AUTOMATIC, SEMIAUTOMATIC or MANUAL")
		case s.Colour != "" && !isColour(s.Colour):
			return inputError(field("recommended_display_colour"), fmt.Sprintf("is %.40q", s.Colour), "#rrggbb")
		}
		seen[s.Number] = true
	}
	return nil
}

func isColour(s string) bool {
	digits, ok := strings.CutPrefix(s, "#")
	return ok && len(digits) == 6 && strings.Trim(digits, "0123456789abcdefABCDEF") == ""
}

// checkAbout refuses what cannot be said of an upload.
func checkAbout(creator string, metadata *Metadata) error {
	if metadata != nil {
		if err := metadata.Validate(); err != nil {
			return inFields(err, "metadata.")
		}
	}
	if len(creator) > maxCreatorBytes || !utf8.ValidString(creator) || strings.ContainsFunc(creator, unicode.IsControl) {
		return inputError("creator", "cannot be stored",
			fmt.Sprintf("at most %d bytes of UTF-8 without control characters", maxCreatorBytes))
	}
	return nil
}

// inFields puts prefix before the field that an input error names.
func inFields(err error, prefix string) error {
	var input *InputError
	if !errors.As(err, &input) {
		return err
	}
	return inputError(prefix+input.Field, input.Problem, input.Want)
}
