package maskstore

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// listing is a page of ListObjectsV2.
type listing struct {
	isTruncated bool
	next        string       // the token to continue with
	entries     []ObjectInfo // in the order of their keys
	entry       ObjectInfo   // that is being read
	escaped     bool         // the keys, in the way of a URL, as not all servers do on demand
}

// parseListing reads a page. encoding/xml takes over ten times as long, which for a group of a thousand masks is more than
// all the rest of Complete. What it alone understands, such as CDATA, no listing has: that is an error here.
func parseListing(data []byte) (*listing, error) {
	l := new(listing)
	var open [][]byte // the elements that are open
	for {
		text, rest, _ := bytes.Cut(data, []byte("<"))
		tag, rest, ok := bytes.Cut(rest, []byte(">"))
		switch {
		case !ok || len(tag) == 0:
			return nil, errors.New("it ends before its end")
		case tag[0] == '!':
			return nil, fmt.Errorf("it has the tag <%.20s>", tag)
		case tag[0] == '?' || tag[len(tag)-1] == '/': // says nothing
		case tag[0] != '/':
			name, _, _ := bytes.Cut(tag, []byte(" "))
			if open = append(open, name); string(open[0]) != "ListBucketResult" || len(open) > 8 {
				return nil, fmt.Errorf("it has the element <%.40s>", name)
			}
		case len(open) == 0 || !bytes.Equal(open[len(open)-1], tag[1:]):
			return nil, fmt.Errorf("<%.40s> closes nothing", tag)
		case len(open) == 1:
			if err := l.unescape(); err != nil {
				return nil, err
			}
			l.sort()
			return l, nil
		default:
			if err := l.read(open[1:], text); err != nil {
				return nil, err
			}
			open = open[:len(open)-1]
		}
		data = rest
	}
}

// read takes the text of an element that ends, named by its path below the root.
func (l *listing) read(path [][]byte, text []byte) (err error) {
	switch name := path[0]; {
	case len(path) > 2: // such as an owner's
	case len(path) == 2:
		err = l.readEntry(string(path[1]), text)
	case string(name) == "IsTruncated":
		l.isTruncated, err = strconv.ParseBool(string(text))
	case string(name) == "EncodingType":
		l.escaped = string(text) == "url"
	case string(name) == "NextContinuationToken":
		l.next = unescapeXML(text)
	case string(name) == "Contents" || string(name) == "CommonPrefixes":
		if l.entry.Key == "" {
			return fmt.Errorf("it has a <%s> without a key", name)
		}
		l.entry.IsPrefix = string(name) == "CommonPrefixes"
		l.entries = append(l.entries, l.entry)
		l.entry = ObjectInfo{}
	}
	if err != nil {
		return fmt.Errorf("its %s is %.100q", bytes.Join(path, []byte("/")), text)
	}
	return nil
}

// readEntry takes what is said of an object or a common prefix.
func (l *listing) readEntry(name string, text []byte) (err error) {
	switch name {
	case "Key", "Prefix":
		l.entry.Key = unescapeXML(text)
	case "Size":
		l.entry.Size, err = strconv.ParseInt(string(text), 10, 64)
	case "ETag":
		l.entry.ETag = strings.Trim(unescapeXML(text), `"`)
	case "LastModified":
		l.entry.LastModified, err = time.Parse(time.RFC3339, string(text))
	}
	return err
}

// unescapeXML also knows HTML's entities, which no listing has.
func unescapeXML(text []byte) string { return html.UnescapeString(string(text)) }

// unescape works on a page that was read whole: the server may say last that its keys are escaped.
func (l *listing) unescape() (err error) {
	for i := range l.entries {
		if e := &l.entries[i]; l.escaped {
			if e.Key, err = url.QueryUnescape(e.Key); err != nil {
				return fmt.Errorf("it has a key that is not escaped: %w", err)
			}
		}
	}
	return nil
}

// sort merges objects and common prefixes.
func (l *listing) sort() {
	byKey := func(a, b ObjectInfo) int { return strings.Compare(a.Key, b.Key) }
	if !slices.IsSortedFunc(l.entries, byKey) {
		slices.SortStableFunc(l.entries, byKey)
	}
}
