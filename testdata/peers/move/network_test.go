package move

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// asked are the methods that a move calls at the old host.
var asked = []string{
	"com.atproto.server.describeServer", "com.atproto.server.createSession", "com.atproto.server.getServiceAuth", "com.atproto.sync.getRepo",
	"com.atproto.sync.getBlob", "com.atproto.sync.getLatestCommit", "app.bsky.actor.getPreferences", "com.atproto.identity.requestPlcOperationSignature",
	"com.atproto.identity.getRecommendedDidCredentials", "com.atproto.identity.signPlcOperation", "com.atproto.server.deactivateAccount",
	"com.atproto.server.checkAccountStatus", "com.atproto.server.deleteSession",
}

const limited = `{"error":"RateLimitExceeded","message":"Rate Limit Exceeded"}`

// faults spoil the first request to each method that a move calls.
var faults = map[string]fault{
	"never arrives":   before(nothing),
	"answer lost":     after(nothing),
	"cut":             within(nothing),
	"shortened":       shortened,
	"trickle":         trickle,
	"other bytes":     otherBytes,
	"empty":           answer(http.StatusOK, ""),
	"HTML":            answer(http.StatusOK, "<html><h1>Welcome to our hotel</h1></html>"),
	"429 Retry-After": answer(http.StatusTooManyRequests, limited, "Retry-After", "1"),
	"500":             answer(http.StatusInternalServerError, `{"error":"InternalServerError","message":"Internal Server Error"}`),
	"502":             answer(http.StatusBadGateway, "<html>Bad Gateway</html>"),
	"404":             answer(http.StatusNotFound, "<html>Not Found</html>"),
	"redirect":        answer(http.StatusTemporaryRedirect, "", "Location", "/elsewhere"),
}

// TestBadNetwork has every request of a move go wrong once, in every way, each with a move of its own. All come to the same end.
func TestBadNetwork(t *testing.T) {
	w := newWorld(t, "perch")
	rules := map[string]func(string, string, int) fault{
		// Those take a while, so they come at one method.
		"429":                 at("com.atproto.sync.getRepo", 1, answer(http.StatusTooManyRequests, limited)),
		"429 RateLimit-Reset": at("com.atproto.sync.getBlob", 2, answer(http.StatusTooManyRequests, limited, "RateLimit-Remaining", "0", "RateLimit-Reset", "soon")),
		"a blob that keeps coming wrong": func(method, _ string, n int) fault {
			if method == "com.atproto.sync.getBlob" && n <= 3 {
				return otherBytes
			}
			return nil
		},
	}
	for name, f := range faults {
		rules[name] = func(method, _ string, n int) fault {
			if n == 1 && slices.Contains(asked, method) {
				return f
			}
			return nil
		}
	}
	var all sync.WaitGroup // they wait more than they work, so all at once
	for name, rule := range rules {
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				m := w.settle(t)
				m.door.set(rule)
				m.lead(func() { t.Fatal("the server is gone") })
				m.check()
			})
		})
	}
	all.Wait()
	w.finish()
}

// TestBadPLC has the submission to the PLC directory go wrong: the DID changes once, or not at all, and the move knows which.
func TestBadPLC(t *testing.T) {
	w := newWorld(t, "perch")
	var spoiled sync.Map // DID to what its first operation meets
	w.toPLC.set(func(method, path string, _ int) fault {
		if f, ok := spoiled.Load(strings.TrimPrefix(path, "/")); ok && method == http.MethodPost {
			spoiled.Delete(strings.TrimPrefix(path, "/"))
			return f.(fault)
		}
		return nil
	})
	var all sync.WaitGroup
	for name, f := range map[string]fault{
		"never arrives": before(nothing), "answer lost": after(nothing), "cut": within(nothing), "500": faults["500"], "502": faults["502"],
		"429": answer(http.StatusTooManyRequests, `{"message":"slow down"}`), "404": faults["404"], "refused": answer(http.StatusBadRequest, `{"message":"no"}`),
	} {
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				m := w.settle(t)
				spoiled.Store(m.did, f)
				m.lead(func() { t.Fatal("the server is gone") })
				m.check()
				if _, left := spoiled.Load(m.did); left {
					t.Error("nothing went wrong")
				}
			})
		})
	}
	all.Wait()
	w.finish()
}
