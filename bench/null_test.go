package bench

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// nullServerVariable makes the test binary a null server, that answers each request after the duration it holds.
const nullServerVariable = "MASKSTORE_BENCH_NULL_SERVER"

// serveNull serves on a port that it prints, until standard input ends.
func serveNull(delay string) {
	wait, err := time.ParseDuration(delay)
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	go http.Serve(listener, &nullServer{delay: wait, objects: make(map[string]nullObject)})
	io.Copy(io.Discard, os.Stdin)
}

// nullServer answers as S3 does where all goes well. It believes every signature and judges no condition.
type nullServer struct {
	delay    time.Duration
	requests atomic.Int64
	mu       sync.RWMutex
	objects  map[string]nullObject // by path
}

type nullObject struct {
	data   []byte
	header http.Header
}

// requestsPath answers with how many requests there were beside those to it.
const requestsPath = "/-/requests"

func (s *nullServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == requestsPath {
		fmt.Fprint(w, s.requests.Load())
		return
	}
	s.requests.Add(1)
	time.Sleep(s.delay)
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPut:
		s.put(w, r)
	case query.Get("list-type") == "2":
		s.list(w, r.URL.Path, query)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		s.get(w, r)
	default:
		http.Error(w, "not served here", http.StatusNotImplemented)
	}
}

func (s *nullServer) put(w http.ResponseWriter, r *http.Request) {
	data, err := readBody(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	sum := md5.Sum(data)
	header := http.Header{
		"Etag":           {`"` + hex.EncodeToString(sum[:]) + `"`},
		"Content-Type":   r.Header["Content-Type"],
		"Content-Length": {strconv.Itoa(len(data))},
		"Last-Modified":  {time.Now().UTC().Format(http.TimeFormat)},
	}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-Amz-Checksum-") {
			header[name] = values
		}
	}
	s.mu.Lock()
	s.objects[r.URL.Path] = nullObject{data, header}
	s.mu.Unlock()
	w.Header()["Etag"] = header["Etag"]
}

// readBody reads the body, out of the chunks that some clients wrap it in.
func readBody(r *http.Request) ([]byte, error) {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return io.ReadAll(r.Body)
	}
	var data bytes.Buffer
	body := bufio.NewReader(r.Body)
	for {
		line, err := body.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			_, err := io.Copy(io.Discard, body)
			return data.Bytes(), err
		}
		if _, err := io.CopyN(&data, body, n); err != nil {
			return nil, err
		}
		if _, err := body.Discard(len("\r\n")); err != nil {
			return nil, err
		}
	}
}

func (s *nullServer) get(w http.ResponseWriter, r *http.Request) {
	s.mu.RLock()
	o, ok := s.objects[r.URL.Path]
	s.mu.RUnlock()
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "<Error><Code>NoSuchKey</Code></Error>")
		return
	}
	for name, values := range o.header {
		if r.Header.Get("X-Amz-Checksum-Mode") != "" || !strings.HasPrefix(name, "X-Amz-Checksum-") {
			w.Header()[name] = values
		}
	}
	w.Write(o.data)
}

// listPage is how many keys S3 gives at a time.
const listPage = 1000

func (s *nullServer) list(w http.ResponseWriter, path string, query url.Values) {
	base := strings.TrimSuffix(path, "/") + "/"
	after := max(query.Get("start-after"), query.Get("continuation-token"))
	s.mu.RLock()
	defer s.mu.RUnlock()
	var keys []string
	for path := range s.objects {
		key, ok := strings.CutPrefix(path, base)
		if ok && strings.HasPrefix(key, query.Get("prefix")) && key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?>`+"\n"+
		`<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>%s</Name><Prefix>%s</Prefix>`+
		`<KeyCount>%d</KeyCount><MaxKeys>%d</MaxKeys><IsTruncated>%t</IsTruncated>`,
		bucket, query.Get("prefix"), min(len(keys), listPage), listPage, len(keys) > listPage)
	if len(keys) > listPage {
		keys = keys[:listPage]
		fmt.Fprintf(w, `<NextContinuationToken>%s</NextContinuationToken>`, keys[listPage-1])
	}
	for _, key := range keys {
		o := s.objects[base+key]
		fmt.Fprintf(w, `<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>&#34;%s&#34;</ETag><Size>%d</Size>`+
			`<StorageClass>STANDARD</StorageClass></Contents>`,
			key, time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), strings.Trim(o.header.Get("Etag"), `"`), len(o.data))
	}
	io.WriteString(w, `</ListBucketResult>`)
}
