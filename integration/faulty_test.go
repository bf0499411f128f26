package integration

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/pacs-extension/maskstore"
	"github.com/pacs-extension/maskstore/maskstoretest"
)

// What Faulty breaks of a read above a storage ends with the kind of error that it ends with on the wire.
func TestFaultyEndsAsTheWire(t *testing.T) {
	e := newFaultEnv(t)
	data, key, partsKey := content(4<<10), e.key(), e.key()
	sum := maskstore.SumSHA256(data)
	if _, err := e.sound.Put(t.Context(), key, bytes.NewReader(data), nil); err != nil {
		t.Fatal(err)
	}
	if err := putInParts(t.Context(), e.sound, partsKey, data, nil); err != nil {
		t.Fatal(err)
	}
	get := func(key string, opts *maskstore.GetOptions) func(maskstore.ObjectStorage) error {
		return func(s maskstore.ObjectStorage) error {
			obj, err := s.Get(t.Context(), key, opts)
			if err != nil {
				return err
			}
			defer obj.Body.Close()
			var got bytes.Buffer
			_, err = got.ReadFrom(obj.Body)
			return err
		}
	}
	flip, reset := maskstoretest.Damage{FlipBit: 1000}, maskstoretest.Damage{ResetAt: 100}
	for name, row := range map[string]struct {
		fault maskstoretest.Fault
		do    func(maskstore.ObjectStorage) error
		want  error
	}{
		"get, flipped":                              {maskstoretest.Fault{Response: flip}, get(key, nil), maskstore.ErrChecksum},
		"get of parts by SHA-256, flipped":          {maskstoretest.Fault{Response: flip}, get(partsKey, &maskstore.GetOptions{SHA256: sum}), maskstore.ErrChecksum},
		"get of parts, flipped":                     {maskstoretest.Fault{Response: flip}, get(partsKey, nil), maskstore.ErrChecksum},
		"get of a range, flipped":                   {maskstoretest.Fault{Response: flip}, get(key, &maskstore.GetOptions{Length: 1000}), nil},
		"get of a verified range, flipped":          {maskstoretest.Fault{Response: flip}, get(key, &maskstore.GetOptions{Length: 1000, Verify: true}), maskstore.ErrChecksum},
		"get of a verified range of parts, flipped": {maskstoretest.Fault{Response: flip}, get(partsKey, &maskstore.GetOptions{Offset: 1, Length: 1000, Verify: true}), maskstore.ErrChecksum},
		"get, reset":                                {maskstoretest.Fault{Response: reset}, get(key, nil), maskstore.ErrUnavailable},
		"get of a range, reset":                     {maskstoretest.Fault{Response: reset}, get(key, &maskstore.GetOptions{Length: 1000}), maskstore.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			plan := func(c maskstoretest.Call) maskstoretest.Fault {
				if strings.TrimSuffix(c.Op, "Object") == "Get" {
					return row.fault
				}
				return maskstoretest.Fault{}
			}
			wire, onWire := e.faulty(plan)
			above := &maskstoretest.Faulty{Plan: plan}
			for where, err := range map[string]error{"on the wire": row.do(wire), "above": row.do(above.Storage(e.sound))} {
				if err != nil || row.want != nil {
					wantTyped(t, err, row.want)
				}
				t.Logf("%s: %v", where, err)
			}
			if len(onWire.Fired()) != 1 || len(above.Fired()) != 1 {
				t.Errorf("fired: %v on the wire, %v above; want one each", onWire.Fired(), above.Fired())
			}
		})
	}
}

// A Put above a storage breaks off as its body is sent: in one request, and in parts, none of which stays.
func TestFaultyPutBreaksOff(t *testing.T) {
	e := newFaultEnv(t)
	for _, size := range []int{4 << 10, 17 << 20} {
		faulty := &maskstoretest.Faulty{
			Plan: always("Put", maskstoretest.Fault{Request: maskstoretest.Damage{ResetAt: int64(size)}}),
		}
		key := e.key()
		_, err := faulty.Storage(e.sound).Put(t.Context(), key, bytes.NewReader(content(size)), nil)
		if e, ok := errors.AsType[*maskstore.Error](err); !ok || e.Op != "Put" || e.Kind != maskstore.ErrUnavailable {
			t.Errorf("%d bytes: %v", size, err)
		}
		if open, parts := e.uploads(key); e.lies(key) != nil || open != 0 || parts != 0 {
			t.Errorf("%d bytes: stored, or %d uploads and %d parts left", size, open, parts)
		}
	}
}
