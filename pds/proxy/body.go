package proxy

import (
	"bufio"
	"fmt"
	"io"
)

// watchedReader reads a service's answer and keeps the clock from running out
// while it moves.
type watchedReader struct {
	r io.Reader
	x *exchange
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.x.idle.Reset(w.x.during)
	}
	return n, err
}

// requestBody bounds the client's body and tells its errors from the service's.
type requestBody struct {
	r    io.Reader
	left int64
	x    *exchange
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, errTooLarge
	}
	if n > 0 {
		b.x.idle.Reset(b.x.before)
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", errReadBody, err)
	}
	return n, err
}

// heldBody keeps the last byte of a body back until again has said that its sender
// still may. A service does nothing before it has the whole of a request, so it
// does nothing for somebody who was shut out while the body came, however slowly.
type heldBody struct {
	r     *bufio.Reader
	again func() error
	asked bool
}

func newHeldBody(r io.Reader, again func() error) *heldBody {
	return &heldBody{r: bufio.NewReaderSize(r, headStart), again: again}
}

func (h *heldBody) Read(p []byte) (int, error) {
	_, err := h.r.Peek(2)
	switch {
	case err == nil:
		return h.r.Read(p[:min(len(p), h.r.Buffered()-1)])
	case err != io.EOF:
		return 0, err
	case !h.asked:
		if err := h.again(); err != nil {
			return 0, refusal{err}
		}
		h.asked = true
	}
	return h.r.Read(p)
}

// refusal is the error of a Call's Again.
type refusal struct{ error }
