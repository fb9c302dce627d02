package move

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// between stands before a server and spoils requests of others to it, by their method, whom they are about and how often that was called: NSIDs and the DID that the
// token names for a PDS, "POST" and "GET" and the path for a PLC directory.
type between struct {
	URL  string
	next *httputil.ReverseProxy

	mu   sync.Mutex
	seen map[[2]string]int                       // guarded by mu
	rule func(method, about string, n int) fault // guarded by mu; nil: pass all on
}

// fault answers a request in place of the server.
type fault func(w http.ResponseWriter, r *http.Request, pass http.Handler)

func standBetween(t *testing.T, target string) *between {
	t.Helper()
	b := &between{seen: map[[2]string]int{}}
	b.lead(t, target)
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	b.URL = "http://localhost:" + s.URL[strings.LastIndexByte(s.URL, ':')+1:]
	return b
}

// lead has requests passed on to a server.
func (b *between) lead(t *testing.T, target string) {
	t.Helper()
	u, err := url.Parse(target)
	must(t, err)
	b.next = httputil.NewSingleHostReverseProxy(u)
	b.next.FlushInterval = -1
	b.next.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) } // a server that is down does not answer
}

// set makes a rule, and counts anew.
func (b *between) set(rule func(method, about string, n int) fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rule, b.seen = rule, map[[2]string]int{}
}

// at spoils the n-th request to a method.
func at(method string, n int, f fault) func(string, string, int) fault {
	return func(m, _ string, i int) fault {
		if m == method && i == n {
			return f
		}
		return nil
	}
}

func (b *between) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method, xrpc := strings.CutPrefix(r.URL.Path, "/xrpc/")
	about := ""
	if xrpc {
		about = account(r)
	} else {
		method, about = r.Method, r.URL.Path
	}
	var f fault
	b.mu.Lock()
	key := [2]string{method, about}
	if !xrpc {
		key[1] = ""
	}
	b.seen[key]++
	if b.rule != nil {
		f = b.rule(method, about, b.seen[key])
	}
	b.mu.Unlock()
	if f == nil {
		b.next.ServeHTTP(w, r)
		return
	}
	f(w, r, b.next)
}

// account is the DID that a request's token names, "" without one.
func account(r *http.Request) string {
	parts := strings.Split(r.Header.Get("Authorization"), ".")
	if len(parts) != 3 {
		return ""
	}
	var claims struct{ Sub, Iss string }
	text, _ := base64.RawURLEncoding.DecodeString(parts[1])
	_ = json.Unmarshal(text, &claims)
	if claims.Sub == "" {
		return claims.Iss // of a service token
	}
	return claims.Sub
}

func record(r *http.Request, pass http.Handler) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	pass.ServeHTTP(rec, r)
	return rec
}

// before runs do in place of passing a request on; nobody answers it.
func before(do func()) fault {
	return func(http.ResponseWriter, *http.Request, http.Handler) {
		do()
		panic(http.ErrAbortHandler)
	}
}

// after passes a request on and runs do in place of giving the answer back.
func after(do func()) fault {
	return func(_ http.ResponseWriter, r *http.Request, pass http.Handler) {
		record(r, pass)
		do()
		panic(http.ErrAbortHandler)
	}
}

// within gives half of the answer back and runs do then.
func within(do func()) fault {
	return func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		rec := record(r, pass)
		head(w, rec)
		w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		w.(http.Flusher).Flush()
		do()
		panic(http.ErrAbortHandler)
	}
}

func head(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
	for name, values := range rec.Header() {
		if name != "Content-Length" && name != "Transfer-Encoding" {
			w.Header()[name] = values
		}
	}
}

func nothing() {}

// answer is a page that the server did not write.
func answer(status int, body string, headers ...string) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i < len(headers); i += 2 {
			value := headers[i+1]
			if value == "soon" {
				value = strconv.FormatInt(time.Now().Add(time.Second).Unix()+1, 10)
			}
			w.Header().Set(headers[i], value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// shortened gives half of the answer back as if that were all.
func shortened(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	rec := record(r, pass)
	head(w, rec)
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
}

// trickle gives the answer back in small pieces.
func trickle(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	rec := record(r, pass)
	head(w, rec)
	w.WriteHeader(rec.Code)
	const pieces = 20
	for body := rec.Body.Bytes(); len(body) > 0; {
		n := min(len(body), max(1, rec.Body.Len()/pieces))
		_, _ = w.Write(body[:n])
		w.(http.Flusher).Flush()
		body = body[n:]
		time.Sleep(25 * time.Millisecond) // being slow is what is wanted
	}
}

// otherBytes gives as many bytes as the answer has, and of its type, but not those.
func otherBytes(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	rec := record(r, pass)
	head(w, rec)
	w.WriteHeader(rec.Code)
	_, _ = fmt.Fprintf(w, "%*s", rec.Body.Len(), "something else")
}
