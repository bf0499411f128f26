package maskstore

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// uploadAnswer answers Begin and Renew.
type uploadAnswer struct {
	Annotation string       `json:"annotation_id"`
	Group      string       `json:"group_id"`
	UploadID   string       `json:"upload_id"`
	Revision   int          `json:"revision"`
	Expires    time.Time    `json:"expires"` // of the first URL to expire
	Metadata   Metadata     `json:"metadata,omitzero"`
	Masks      []maskAnswer `json:"masks"`
}

// maskAnswer is a mask with its URL, or unchanged.
type maskAnswer struct {
	Key       string       `json:"key"`
	Slice     int          `json:"slice"`
	Label     string       `json:"label"`
	Size      int64        `json:"size"`
	SHA256    SHA256       `json:"sha256,omitzero"`
	Unchanged bool         `json:"unchanged,omitempty"`
	URL       *RevealedURL `json:"url,omitempty"`
}

type completeAnswer struct {
	Manifest   *Manifest `json:"manifest"`
	Verdicts   []Verdict `json:"verdicts"`
	Unexpected []string  `json:"unexpected,omitempty"`
}

type getAnswer struct {
	Manifest *Manifest    `json:"manifest"`
	Masks    []maskAnswer `json:"masks"`
}

type listAnswer struct {
	Annotation string        `json:"annotation_id"`
	Groups     []groupAnswer `json:"groups"`
	Next       string        `json:"next,omitempty"` // start_after of the next page; absent on the last
}

// groupAnswer sums a group up.
type groupAnswer struct {
	Group       string      `json:"group_id"`
	Revision    int         `json:"revision"`   // 0: none committed yet
	Masks       int         `json:"mask_count"` // of that revision
	Creator     string      `json:"creator,omitempty"`
	CommittedAt time.Time   `json:"committed_at,omitzero"`
	Metadata    Metadata    `json:"metadata,omitzero"`
	Open        *openAnswer `json:"open,omitempty"`
	HasManifest bool        `json:"has_manifest"`
	Problem     string      `json:"problem,omitempty"` // the code of why it cannot be read
}

type openAnswer struct {
	Creator string    `json:"creator,omitempty"`
	Until   time.Time `json:"until"`
	Masks   int       `json:"mask_count"`
}

func answerUpload(up *GroupUpload) uploadAnswer {
	return uploadAnswer{
		Annotation: up.Annotation, Group: up.Group, UploadID: up.UploadID, Revision: up.Revision,
		Expires: up.Expires, Metadata: up.Metadata, Masks: answerMasks(up.Masks),
	}
}

func answerMasks(masks []MaskURL) []maskAnswer {
	answers := make([]maskAnswer, len(masks))
	for i, m := range masks {
		answers[i] = maskAnswer{Key: m.Key, Slice: m.Slice, Label: m.Label, Size: m.Size, SHA256: m.SHA256, Unchanged: m.Unchanged}
		if !m.Unchanged {
			url := m.URL.Reveal()
			answers[i].URL = &url
		}
	}
	return answers
}

func answerGroup(info GroupInfo) groupAnswer {
	a := groupAnswer{Group: info.Group, HasManifest: info.HasManifest}
	if m := info.Manifest; m != nil {
		a.Revision, a.Masks, a.Creator, a.CommittedAt = m.Revision, len(m.Masks), m.Creator, m.CommittedAt
		a.Metadata = m.Metadata
	}
	if o := info.Open; o != nil {
		a.Open = &openAnswer{o.Creator, o.Until, o.Masks}
	}
	return a
}

// members are the members that a request's JSON object may have, each with what decodes its value.
type members map[string]func(*json.Decoder) error

func into(v any) func(*json.Decoder) error {
	return func(dec *json.Decoder) error { return dec.Decode(v) }
}

// decode reads a request's body. It takes it member by member, so that what it holds is bounded by the limits, not
// by what fits into a body.
func (h *handler) decode(c *call, required bool, known members) error {
	if c.r.ContentLength > h.MaxBodyBytes {
		return tooLarge(h.MaxBodyBytes)
	}
	body := bufio.NewReader(http.MaxBytesReader(c.w, c.r.Body, h.MaxBodyBytes))
	if _, err := body.Peek(1); err == io.EOF && !required {
		return nil
	}
	if media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return &httpError{
			status: http.StatusUnsupportedMediaType, code: "unsupported_media_type", field: "Content-Type",
			detail: fmt.Sprintf("the body's type is %.100q; want application/json", c.r.Header.Get("Content-Type")),
		}
	}
	dec := json.NewDecoder(wholeReads{body})
	dec.DisallowUnknownFields()
	if err := decodeObject(dec, known); err != nil {
		return h.decodeError(err)
	}
	switch _, err := dec.Token(); {
	case err == nil:
		return badInput("body", "goes on after its JSON object", "one object")
	case err != io.EOF:
		return h.decodeError(err)
	}
	return nil
}

// wholeReads fills what it is to read into. After each read json.Decoder looks at all the white space before a token
// again, so that of many short reads would cost the square of its length.
type wholeReads struct{ r io.Reader }

func (w wholeReads) Read(p []byte) (int, error) {
	n, err := io.ReadFull(w.r, p)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}

func decodeObject(dec *json.Decoder, known members) error {
	if err := expect(dec, "body", '{', "an object"); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for dec.More() {
		name, err := memberName(dec)
		if err != nil {
			return err
		}
		decodeValue, ok := known[name]
		switch {
		case !ok:
			return badInput(shortened(name), "is not known", "one of "+strings.Join(sortedNames(known), ", "))
		case seen[name]:
			return badInput(name, "stands twice", "each member once")
		}
		seen[name] = true
		if err := decodeValue(dec); err != nil {
			return inMember(err, name)
		}
	}
	_, err := dec.Token()
	return err
}

// memberName takes the name of an object's next member.
func memberName(dec *json.Decoder) (string, error) {
	token, err := dec.Token()
	name, _ := token.(string) // the decoder takes no other name
	return name, err
}

func sortedNames(known members) []string {
	var names []string
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// expect takes a delimiter.
func expect(dec *json.Decoder, field string, delim json.Delim, want string) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	if token != delim {
		return badInput(field, "is something else", want)
	}
	return nil
}

// isNull takes a null, or nothing.
func isNull(dec *json.Decoder, field string, open json.Delim, want string) (bool, error) {
	token, err := dec.Token()
	switch {
	case err != nil || token == nil:
		return true, err
	case token != open:
		return true, badInput(field, "is something else", want)
	}
	return false, nil
}

func (h *handler) decodeMasks(specs *[]MaskSpec) func(*json.Decoder) error {
	return func(dec *json.Decoder) error {
		if null, err := isNull(dec, "masks", '[', "an array of masks"); null {
			return err
		}
		for dec.More() {
			if len(*specs) == h.MaxMasks {
				return badInput("masks", fmt.Sprintf("are more than %d", h.MaxMasks), fmt.Sprintf("at most %d", h.MaxMasks))
			}
			field := fmt.Sprintf("masks[%d]", len(*specs))
			var spec MaskSpec
			if err := decodeOnce(dec, &spec); err != nil {
				return inMember(err, field)
			}
			if spec.Size > h.MaxMaskBytes {
				return badInput(field+".size", fmt.Sprintf("is %d", spec.Size), fmt.Sprintf("at most %d bytes", h.MaxMaskBytes))
			}
			*specs = append(*specs, spec)
		}
		_, err := dec.Token()
		return err
	}
}

func (h *handler) decodeETags(etags *map[string]string) func(*json.Decoder) error {
	return func(dec *json.Decoder) error {
		if null, err := isNull(dec, "etags", '{', "an object of ETags by key"); null {
			return err
		}
		*etags = make(map[string]string)
		for dec.More() {
			key, err := memberName(dec)
			if err != nil {
				return err
			}
			if _, twice := (*etags)[key]; twice {
				return badInput(fmt.Sprintf("etags[%q]", shortened(key)), "stands twice", "each key once")
			}
			if len(*etags) == h.MaxMasks {
				return badInput("etags", fmt.Sprintf("are more than %d", h.MaxMasks), fmt.Sprintf("at most %d", h.MaxMasks))
			}
			var etag string
			if err := dec.Decode(&etag); err != nil {
				return inMember(err, fmt.Sprintf("etags[%q]", shortened(key)))
			}
			(*etags)[key] = etag
		}
		_, err := dec.Token()
		return err
	}
}

// decodeMetadata refuses what a metadata.json that someone else wrote may hold: members that are not known.
func decodeMetadata(metadata **Metadata) func(*json.Decoder) error {
	return func(dec *json.Decoder) error {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		if len(raw) > maxMetadataBytes {
			return badInput("metadata", fmt.Sprintf("has %d bytes", len(raw)), fmt.Sprintf("at most %d", maxMetadataBytes))
		}
		if err := unmarshalOnce(raw, metadata); err != nil || *metadata == nil {
			return err
		}
		for i, s := range (*metadata).Segments {
			field := fmt.Sprintf("metadata.segments[%d].", i)
			for _, part := range []struct {
				field string
				extra extraMembers
			}{
				{field, s.extra},
				{field + "segmented_property_category.", or(s.Category).extra},
				{field + "segmented_property_type.", or(s.Type).extra},
			} {
				for name := range part.extra {
					return badInput(part.field+shortened(name), "is not known", "")
				}
			}
		}
		return nil
	}
}

// decodeOnce decodes a value none of whose members stands twice, or is unknown.
func decodeOnce(dec *json.Decoder, v any) error {
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return err
	}
	return unmarshalOnce(raw, v)
}

func unmarshalOnce(raw []byte, v any) error {
	plain, err := checkText(raw)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil || plain {
		return err
	}
	// One could stand twice so.
	return &InputError{Problem: "has a member whose name is in another case, or escaped", Want: "the names as they are"}
}

// shortened keeps a name that a client chose from filling the answer.
func shortened(name string) string {
	const most = 100
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}

// inMember turns an error of the decoder into one that names the field.
func inMember(err error, member string) error {
	var (
		typeError *json.UnmarshalTypeError
		input     *InputError
	)
	switch {
	case errors.As(err, new(*httpError)):
		return err
	case errors.As(err, &typeError):
		field := member
		if typeError.Field != "" {
			field += "." + typeError.Field
		}
		return badInput(field, "is a "+typeError.Value, jsonName(typeError.Type))
	case errors.As(err, &input):
		return badInput(strings.TrimSuffix(member+"."+input.Field, "."), input.Problem, input.Want)
	}
	if quoted, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		if name, unquoteErr := strconv.Unquote(quoted); unquoteErr == nil {
			return badInput(member+"."+shortened(name), "is not known", "")
		}
	}
	return err
}

// jsonName says in JSON's words what a Go type is decoded from.
func jsonName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "a string"
	}
}

// decodeError says why a body cannot be read.
func (h *handler) decodeError(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, new(*httpError)):
		return err
	case errors.As(err, new(*http.MaxBytesError)):
		return tooLarge(h.MaxBodyBytes)
	case errors.As(err, &syntax):
		return badInput("body", fmt.Sprintf("is no JSON at byte %d: %v", syntax.Offset, syntax), "a JSON object")
	case err == io.EOF:
		return badInput("body", "is empty", "a JSON object")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return badInput("body", "ends too early", "a whole JSON object")
	}
	return &httpError{
		status: http.StatusBadRequest, code: "invalid_argument", field: "body", detail: "the body cannot be read", err: err,
	}
}
