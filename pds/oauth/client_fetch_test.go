package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// hostsOfClients serves a good document for every client_id, whatever its host, with more in it.
func hostsOfClients(t *testing.T, more string, before func(r *http.Request)) *clients {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before(r)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"client_id":"https://%s%s","redirect_uris":["https://%s/cb"],"scope":"atproto","token_endpoint_auth_method":"none","dpop_bound_access_tokens":true,%s"x":1}`,
			r.Host, r.URL.Path, r.Host, more)
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, server.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return newClients(&http.Client{Transport: transport}, nil, time.Now)
}

// TestSlowHostsHoldUpNobody: a host that does not answer has a few places, and who asks for more of its clients is told at once.
func TestSlowHostsHoldUpNobody(t *testing.T) {
	ctx := t.Context()
	release, asked := make(chan struct{}), make(chan struct{}, 1000)
	c := hostsOfClients(t, "", func(r *http.Request) {
		if strings.HasPrefix(r.Host, "slow") {
			asked <- struct{}{}
			<-release
		}
	})
	var wg sync.WaitGroup
	for i := range maxHostFetch {
		wg.Go(func() {
			if _, err := c.get(ctx, fmt.Sprintf("https://slow.example.com/%d.json", i)); err != nil {
				t.Errorf("slow, but good: %v", err)
			}
		})
		<-asked
	}
	for i := range maxClientFetch {
		if _, err := c.get(ctx, fmt.Sprintf("https://slow.example.com/more-%d.json", i)); !errors.Is(err, &Error{Code: Unavailable}) {
			t.Fatalf("one too many: %v", err)
		}
	}
	if _, err := c.get(ctx, "https://app.example.com/c.json"); err != nil {
		t.Errorf("another host: %v", err)
	}
	close(release)
	wg.Wait()
	if _, err := c.get(ctx, "https://slow.example.com/more-0.json"); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
	if len(c.busy) != 0 {
		t.Errorf("places are still taken: %v", c.busy)
	}
}

// TestClientsInMemoryAreBounded: strangers can have any number of large documents fetched.
func TestClientsInMemoryAreBounded(t *testing.T) {
	c := hostsOfClients(t, `"client_name":"`+strings.Repeat("x", maxClientBody-1000)+`",`, func(*http.Request) {})
	for i := range maxClientBytes/maxClientBody + 20 {
		if _, err := c.get(t.Context(), fmt.Sprintf("https://app.example.com/%d.json", i)); err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for _, k := range c.known {
		total += len(k.client.meta.ClientName)
	}
	if total > maxClientBytes || c.bytes > maxClientBytes || c.bytes < total || len(c.known) < 100 {
		t.Errorf("%d clients, %d bytes, counted as %d", len(c.known), total, c.bytes)
	}
}

// TestGrantsInMemoryAreBounded: what large permission sets give is understood again and again before it fills the memory.
func TestGrantsInMemoryAreBounded(t *testing.T) {
	var c grantCache
	for i := range 3 * maxGrantBytes / maxExpanded {
		scopes := fmt.Sprintf("atproto x:%d ", i) + strings.Repeat("y", maxExpanded-20)
		if g := c.get(scopes); !g.Valid() || c.get(scopes) == nil {
			t.Fatal("no grant")
		}
	}
	total := 0
	for scopes := range c.grants {
		total += len(scopes)
	}
	if total > maxGrantBytes || total != c.bytes || len(c.grants) == 0 {
		t.Errorf("%d grants, %d bytes, counted as %d", len(c.grants), total, c.bytes)
	}
}
