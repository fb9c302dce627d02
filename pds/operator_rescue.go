package pds

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"perch/xrpc"
)

// Paths by which the command line makes an account of an archive on the running server.
const (
	RescueUploadPath = "/perch/import/archive" // POST of the archive, application/zip; the answer is a RescueUpload
	RescuePath       = "/perch/import"         // POST of a RescueRequest; the answer is lines of RescueLine
	RescueDIDPath    = "/perch/import/did"     // POST of a RescueDIDRequest; the answer is a RescueDIDAnswer
)

const (
	rescueStep  = 8 << 20 // bytes received between two looks at the disk
	rescueTells = 200 * time.Millisecond
)

// RescueUpload is the name by which an archive can be asked for that was uploaded.
type RescueUpload struct {
	File string `json:"file"`
}

// RescueLine is one line of the answer to a RescueRequest: how far it is, or, the last one, the result or an error.
type RescueLine struct {
	What    string   `json:"what,omitempty"`
	Done    int      `json:"done,omitempty"`
	Total   int      `json:"total,omitempty"`
	Result  *Rescued `json:"result,omitempty"`
	Error   string   `json:"error,omitempty"`
	Message string   `json:"message,omitempty"`
}

func (s *Server) operatorRescueUpload(w http.ResponseWriter, r *http.Request) {
	ctx, err := s.auth.Admin()(r.Context(), r)
	if err == nil && r.Header.Get("Content-Type") != "application/zip" {
		err = xrpc.InvalidRequest("Content-Type must be application/zip")
	}
	var out RescueUpload
	if err == nil {
		out.File, err = s.receiveArchive(ctx, r.Body)
	}
	if err != nil {
		s.mux.WriteError(r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(out)
}

// receiveArchive keeps an archive in the folder of imports, as long as there is room for others besides.
func (s *Server) receiveArchive(ctx context.Context, body io.Reader) (name string, err error) {
	f, err := os.CreateTemp(s.imports.dir, rescuePrefix+"*.zip")
	if err != nil {
		return "", err
	}
	name = filepath.Base(f.Name())
	for err == nil {
		if err = s.blobs.CheckSpace(); err == nil {
			_, err = io.CopyN(f, body, rescueStep)
		}
		if err == nil {
			err = ctx.Err()
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = &xrpc.Error{Status: 400, Name: xrpc.NameInvalidRequest, Message: "The body ended before all of it had come", Err: err}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, s.imports.remove(name))
	}
	return name, nil
}

func (s *Server) operatorRescue(w http.ResponseWriter, r *http.Request) {
	ctx, err := s.auth.Admin()(r.Context(), r)
	in := new(RescueRequest)
	if err == nil {
		err = operatorInput(w, r, in)
	}
	if err == nil && !rescueName(in.File) {
		err = xrpc.InvalidRequest("file is not the name of an upload")
	}
	if err != nil {
		s.mux.WriteError(r, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	lines := &rescueLines{out: json.NewEncoder(w), flush: http.NewResponseController(w).Flush}
	var out *Rescued
	err = s.audit(ctx, in.deed(), func(ctx context.Context) (err error) {
		out, err = s.rescue(ctx, in, lines.tell)
		return err
	})
	if rmErr := s.imports.remove(in.File); err == nil {
		err = rmErr
	}
	last := RescueLine{Result: out}
	if err != nil {
		last = s.rescueFault(ctx, err)
	}
	_ = lines.out.Encode(last)
}

// rescueLines tells from time to time how far something is. An answer that the client does not take any more ends the request's context.
type rescueLines struct {
	out   *json.Encoder
	flush func() error
	last  time.Time
	what  string
}

func (l *rescueLines) tell(done, total int, what string) {
	if now := time.Now(); what != l.what || now.Sub(l.last) >= rescueTells {
		l.last, l.what = now, what
		_ = l.out.Encode(RescueLine{What: what, Done: done, Total: total})
		_ = l.flush()
	}
}

// rescueFault gives a refusal the form of a line. The operator may read what is wrong.
func (s *Server) rescueFault(ctx context.Context, err error) RescueLine {
	s.log.WarnContext(ctx, "make an account of an archive", "err", err)
	var e *xrpc.Error
	switch {
	case errors.Is(err, ErrExport) && errors.Is(err, os.ErrNotExist):
		return RescueLine{Error: "UploadNotFound", Message: "There is no such upload any more"}
	case errors.Is(err, ErrExport):
		return RescueLine{Error: "InvalidArchive", Message: err.Error()}
	case errors.As(err, &e):
		return RescueLine{Error: e.Name, Message: e.Message}
	}
	if e = wireError(err); e != nil {
		return RescueLine{Error: e.Name, Message: e.Message}
	}
	return RescueLine{Error: "ImportFailed", Message: err.Error()}
}
