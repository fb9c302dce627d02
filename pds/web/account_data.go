package web

import (
	"net/http"
	"strings"

	"perch/pds/store"
)

// showData tells how much is stored, and offers it.
func (s *Site) showData(r *request) error {
	stored, err := s.opts.Host.Storage(r.Context(), r.current().Account)
	if err != nil {
		return err
	}
	return r.render("data", stored)
}

// download sends a file with what is stored of the account.
func (s *Site) download(kind DownloadKind) handler {
	return func(r *request) error {
		acct := r.current().Account
		d, err := s.opts.Host.Download(r.Context(), acct, kind)
		if err != nil {
			return err
		}
		defer d.Close()
		h := r.w.Header()
		h.Set("Content-Type", d.Type)
		h.Set("Content-Disposition", `attachment; filename="`+downloadName(acct)+"-"+s.opts.Now().UTC().Format("2006-01-02")+"."+string(kind)+`"`)
		if r.Method == http.MethodHead {
			return nil
		}
		s.log.InfoContext(r.Context(), "account downloaded by its owner", "did", acct.DID, "kind", kind)
		if err := d.Write(r.w); err != nil {
			if r.Context().Err() == nil {
				s.log.WarnContext(r.Context(), "download an account", "did", acct.DID, "err", err)
			}
			panic(http.ErrAbortHandler) // what was sent must not look whole
		}
		return nil
	}
}

func downloadName(acct *store.Account) string {
	if acct.Handle != "" {
		return string(acct.Handle)
	}
	return strings.ReplaceAll(string(acct.DID), ":", "-")
}
