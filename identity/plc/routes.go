package plc

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

const (
	maxPostBody = 64 << 10
	// maxExport is the largest and the default count of /export.
	maxExport = 1000
)

func (d *Directory) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_health", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, "application/json", map[string]string{"version": "perch"})
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "This is a did:plc directory for development. Nothing in it is known to the public network.\n")
	})
	mux.HandleFunc("GET /export", d.export)
	mux.HandleFunc("POST /{did}", d.post)
	mux.HandleFunc("GET /{did}", d.withLog(d.getDocument))
	mux.HandleFunc("GET /{did}/data", d.withLog(d.getData))
	mux.HandleFunc("GET /{did}/log", d.withLog(d.getLog))
	mux.HandleFunc("GET /{did}/log/last", d.withLog(d.getLast))
	mux.HandleFunc("GET /{did}/log/audit", d.withLog(func(w http.ResponseWriter, _ syntax.DID, log []LogEntry) {
		writeJSON(w, "application/json", log)
	}))
	return mux
}

// withLog answers 400 for what is no did:plc and 404 for one that is unknown.
func (d *Directory) withLog(h func(http.ResponseWriter, syntax.DID, []LogEntry)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		did := syntax.DID(r.PathValue("did"))
		if err := CheckDID(did); err != nil {
			writeError(w, http.StatusBadRequest, err.Error())
			return
		}
		log, err := d.Audit(did)
		if err != nil {
			writeError(w, http.StatusNotFound, "DID not registered: "+did.String())
			return
		}
		h(w, did, log)
	}
}

func (d *Directory) getDocument(w http.ResponseWriter, did syntax.DID, log []LogEntry) {
	last, _ := Last(log)
	doc, err := Document(did, last.Operation)
	if err != nil {
		writeError(w, http.StatusGone, "DID not available: "+did.String())
		return
	}
	writeJSON(w, "application/did+ld+json", json.RawMessage(doc))
}

func (d *Directory) getData(w http.ResponseWriter, did syntax.DID, log []LogEntry) {
	last, _ := Last(log)
	if last.Operation.Type == TypeTombstone {
		writeError(w, http.StatusGone, "DID not available: "+did.String())
		return
	}
	writeJSON(w, "application/json", dataOf(did, last.Operation))
}

func (d *Directory) getLog(w http.ResponseWriter, _ syntax.DID, log []LogEntry) {
	ops := []Operation{}
	for _, e := range log {
		if !e.Nullified {
			ops = append(ops, e.Operation)
		}
	}
	writeJSON(w, "application/json", ops)
}

func (d *Directory) getLast(w http.ResponseWriter, _ syntax.DID, log []LogEntry) {
	last, _ := Last(log)
	writeJSON(w, "application/json", last.Operation)
}

func (d *Directory) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPostBody))
	if err != nil {
		status := http.StatusBadRequest
		if errors.As(err, new(*http.MaxBytesError)) {
			status = http.StatusRequestEntityTooLarge
		}
		writeError(w, status, err.Error())
		return
	}
	var op Operation
	if err := json.Unmarshal(body, &op); err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	did := syntax.DID(r.PathValue("did"))
	if err := d.Submit(did, op); err != nil {
		d.opts.Logger.Info("PLC operation refused", "did", did, "err", err)
		writeError(w, statusOf(err), err.Error())
		return
	}
	io.WriteString(w, "OK")
}

// sequenced is a line of /export when it is paged by number.
type sequenced struct {
	Type      string     `json:"type"`
	Seq       int        `json:"seq"`
	DID       syntax.DID `json:"did"`
	Operation Operation  `json:"operation"`
	CID       string     `json:"cid"`
	Nullified bool       `json:"nullified"`
	CreatedAt string     `json:"createdAt"`
}

// export answers operations of all DIDs as JSON lines, oldest first: those after
// a time, or, with an integer, those after a sequence number.
func (d *Directory) export(w http.ResponseWriter, r *http.Request) {
	count := maxExport
	if s := r.FormValue("count"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxExport {
			writeError(w, http.StatusBadRequest, "count must be from 1 to "+strconv.Itoa(maxExport))
			return
		}
		count = n
	}
	after := r.FormValue("after")
	seq, numErr := strconv.Atoi(after)
	since, timeErr := time.Parse(time.RFC3339, after)
	if after != "" && numErr != nil && timeErr != nil {
		writeError(w, http.StatusBadRequest, "after must be a sequence number or a time")
		return
	}
	w.Header().Set("Content-Type", "application/jsonlines")
	enc := json.NewEncoder(w)
	for _, e := range d.exported(max(seq, 0), since, count) {
		var line any = e.LogEntry
		if numErr == nil {
			line = sequenced{"sequenced_op", e.seq, e.DID, e.Operation, e.CID.String(), e.Nullified, e.CreatedAt.UTC().Format(timeLayout)}
		}
		if enc.Encode(line) != nil {
			return // the reader went away
		}
	}
}

type numbered struct {
	LogEntry
	seq int // 1 is the first operation of the directory
}

func (d *Directory) exported(after int, since time.Time, count int) []numbered {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out []numbered
	for i := after; i < len(d.all) && len(out) < count; i++ {
		e := d.dids[d.all[i].did].log[d.all[i].index]
		if e.CreatedAt.After(since) {
			out = append(out, numbered{e, i + 1})
		}
	}
	return out
}

func writeJSON(w http.ResponseWriter, contentType string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		writeError(w, http.StatusInternalServerError, "internal error")
		return
	}
	w.Header().Set("Content-Type", contentType+"; charset=utf-8")
	w.Write(b)
}

func writeError(w http.ResponseWriter, status int, message string) {
	b, _ := json.Marshal(map[string]string{"message": message})
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b)
}
