package maskstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// encode gives the file, with a line for each mask.
func (d *document) encode() ([]byte, error) {
	var v any = d
	if fast, ok := newFastDocument(d); ok {
		v = fast
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	// Within a string the quotes would be escaped. What is not ours stays as it is.
	return appendMembers(bytes.ReplaceAll(data, []byte(`{"key":`), []byte("\n{\"key\":")), d.extra)
}

// decodeDocument takes a metadata.json that anyone may have written. It must be that of the group.
func decodeDocument(data []byte, annotation, group string) (*document, error) {
	d, err := decodeText(data)
	if err == nil {
		err = d.validate(annotation, group)
	}
	if err != nil {
		// Its text alone: whose input was wrong is not for the caller to act on, and it may quote what is in the file.
		return nil, &Error{Kind: ErrInvalidManifest, Err: fmt.Errorf("%.300v", err)}
	}
	return d, nil
}

func decodeText(data []byte) (*document, error) {
	plain, err := checkText(data)
	if err != nil {
		return nil, err
	}
	if plain {
		if d, ok := decodeFast(data); ok {
			return d, nil
		}
	}
	return decodeSlow(data)
}

// decodeSlow decodes any document.
func decodeSlow(data []byte) (d *document, err error) {
	d = new(document)
	d.extra, err = unmarshalWith(data, d)
	return d, err
}

// fastDocument is a document none of whose masks has members that are unknown, as nearly always. Looking for such in
// each of a thousand masks takes six times as long as all the rest of decoding.
type fastDocument struct {
	document
	Masks   []plainMask  `json:"masks,omitempty"`
	Pending *fastPending `json:"pending,omitempty"`
}

type fastPending struct {
	pending
	Masks []plainMask `json:"masks"`
}

// newFastDocument gives d as one, if it is one.
func newFastDocument(d *document) (*fastDocument, bool) {
	fast := &fastDocument{document: *d}
	ok := true
	plain := func(masks []Mask) []plainMask {
		plains := make([]plainMask, len(masks))
		for i, m := range masks {
			ok = ok && m.extra == nil
			plains[i] = plainMask(m)
		}
		return plains
	}
	fast.Masks = plain(d.Masks)
	if d.Pending != nil {
		fast.Pending = &fastPending{*d.Pending, plain(d.Pending.Masks)}
	}
	return fast, ok
}

// decodeFast decodes a document, if it is a fast one without unknown members at its top.
func decodeFast(data []byte) (*document, bool) {
	var fast fastDocument
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if strict.Decode(&fast) != nil {
		return nil, false
	}
	if _, err := strict.Token(); err != io.EOF {
		return nil, false
	}
	masks := func(plains []plainMask) []Mask {
		masks := make([]Mask, len(plains))
		for i, m := range plains {
			masks[i] = Mask(m)
		}
		return masks
	}
	d := &fast.document
	d.Masks = masks(fast.Masks)
	if fast.Pending != nil {
		d.Pending = &fast.Pending.pending
		d.Pending.Masks = masks(fast.Pending.Masks)
	}
	return d, true
}

// extraMembers are members of a JSON object that this package does not know.
type extraMembers map[string]json.RawMessage

// Alias types without methods, for encoding/json to do the known members.
type (
	plainMask    Mask
	plainSegment Segment
	plainCode    Code
)

// MarshalJSON gives the members that were unknown when it was read, too.
func (m Mask) MarshalJSON() ([]byte, error) { return marshalWith((*plainMask)(&m), m.extra) }

// UnmarshalJSON keeps the members that it does not know.
func (m *Mask) UnmarshalJSON(data []byte) (err error) {
	*m = Mask{}
	m.extra, err = unmarshalWith(data, (*plainMask)(m))
	return err
}

// MarshalJSON gives the members that were unknown when it was read, too.
func (s Segment) MarshalJSON() ([]byte, error) { return marshalWith((*plainSegment)(&s), s.extra) }

// UnmarshalJSON keeps the members that it does not know.
func (s *Segment) UnmarshalJSON(data []byte) (err error) {
	*s = Segment{}
	s.extra, err = unmarshalWith(data, (*plainSegment)(s))
	return err
}

// MarshalJSON gives the members that were unknown when it was read, too.
func (c Code) MarshalJSON() ([]byte, error) { return marshalWith((*plainCode)(&c), c.extra) }

// UnmarshalJSON keeps the members that it does not know.
func (c *Code) UnmarshalJSON(data []byte) (err error) {
	*c = Code{}
	c.extra, err = unmarshalWith(data, (*plainCode)(c))
	return err
}

// What holds a Mask would have its methods, which leave out all that is not the Mask's.
type (
	maskURLMembers struct {
		plainMask
		Unchanged bool      `json:"unchanged,omitempty"`
		URL       SignedURL `json:"url,omitzero"`
	}
	maskDataMembers struct {
		plainMask
		Data []byte `json:"data"`
	}
)

// MarshalJSON gives the mask's own members, without those that were unknown, unchanged, and the URL redacted.
func (m MaskURL) MarshalJSON() ([]byte, error) {
	return json.Marshal(maskURLMembers{plainMask(m.Mask), m.Unchanged, m.URL})
}

// UnmarshalJSON fails where there is a URL, which is only ever marshalled redacted: a RevealedURL goes over the wire.
func (m *MaskURL) UnmarshalJSON(data []byte) error {
	var v maskURLMembers
	err := json.Unmarshal(data, &v)
	*m = MaskURL{Mask(v.plainMask), v.Unchanged, v.URL}
	return err
}

// MarshalJSON gives the mask's own members, without those that were unknown, and the content in Base64.
func (m MaskData) MarshalJSON() ([]byte, error) {
	return json.Marshal(maskDataMembers{plainMask(m.Mask), m.Data})
}

// UnmarshalJSON takes what MarshalJSON gives.
func (m *MaskData) UnmarshalJSON(data []byte) error {
	var v maskDataMembers
	err := json.Unmarshal(data, &v)
	*m = MaskData{Mask(v.plainMask), v.Data}
	return err
}

// marshalWith marshals the struct that v points to, and extra after its own members.
func marshalWith(v any, extra extraMembers) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return appendMembers(data, extra)
}

// appendMembers adds extra to an object that has members.
func appendMembers(data []byte, extra extraMembers) ([]byte, error) {
	if len(extra) == 0 {
		return data, nil
	}
	data = bytes.TrimSuffix(data, []byte("}"))
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		data = append(append(append(append(data, ','), quoted...), ':'), extra[name]...)
	}
	return append(data, '}'), nil
}

// unmarshalWith unmarshals the struct that v points to, and gives the members that the struct does not have.
func unmarshalWith(data []byte, v any) (extraMembers, error) {
	if err := json.Unmarshal(data, v); err != nil {
		return nil, err
	}
	var members extraMembers
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, err
	}
	known := memberNames(reflect.TypeOf(v).Elem())
	maps.DeleteFunc(members, func(name string, _ json.RawMessage) bool { return known[name] })
	if name, ok := misspelt(members, known); ok {
		return nil, fmt.Errorf("has a member %.100q, in another case than it should be", name)
	}
	if len(members) == 0 {
		return nil, nil
	}
	return members, nil
}

var memberNamesOf sync.Map // reflect.Type → map[string]bool

// memberNames gives the JSON names of a struct's fields, those of embedded structs included.
func memberNames(t reflect.Type) map[string]bool {
	if names, ok := memberNamesOf.Load(t); ok {
		return names.(map[string]bool)
	}
	names := make(map[string]bool)
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names[name] = true
		}
	}
	memberNamesOf.Store(t, names)
	return names
}
