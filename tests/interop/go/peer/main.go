// A CONNECT peer by another HTTP/2 library, Go's, over plain TCP.
//
//	peer server HOST:PORT   echoes; prints the address it listens on
//	peer client HOST:PORT   opens tunnels to an echoing server, prints what it saw as JSON
//
// Authorities mean the same on both sides: "refuse.me:1" is answered 401, "cut.me:1" is reset, "bye.me:1" is echoed
// after a GOAWAY.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

const (
	echoBytes     = 8 << 20
	parallelCount = 50
	parallelBytes = 100_000
)

func main() {
	if len(os.Args) != 3 {
		fail(errors.New("usage: peer server|client HOST:PORT"))
	}
	switch os.Args[1] {
	case "server":
		fail(serve(os.Args[2]))
	case "client":
		if err := ask(os.Args[2]); err != nil {
			fail(err)
		}
	default:
		fail(errors.New("neither server nor client"))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		// Of its own, so that a GOAWAY concerns one connection.
		base := &http.Server{}
		server := &http2.Server{MaxConcurrentStreams: 100, MaxReadFrameSize: 1 << 20}
		if err := http2.ConfigureServer(base, server); err != nil {
			return err
		}
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "bye.me:1" {
				_ = base.Shutdown(context.Background())
			}
			echo(w, r)
		})
		go server.ServeConn(conn, &http2.ServeConnOpts{BaseConfig: base, Handler: handler})
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodConnect:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case r.Host == "refuse.me:1":
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Baggage", r.Header.Get("Baggage"))
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	if r.Host == "cut.me:1" {
		panic(http.ErrAbortHandler)
	}
	buffer := make([]byte, 32<<10)
	for {
		count, err := r.Body.Read(buffer)
		if count > 0 {
			if _, err := w.Write(buffer[:count]); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
		if err != nil {
			return
		}
	}
}

// What the client saw, for the test to compare.
type report struct {
	Echo     string `json:"echo"`
	Baggage  string `json:"baggage"`
	Refused  int    `json:"refused"`
	Cut      string `json:"cut"`
	Parallel int    `json:"parallel"`
	Small    string `json:"small"`
	Bye      string `json:"bye"`
	After    string `json:"after"`
	Dials    int    `json:"dials"`
}

func ask(address string) error {
	dials := 0
	transport := &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, _ string, _ *tls.Config) (net.Conn, error) {
			dials++
			return (&net.Dialer{Timeout: 30 * time.Second}).DialContext(ctx, network, address)
		},
	}
	defer transport.CloseIdleConnections()
	var seen report
	body := pattern(echoBytes)
	response, back, err := through(transport, "10.1.0.9:8080", body)
	if err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	seen.Baggage = response.Header.Get("Baggage")
	seen.Echo = verdict(body, back)

	refused, _, err := through(transport, "refuse.me:1", nil)
	if err != nil {
		return fmt.Errorf("refusal: %w", err)
	}
	seen.Refused = refused.StatusCode

	_, _, err = through(transport, "cut.me:1", nil)
	var reset http2.StreamError
	switch {
	case errors.As(err, &reset):
		seen.Cut = reset.Code.String()
	default:
		seen.Cut = fmt.Sprint(err)
	}

	var wait sync.WaitGroup
	var mutex sync.Mutex
	for range make([]struct{}, parallelCount) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			body := pattern(parallelBytes)
			if _, back, err := through(transport, "10.1.0.9:8080", body); err == nil && bytes.Equal(body, back) {
				mutex.Lock()
				seen.Parallel++
				mutex.Unlock()
			}
		}()
	}
	wait.Wait()

	small := pattern(20_000)
	if _, back, err = inPieces(transport, "10.1.0.9:8080", small, 20); err != nil {
		return fmt.Errorf("small writes: %w", err)
	}
	seen.Small = verdict(small, back)
	// The server says GOAWAY while this one runs; the next request goes over another connection.
	if _, back, err = through(transport, "bye.me:1", body[:100_000]); err != nil {
		return fmt.Errorf("goaway: %w", err)
	}
	seen.Bye = verdict(body[:100_000], back)
	if _, back, err = through(transport, "bye.me:1", body[:1_000]); err != nil {
		return fmt.Errorf("after goaway: %w", err)
	}
	seen.After = verdict(body[:1_000], back)
	seen.Dials = dials
	return json.NewEncoder(os.Stdout).Encode(seen)
}

func through(transport *http2.Transport, authority string, body []byte) (*http.Response, []byte, error) {
	return inPieces(transport, authority, body, len(body)+1)
}

func inPieces(transport *http2.Transport, authority string, body []byte, size int) (*http.Response, []byte, error) {
	reader, writer := io.Pipe()
	request := &http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{Scheme: "http", Host: authority},
		Host:   authority,
		Header: http.Header{"Baggage": {"a=b"}},
		Body:   reader,
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	// A tunnel that the server is to cut stays open, so that nothing but the reset ends it.
	if authority != "cut.me:1" {
		go func() {
			for at := 0; at < len(body); at += size {
				end := at + size
				if end > len(body) {
					end = len(body)
				}
				_, _ = writer.Write(body[at:end])
			}
			_ = writer.Close()
		}()
	}
	back, err := io.ReadAll(response.Body)
	return response, back, err
}

func pattern(count int) []byte {
	body := make([]byte, count)
	for at := range body {
		body[at] = byte(at*31 + at>>8)
	}
	return body
}

func verdict(sent, back []byte) string {
	if sha256.Sum256(sent) == sha256.Sum256(back) {
		return fmt.Sprintf("%d bytes alike", len(back))
	}
	return fmt.Sprintf("%d bytes, other than the %d sent", len(back), len(sent))
}
