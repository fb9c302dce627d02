package migrate

import (
	"errors"
	"time"

	"perch/identity/plc"
	"perch/pds/store"
)

// What kind of trouble a move has, for who is not to be shown more of it.
const (
	TroubleSilent    = "silent"    // the other host does not answer, or not as it should
	TroubleBusy      = "busy"      // it asks for patience
	TroubleRefused   = "refused"   // it says no
	TroubleDirectory = "directory" // the PLC directory does not answer, or says no
	TroubleDown      = "down"      // the account was taken down here
	TroubleHere      = "here"      // the disk of this server
	TroubleLarge     = "large"     // the repository is larger than this server takes
)

// errDirectory says that it is the PLC directory which does not answer.
var errDirectory = errors.New("the PLC directory")

func trouble(state State, err error) string {
	var refused *HostError
	switch {
	case errors.Is(err, errDown):
		return TroubleDown
	case errors.Is(err, ErrRepoTooLarge):
		return TroubleLarge
	case errors.Is(err, store.ErrDiskFull):
		return TroubleHere
	case errors.Is(err, ErrBusy), errors.As(err, &refused) && refused.Status == 429:
		return TroubleBusy
	case errors.As(err, &refused) && refused.final():
		return TroubleRefused
	case state == StateSubmit, errors.Is(err, errDirectory), errors.Is(err, ErrUnsure), errors.Is(err, plc.ErrInvalidOperation), errors.Is(err, plc.ErrMisordered):
		return TroubleDirectory
	}
	return TroubleSilent
}

// mark is what the pace of a move is measured from.
type mark struct {
	at    time.Time
	blobs int64
}

// left is how many seconds the blobs will take that are not at the new host yet, at the pace since it was first asked for.
func (m *Manager) left(r *runner, st *Status) int64 {
	if r == nil || st.State != StateBlobs {
		return 0
	}
	now := st.BlobsHere
	if st.Out {
		now = st.BlobsThere
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.from.at.IsZero() || now < r.from.blobs {
		r.from = mark{time.Now(), now}
	}
	done, todo := now-r.from.blobs, st.Blobs-now
	if done <= 0 || todo <= 0 {
		return 0
	}
	return int64((time.Since(r.from.at)/time.Duration(done)*time.Duration(todo) + time.Second - 1) / time.Second)
}
