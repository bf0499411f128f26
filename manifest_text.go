package maskstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of what a metadata.json can hold. Its text alone bounds little: two bytes of it can become a Mask.
const (
	maxManifestDepth   = 64
	maxManifestValues  = 1 << 20 // MaxGroupMasks, committed and pending with what lay there, are half as many
	maxManifestObjects = 1 << 18
)

// jsonLevel is an object or an array that is open.
type jsonLevel struct {
	first int             // its first name among all those of open objects
	index map[string]bool // its names, where they are many; else nil
}

// manyNames is from how many names on an index finds one faster.
const manyNames = 32

// checkText refuses what encoding/json lets pass, and other programs read otherwise or not at all: a name that stands twice
// in an object, and broken UTF-8. It also refuses what would take far more memory than its text. What is no JSON may pass.
//
// plain tells that no name can be taken for one of ours while it is not.
func checkText(data []byte) (plain bool, err error) {
	if !utf8.Valid(data) {
		return false, errors.New("is not UTF-8")
	}
	var (
		levels          []jsonLevel
		names           [][]byte
		values, objects int
	)
	plain = true
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '{', '[':
			levels = append(levels, jsonLevel{first: len(names)})
			values++
			if c == '{' {
				objects++
			}
		case ',':
			values++
		case '}', ']':
			if last := len(levels) - 1; last >= 0 {
				names, levels = names[:levels[last].first], levels[:last]
			}
		case '"':
			text := stringAt(data[i:])
			if text == nil {
				return false, nil
			}
			i += len(text) - 1
			if len(levels) == 0 || !isNamed(data[i+1:]) {
				continue
			}
			name := text[1 : len(text)-1]
			if !isPlainName(name) {
				plain = false
				var unquoted string
				if json.Unmarshal(text, &unquoted) == nil {
					name = []byte(unquoted)
				}
			}
			at := &levels[len(levels)-1]
			if at.has(name, names[at.first:]) {
				return false, &InputError{Field: shortened(string(name)), Problem: "stands twice in an object", Want: "each member once"}
			}
			names = append(names, name)
		}
		switch {
		case len(levels) > maxManifestDepth:
			return false, fmt.Errorf("is nested over %d deep", maxManifestDepth)
		case values > maxManifestValues || objects > maxManifestObjects:
			return false, fmt.Errorf("has over %d values, or over %d objects", maxManifestValues, maxManifestObjects)
		}
	}
	return plain, nil
}

// has reports whether name is one of names, which are the level's, and prepares for its being added to them.
func (l *jsonLevel) has(name []byte, names [][]byte) bool {
	if l.index == nil && len(names) < manyNames {
		for _, other := range names {
			if bytes.Equal(name, other) {
				return true
			}
		}
		return false
	}
	if l.index == nil {
		l.index = make(map[string]bool)
		for _, other := range names {
			l.index[string(other)] = true
		}
	}
	if l.index[string(name)] {
		return true
	}
	l.index[string(name)] = true
	return false
}

// isNamed tells whether data, what follows a string, makes that the name of a member.
func isNamed(data []byte) bool {
	for _, c := range data {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c == ':'
		}
	}
	return false
}

// stringAt gives the JSON string, quotes and all, with which data begins; nil where it does not end.
func stringAt(data []byte) []byte {
	end := bytes.IndexByte(data[1:], '"') + 1
	if end == 0 {
		return nil
	}
	if bytes.IndexByte(data[:end], '\\') < 0 { // as nearly always: what follows takes several times as long
		return data[:end+1]
	}
	for i := 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return data[:i+1]
		}
	}
	return nil
}

// isPlainName tells a name that is one of ours only if it is written as ours are: encoding/json takes one in any case. No
// name of ours has a slash, as all keys have.
func isPlainName(name []byte) bool {
	slash, ours := false, true
	for _, c := range name {
		switch {
		case c == '\\':
			return false
		case c == '/':
			slash = true
		case c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z'):
			ours = false
		}
	}
	return slash || ours
}

// misspelt gives a name of unknown members that encoding/json takes for one of known all the same.
func misspelt(unknown extraMembers, known map[string]bool) (string, bool) {
	for name := range unknown {
		for ours := range known {
			if strings.EqualFold(name, ours) {
				return name, true
			}
		}
	}
	return "", false
}
