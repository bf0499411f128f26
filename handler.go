package maskstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"strconv"
	"time"
)

// Action is what a request to the handler is about to do with an annotation's mask groups.
type Action string

// The actions that HandlerOptions.Authorize decides on.
const (
	ActionRead   Action = "read"   // list groups; read a manifest and get download URLs
	ActionWrite  Action = "write"  // begin, renew and complete uploads, those of other users included
	ActionDelete Action = "delete" // delete a group
)

// HandlerOptions sets up NewHandler.
type HandlerOptions struct {
	// Authorize says who makes the request, and whether that user may do so: an error that is ErrUnauthenticated is
	// answered with 401, one that is ErrAccessDenied with 403, any other with 500. It runs before the body is read, and
	// before the IDs are checked; r.PathValue("group_id") gives the group's where the path has one. user, at most
	// 256 bytes of UTF-8 without control characters, else the answer is 500, becomes the manifest's creator and is shown to
	// other users whom an open upload keeps out. An empty user is nobody's: it never takes over an upload by itself. Nil
	// refuses everything with 403.
	Authorize func(r *http.Request, annotation string, action Action) (user string, err error)
	Challenge string // the WWW-Authenticate header of a 401; empty: Bearer

	MaxMasks     int   // how many masks one request can name; 0: DefaultMaxMasks; at most MaxGroupMasks
	MaxMaskBytes int64 // the size of one mask; 0: DefaultMaxMaskBytes; at most MaxPutSize
	MaxBodyBytes int64 // the size of a request's body; 0: what MaxMasks can need

	TTL      time.Duration   // of the signed URLs; 0: the storage's default
	Complete CompleteOptions // what is proven of a mask beyond that it is the one declared
	Group    GroupOptions

	// Logger gets a record per request, with neither headers nor query, and the causes of errors that clients are
	// not told. Nil: none.
	Logger *slog.Logger
}

// The handler's default limits.
const (
	DefaultMaxMasks     = 10_000
	DefaultMaxMaskBytes = 64 << 20
)

const (
	bodyBytesPerMask = 1 << 10 // the longest key of a mask has 515 bytes, its ETag some 40; a spec is shorter
	bodyBytesBase    = 64 << 10
	maxMetadataBytes = 256 << 10 // segments take many times the memory of what they are written in
	defaultPage      = 100
	maxPage          = 1000
	retryLater       = "5" // seconds
)

// NewHandler gives the HTTP interface by which viewers save and read mask groups; no mask passes through it. Its
// paths are absolute, so it is mounted as mux.Handle("/api/annotations/", handler).
//
//	POST   /api/annotations/{id}/mask-groups                        begin an upload: a signed URL per mask
//	POST   /api/annotations/{id}/mask-groups/{group_id}/complete    verify and commit what was put
//	POST   /api/annotations/{id}/mask-groups/{group_id}/renew       new URLs for what is not there yet
//	GET    /api/annotations/{id}/mask-groups                        the groups, by pages: limit, start_after
//	GET    /api/annotations/{id}/mask-groups/{group_id}             the manifest, and a signed URL per mask
//	DELETE /api/annotations/{id}/mask-groups/{group_id}             delete the group
//
// Groups come in the order of [Groups]; a page's next is the start_after of the one that follows.
//
// Requests and answers are JSON, errors are problem documents (RFC 9457) with a code, and the field for bad input. A user's
// upload takes over the same user's open one, whose viewer may have crashed; another user gets 409 with creator and until.
//
// The handler answers the origin it is served from and sets no CORS headers; the bucket's CORS rules are for the
// viewer's requests to signed URLs. Where Authorize goes by cookies, wrap it in http.CrossOriginProtection.
//
// NewHandler panics where an option is negative, or is a TTL that the storage does not sign for or a Concurrency over
// MaxConcurrency.
func NewHandler(storage ObjectStorage, opts *HandlerOptions) http.Handler {
	h := &handler{HandlerOptions: *or(opts), storage: storage, mux: http.NewServeMux()}
	if err := h.check(); err != nil {
		panic(opError("NewHandler", "", nil, err))
	}
	if h.Authorize == nil {
		h.Authorize = func(*http.Request, string, Action) (string, error) { return "", ErrAccessDenied }
	}
	h.Challenge = cmp.Or(h.Challenge, "Bearer")
	h.MaxMasks = min(cmp.Or(h.MaxMasks, DefaultMaxMasks), MaxGroupMasks)
	h.MaxMaskBytes = min(cmp.Or(h.MaxMaskBytes, DefaultMaxMaskBytes), MaxPutSize)
	h.MaxBodyBytes = cmp.Or(h.MaxBodyBytes, bodyBytesBase+bodyBytesPerMask*int64(h.MaxMasks))
	if h.Logger == nil {
		h.Logger = slog.New(slog.DiscardHandler)
	}
	const groups, group = "/api/annotations/{id}/mask-groups", "/api/annotations/{id}/mask-groups/{group_id}"
	h.mux.Handle("POST "+groups, h.endpoint(ActionWrite, h.begin))
	h.mux.Handle("POST "+group+"/complete", h.endpoint(ActionWrite, h.complete))
	h.mux.Handle("POST "+group+"/renew", h.endpoint(ActionWrite, h.renew))
	h.mux.Handle("GET "+groups, h.endpoint(ActionRead, h.list))
	h.mux.Handle("GET "+group, h.endpoint(ActionRead, h.get))
	h.mux.Handle("DELETE "+group, h.endpoint(ActionDelete, h.delete))
	return h
}

type handler struct {
	HandlerOptions
	storage ObjectStorage
	mux     *http.ServeMux
}

// check refuses options that would fail every request, or limit nothing.
func (h *handler) check() error {
	for _, limit := range []struct {
		field string
		value int64
	}{
		{"MaxMasks", int64(h.MaxMasks)}, {"MaxMaskBytes", h.MaxMaskBytes}, {"MaxBodyBytes", h.MaxBodyBytes},
		{"Complete.MaxPixels", h.Complete.MaxPixels},
	} {
		if limit.value < 0 {
			return inputError(limit.field, fmt.Sprintf("%d is negative", limit.value), "a limit, or 0 for the default")
		}
	}
	if err := checkConcurrency(h.Group.Concurrency); err != nil {
		return inFields(err, "Group.")
	}
	if h.TTL == 0 {
		return nil
	}
	// How long a URL may live the storage alone knows. As ctx has ended it signs none, and asks nobody for credentials.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := h.storage.DownloadURL(ctx, root+metadataName, &DownloadURLOptions{TTL: h.TTL})
	if input, ok := errors.AsType[*InputError](err); ok && input.Field == "TTL" {
		return inputError(input.Field, input.Problem, input.Want)
	}
	return nil
}

// endpoint is the handler of a path, to tell it from those that ServeMux makes up: errors and redirects.
type endpoint func(http.ResponseWriter, *http.Request)

func (e endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) { e(w, r) }

// call is one request on its way.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	user string
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	matched, _ := h.mux.Handler(r)
	if _, ok := matched.(endpoint); ok {
		h.mux.ServeHTTP(w, r)
		return
	}
	h.serve(&call{w: w, r: r}, func(*call) (int, any, error) {
		probe := &headerProbe{header: make(http.Header)}
		matched.ServeHTTP(probe, r)
		if probe.status == http.StatusMethodNotAllowed {
			w.Header()["Allow"] = probe.header["Allow"]
			return 0, nil, &httpError{status: probe.status, code: "method_not_allowed", detail: r.Method + " is not for this path"}
		}
		return 0, nil, &httpError{status: http.StatusNotFound, code: "no_such_path", detail: "there is nothing at this path"}
	})
}

// headerProbe takes of an answer what its header says.
type headerProbe struct {
	header http.Header
	status int
}

func (p *headerProbe) Header() http.Header         { return p.header }
func (p *headerProbe) WriteHeader(status int)      { p.status = status }
func (p *headerProbe) Write(b []byte) (int, error) { return len(b), nil }

// endpoint makes an endpoint of what answers an authorized request with a status and a body.
func (h *handler) endpoint(action Action, answer func(*call) (int, any, error)) endpoint {
	return func(w http.ResponseWriter, r *http.Request) {
		h.serve(&call{w: w, r: r}, func(c *call) (int, any, error) {
			user, err := h.Authorize(r, r.PathValue("id"), action)
			if err == nil {
				err = checkAbout(user, nil)
			}
			if err != nil {
				return 0, nil, h.refusal(c, err)
			}
			c.user = user
			return answer(c)
		})
	}
}

// refusal is what a client is told of an error of the hook.
func (h *handler) refusal(c *call, err error) error {
	switch {
	case errors.Is(err, ErrUnauthenticated):
		c.w.Header().Set("WWW-Authenticate", h.Challenge)
		return &httpError{
			status: http.StatusUnauthorized, code: "unauthenticated", detail: "the request does not say who makes it", err: err,
		}
	case errors.Is(err, ErrAccessDenied):
		return &httpError{status: http.StatusForbidden, code: "access_denied", detail: "that is not allowed here", err: err}
	}
	return &httpError{status: http.StatusInternalServerError, code: "internal", detail: internalDetail, err: err}
}

// serve writes the answer, or the problem, whole, and logs it.
func (h *handler) serve(c *call, answer func(*call) (int, any, error)) {
	begun := time.Now()
	status, body, err := recovered(c, answer)
	contentType := "application/json"
	var data []byte
	if err == nil && body != nil {
		data, err = encodeJSON(body)
	}
	if err != nil {
		p := problemOf(err)
		p.Instance = c.r.URL.EscapedPath()
		status, contentType = p.Status, "application/problem+json"
		if status == http.StatusServiceUnavailable {
			c.w.Header().Set("Retry-After", retryLater)
		}
		data, _ = encodeJSON(p) // strings, numbers and times: it cannot fail
	}
	header := c.w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if data != nil {
		header.Set("Content-Type", contentType)
		header.Set("Content-Length", strconv.Itoa(len(data)))
	}
	c.w.WriteHeader(status)
	c.w.Write(data) // fails where the client is gone: nobody is left to tell

	level, attrs := slog.LevelInfo, []slog.Attr{
		slog.String("method", c.r.Method), slog.String("path", c.r.URL.Path), slog.Int("status", status),
		slog.String("user", c.user), slog.Int("bytes", len(data)), slog.Duration("took", time.Since(begun)),
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", hide(err, secretsIn(c.r.URL.RawQuery, c.r.Header))))
		if status >= 500 {
			level = slog.LevelError
		}
	}
	h.Logger.LogAttrs(c.r.Context(), level, "mask groups", attrs...)
}

// recovered turns a panic, such as one of the hook, into an error.
func recovered(c *call, answer func(*call) (int, any, error)) (status int, body any, err error) {
	defer func() {
		v := recover()
		if v == http.ErrAbortHandler {
			panic(v)
		}
		if v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return answer(c)
}

func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // leaves the & of URLs readable
	err := enc.Encode(v)
	return b.Bytes(), err
}

// group gives the group that the request's path names, or with an empty ID a new one.
func (h *handler) group(c *call, id string) (*Group, error) {
	return NewGroup(h.storage, c.r.PathValue("id"), id, &h.Group)
}

// pathGroup gives the group that the request's path names.
func (h *handler) pathGroup(c *call) (*Group, error) {
	id := c.r.PathValue("group_id")
	if err := validID("group", id); err != nil {
		return nil, err
	}
	return h.group(c, id)
}

func (h *handler) begin(c *call) (int, any, error) {
	var (
		id    string
		specs []MaskSpec
		opts  = BeginOptions{Creator: c.user, SupersedeOwn: true, TTL: h.TTL}
	)
	err := h.decode(c, true, members{
		"group_id":     into(&id),
		"masks":        h.decodeMasks(&specs),
		"keep":         into(&opts.Keep),
		"no_overwrite": into(&opts.NoOverwrite),
		"supersede":    into(&opts.Supersede),
		"metadata":     decodeMetadata(&opts.Metadata),
	})
	if err != nil {
		return 0, nil, err
	}
	g, err := h.group(c, id)
	if err != nil {
		return 0, nil, err
	}
	up, err := g.Begin(c.r.Context(), specs, &opts)
	if err != nil {
		return 0, nil, err
	}
	c.w.Header().Set("Location", path.Join("mask-groups", g.ID()))
	return http.StatusCreated, answerUpload(up), nil
}

// decodeReport reads which group, and what the client says of an upload of it; an empty body says nothing.
func (h *handler) decodeReport(c *call) (g *Group, uploadID string, etags map[string]string, err error) {
	if g, err = h.pathGroup(c); err == nil {
		err = h.decode(c, false, members{"upload_id": into(&uploadID), "etags": h.decodeETags(&etags)})
	}
	return g, uploadID, etags, err
}

func (h *handler) renew(c *call) (int, any, error) {
	g, uploadID, etags, err := h.decodeReport(c)
	if err != nil {
		return 0, nil, err
	}
	up, err := g.Renew(c.r.Context(), uploadID, etags, &RenewOptions{TTL: h.TTL})
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, answerUpload(up), nil
}

func (h *handler) complete(c *call) (int, any, error) {
	g, uploadID, etags, err := h.decodeReport(c)
	if err != nil {
		return 0, nil, err
	}
	done, err := g.Complete(c.r.Context(), uploadID, etags, &h.Complete)
	if err != nil && done != nil {
		return 0, nil, &incompleteError{done, err}
	}
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, completeAnswer{done.Manifest, done.Verdicts, done.Unexpected}, nil
}

func (h *handler) list(c *call) (int, any, error) {
	prefix, err := AnnotationPrefix(c.r.PathValue("id"))
	if err != nil {
		return 0, nil, err
	}
	query := c.r.URL.Query()
	limit, startAfter := defaultPage, query.Get("start_after")
	if s := query.Get("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxPage {
			return 0, nil, badInput("limit", fmt.Sprintf("is %.40q", s), fmt.Sprintf("1 to %d", maxPage))
		}
	}
	if startAfter != "" {
		if err := validID("start_after", startAfter); err != nil {
			return 0, nil, badInputError(err)
		}
	}
	answer := listAnswer{Annotation: c.r.PathValue("id"), Groups: []groupAnswer{}}
	opts := &GroupsOptions{StartAfter: startAfter, Limit: limit + 1, Concurrency: h.Group.Concurrency}
	for info, err := range Groups(c.r.Context(), h.storage, answer.Annotation, opts) {
		if err != nil && (info.Group == "" || c.r.Context().Err() != nil) {
			return 0, nil, err
		}
		if len(answer.Groups) == limit {
			answer.Next = answer.Groups[limit-1].Group
			break
		}
		item := answerGroup(info)
		if err != nil {
			item.Problem = problemOf(err).Code
			h.Logger.LogAttrs(c.r.Context(), slog.LevelError, "mask group", slog.String("prefix", prefix+info.Group),
				slog.Any("error", err))
		}
		answer.Groups = append(answer.Groups, item)
	}
	return http.StatusOK, answer, context.Cause(c.r.Context())
}

func (h *handler) get(c *call) (int, any, error) {
	g, err := h.pathGroup(c)
	if err != nil {
		return 0, nil, err
	}
	manifest, urls, err := g.DownloadURLs(c.r.Context(), &DownloadURLsOptions{TTL: h.TTL})
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, getAnswer{manifest, answerMasks(urls)}, nil
}

func (h *handler) delete(c *call) (int, any, error) {
	g, err := h.pathGroup(c)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, g.Delete(c.r.Context())
}
