package internet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Front ends TLS for all names of the small internet and hands requests on by host. It also counts what tests wait for.
type Front struct {
	Crawls    atomic.Int64 // requestCrawl calls from the server itself that the relay took
	routes    map[string]*httputil.ReverseProxy
	followers sync.Map // host name to *atomic.Int64: websockets ever opened to its firehose
}

// StartFront listens on the public address; routes are host name -> local port. It writes the CA's certificate to caFile.
func StartFront(t *testing.T, routes map[string]int, caFile string) *Front {
	t.Helper()
	f := &Front{routes: map[string]*httputil.ReverseProxy{}}
	var names []string
	for name, port := range routes {
		f.routes[name] = f.proxy(port)
		names = append(names, name, "*."+name)
	}
	listener, err := net.Listen("tcp", Address+":443")
	if err != nil {
		t.Fatal(err)
	}
	certificate := makeCertificate(t, names, caFile)
	server := &http.Server{
		Handler:   f,
		ErrorLog:  log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
	}
	go server.ServeTLS(listener, "", "")
	t.Cleanup(func() { server.Close() })
	return f
}

func (f *Front) proxy(port int) *httputil.ReverseProxy {
	target := &url.URL{Scheme: "http", Host: "127.0.0.1:" + strconv.Itoa(port)}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		ModifyResponse: f.count,
		FlushInterval:  -1,
		ErrorLog:       log.New(io.Discard, "", 0),
	}
}

func (f *Front) count(res *http.Response) error {
	path := res.Request.URL.Path
	switch {
	case strings.HasSuffix(path, "sync.requestCrawl") && res.StatusCode == http.StatusOK:
		f.Crawls.Add(1)
	case strings.HasSuffix(path, "sync.subscribeRepos") && res.StatusCode == http.StatusSwitchingProtocols:
		n, _ := f.followers.LoadOrStore(res.Request.Host, &atomic.Int64{})
		n.(*atomic.Int64).Add(1)
	}
	return nil
}

// FollowersOf is how many have ever followed the firehose of a host.
func (f *Front) FollowersOf(name string) int64 {
	n, ok := f.followers.Load(name)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

// ServeHTTP implements http.Handler.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, proxy := range f.routes {
		if r.Host == name || strings.HasSuffix(r.Host, "."+name) {
			proxy.ServeHTTP(w, r)
			return
		}
	}
	http.NotFound(w, r)
}

// Trust is the environment by which programs trust the front whose CA is in caFile.
func Trust(caFile string) []string {
	return []string{"SSL_CERT_FILE=" + caFile, "SSL_CERT_DIR=/nonexistent", "NODE_EXTRA_CA_CERTS=" + caFile}
}

// makeCertificate makes a CA and a certificate for the names.
func makeCertificate(t *testing.T, names []string, caFile string) tls.Certificate {
	t.Helper()
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	sign := func(tmpl, parent *x509.Certificate, key *ecdsa.PrivateKey, by *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	from, to := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	caKey, leafKey := newKey(), newKey()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER := sign(ca, ca, caKey, caKey)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, NotBefore: from, NotAfter: to, DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leafDER := sign(leaf, ca, leafKey, caKey)
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	if err := os.WriteFile(caFile, block, 0o644); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{leafDER, caDER}, PrivateKey: leafKey}
}
