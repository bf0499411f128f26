package maskstoretest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Faulty makes a storage, or the network before one, fail as Plan says, so that a program can be tested for what it
// does then. RoundTripper breaks single requests, below what a storage does about them: its checksums and its further
// attempts. Storage breaks whole calls.
//
// A fault that Fired does not tell of proves nothing: its call was not made, or its byte not read.
//
// The commit of a group is a Put of its metadata.json (maskstore.MetadataKey), or a PutObject of it: Begin makes the first
// of an upload, each Renew another, and Complete the last, which commits. So it is the second of a new group.
type Faulty struct {
	// Plan tells what goes wrong with a call. It is called as the call begins, by one goroutine at a time, and may ask for
	// Calls. nil: nothing goes wrong.
	Plan func(Call) Fault

	planning sync.Mutex // held while Plan runs
	mu       sync.Mutex
	calls    []Call
	fired    []Fired
}

// Call is a request, or a call of a storage's method.
type Call struct {
	// Op is the method, such as "Put", or "PutBatch", by which MinIO takes many masks. Of a request it is what S3 names it,
	// such as "PutObject"; "CORS" is a preflight.
	Op      string
	Key     string        // the key, or the prefix; of several keys the first
	N       int           // 1 for the first call of the Faulty, and so on
	Request *http.Request // that Plan may look at, but not change; nil: a call of a method
}

// Fault is what goes wrong with a call. The zero Fault is nothing.
type Fault struct {
	Hook  func()        // is called first: to end a context, or change what the server does; nil: none
	Delay time.Duration // passes before the call is made; the end of the call's context ends it
	// Err is what the call fails with, without being made; nil: it does not. A storage's method gives an *Error as it is, one
	// of package maskstore's kinds as the Kind of one, and any other error but a context's as the cause of ErrUnavailable.
	Err error
	// Done: the call is made, but what it gives is lost. Err (nil: a connection that was reset) or Answer comes in its place.
	Done     bool
	Answer   *Answer // of a request, in the server's place, which does not see the request unless Done; nil: the server's
	Request  Damage  // to what is sent: the body of a request, of Put and of UploadPart
	Response Damage  // to what comes: the body of an answer, and of Get
}

// Fired is a part of a Fault that had an effect on its call.
type Fired struct {
	Call
	Field string // of the Fault, such as "Done", whatever came in the answer's place, or "Response.FlipBit"
}

// Answer is an answer to a request.
type Answer struct {
	Status int         // such as http.StatusServiceUnavailable
	Header http.Header // nil: none
	Body   string      // Content-Length is its length: to cut it short, Damage it
}

// Damage is done to the bytes of a body, which are counted from 1, and their bits too. The zero Damage is none. What
// lies past the end of the body does nothing.
type Damage struct {
	ResetAt int64         // the connection is reset in place of this byte; 0: not
	StallAt int64         // before this byte nothing comes until the call's context ends; 0: not
	FlipBit int64         // this bit is another one; 0: none
	Every   time.Duration // how long each byte takes; 0: no time
}

// Calls gives the calls so far, in the order in which they began.
func (f *Faulty) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Call(nil), f.calls...)
}

// Fired gives what has had an effect so far, in the order in which it did. Of Damage that is what hit a byte that was
// read, once for each body: nothing past the end of the body, or past where its reader stopped.
func (f *Faulty) Fired() []Fired {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Fired(nil), f.fired...)
}

// planned is a call with its fault.
type planned struct {
	Fault
	faulty *Faulty
	call   Call
}

// next counts a call, and plans it.
func (f *Faulty) next(c Call) *planned {
	f.planning.Lock()
	defer f.planning.Unlock()
	f.mu.Lock()
	c.N = len(f.calls) + 1
	f.calls = append(f.calls, c)
	f.mu.Unlock()
	p := &planned{faulty: f, call: c}
	if f.Plan != nil {
		p.Fault = f.Plan(c)
	}
	return p
}

// fired notes that a field of the fault has an effect.
func (p *planned) fired(field string) {
	p.faulty.mu.Lock()
	defer p.faulty.mu.Unlock()
	p.faulty.fired = append(p.faulty.fired, Fired{p.call, field})
}

// errReset is what a connection gives that the other side, or something between, has reset.
var errReset = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}

// begin does what comes before the call, and gives the error that keeps it from being made.
func (p *planned) begin(ctx context.Context) error {
	if p.Hook != nil {
		p.fired("Hook")
		p.Hook()
	}
	if p.Delay > 0 {
		p.fired("Delay")
		timer := time.NewTimer(p.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if p.Done || p.Err == nil {
		return nil
	}
	p.fired("Err")
	return p.Err
}

// lost gives the error in the place of what a call gave.
func (p *planned) lost() error {
	p.fired("Done")
	if p.Err != nil {
		return p.Err
	}
	return errReset
}

// RoundTripper gives a transport that sends requests by next (nil: http.DefaultTransport), and breaks them.
func (f *Faulty) RoundTripper(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return &faultyTransport{f, next}
}

type faultyTransport struct {
	faulty *Faulty
	next   http.RoundTripper
}

// CloseIdleConnections closes those of the transport below.
func (t *faultyTransport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (t *faultyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	fault := t.faulty.next(requestCall(r))
	if err := fault.begin(ctx); err != nil {
		closeBody(r)
		return nil, err
	}
	if fault.Answer != nil && !fault.Done {
		fault.fired("Answer")
		closeBody(r)
		return fault.answer(r), nil
	}
	if fault.Request != (Damage{}) {
		r = r.Clone(ctx)
		r.Body, r.GetBody = fault.sent(ctx, r.Body, errReset), nil // which would give an undamaged one
	}
	resp, err := t.next.RoundTrip(r)
	if fault.Done {
		if err == nil {
			io.Copy(io.Discard, resp.Body) // by its end the server has done it
			resp.Body.Close()
		}
		lost := fault.lost()
		if fault.Answer != nil {
			return fault.answer(r), nil
		}
		return nil, lost
	}
	if err == nil {
		resp.Body = fault.comes(ctx, resp.Body, errReset)
	}
	return resp, err
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}

// answer gives the fault's Answer to r.
func (p *planned) answer(r *http.Request) *http.Response {
	a := p.Answer
	h := a.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	return &http.Response{
		Status: fmt.Sprint(a.Status, " ", http.StatusText(a.Status)), StatusCode: a.Status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, ContentLength: int64(len(a.Body)), Request: r,
		Body: p.comes(r.Context(), io.NopCloser(strings.NewReader(a.Body)), errReset),
	}
}

// requestOps names requests as S3 does, by their method and the parameter that makes them another one.
var requestOps = map[string]string{
	"PUT ": "PutObject", "GET ": "GetObject", "HEAD ": "HeadObject", "DELETE ": "DeleteObject", "OPTIONS ": "CORS",
	"POST delete": "DeleteObjects", "GET list-type": "ListObjectsV2",
	"POST uploads": "CreateMultipartUpload", "GET uploads": "ListMultipartUploads",
	"PUT uploadId": "UploadPart", "GET uploadId": "ListParts",
	"POST uploadId": "CompleteMultipartUpload", "DELETE uploadId": "AbortMultipartUpload",
}

// requestCall tells what a request is about.
func requestCall(r *http.Request) Call {
	query, parameter := r.URL.Query(), ""
	for _, name := range []string{"delete", "list-type", "uploads", "uploadId"} {
		if query.Has(name) {
			parameter = name
		}
	}
	c := Call{Op: requestOps[r.Method+" "+parameter], Key: query.Get("prefix"), Request: r}
	if r.Header.Get("X-Amz-Copy-Source") != "" {
		c.Op = "CopyObject"
	}
	if i := strings.Index(r.URL.Path, "/mask/"); i >= 0 { // before it, where it is in the path, the bucket
		c.Key = r.URL.Path[i+1:]
	}
	return c
}

// sent gives the body of what is sent, damaged. Its Read gives reset where the connection is reset.
func (p *planned) sent(ctx context.Context, body io.ReadCloser, reset error) io.ReadCloser {
	return p.damage(ctx, body, reset, p.Request, "Request.")
}

// comes gives the body of what comes, damaged.
func (p *planned) comes(ctx context.Context, body io.ReadCloser, reset error) io.ReadCloser {
	return p.damage(ctx, body, reset, p.Response, "Response.")
}

func (p *planned) damage(ctx context.Context, body io.ReadCloser, reset error, d Damage, side string) io.ReadCloser {
	if d == (Damage{}) || body == nil || body == http.NoBody {
		return body
	}
	return &damagedBody{
		Damage: d, ReadCloser: body, ctx: ctx, reset: reset, closed: make(chan struct{}),
		fired: func(field string) { p.fired(side + field) },
	}
}

type damagedBody struct {
	Damage
	io.ReadCloser
	ctx    context.Context
	reset  error
	fired  func(field string)
	n      int64 // how many bytes have passed
	broken error // what ended it, and each further Read gives
	close  sync.Once
	closed chan struct{}
}

// Close also ends a Read that waits.
func (d *damagedBody) Close() error {
	d.close.Do(func() { close(d.closed) })
	return d.ReadCloser.Close()
}

func (d *damagedBody) Read(p []byte) (int, error) {
	if d.broken != nil {
		return 0, d.broken
	}
	for _, at := range []int64{d.ResetAt, d.StallAt} {
		if left := at - 1 - d.n; at > 0 && left >= 0 && int64(len(p)) > max(left, 1) {
			p = p[:max(left, 1)] // at is not passed within a Read
		}
	}
	if d.Every > 0 && len(p) > 1 {
		p = p[:1]
	}
	n, err := d.ReadCloser.Read(p)
	if n == 0 {
		return 0, err
	}
	switch at := d.n + 1; {
	case at == d.ResetAt:
		d.fired("ResetAt")
		d.broken = d.reset
	case at == d.StallAt:
		d.fired("StallAt")
		d.broken = d.wait(nil)
	case d.Every > 0:
		if at == 1 {
			d.fired("Every")
		}
		timer := time.NewTimer(d.Every)
		defer timer.Stop()
		d.broken = d.wait(timer.C)
	}
	if d.broken != nil {
		return 0, d.broken
	}
	if bit := d.FlipBit - 1 - 8*d.n; d.FlipBit > 0 && bit >= 0 && bit < int64(8*n) {
		d.fired("FlipBit")
		p[bit/8] ^= 1 << (bit % 8)
	}
	d.n += int64(n)
	return n, err
}

// wait waits until c gives something.
func (d *damagedBody) wait(c <-chan time.Time) error {
	select {
	case <-c:
		return nil
	case <-d.ctx.Done():
		return d.ctx.Err()
	case <-d.closed:
		return http.ErrBodyReadAfterClose
	}
}
