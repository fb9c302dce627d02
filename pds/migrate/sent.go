package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrUnsure: nobody can know just now whether the DID has changed, because the PLC directory does not answer.
var ErrUnsure = errors.New("the PLC directory does not answer, so nobody can know whether it has changed the DID")

// lateTime is how long after a request was given up the directory may still act on it.
const lateTime = time.Minute

// taken tells whether the directory has the operation that the move has sent, or may have sent, as the DID's last one.
func (m *Manager) taken(ctx context.Context, mv *move) (bool, error) {
	last, err := m.opts.Here.LastOperation(ctx, mv.DID)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrUnsure, err)
	}
	ours, oursErr := mv.Operation.CID()
	now, nowErr := last.CID()
	return ours == now, errors.Join(oursErr, nowErr)
}

// takeBack begins to give up a move to another server whose operation was sent and not taken, as far as the directory says. The account stays held until that is certain.
func (m *Manager) takeBack(ctx context.Context, mv *move) error {
	taken, err := m.taken(ctx, mv)
	if err != nil {
		return err
	}
	if taken {
		return ErrChanged
	}
	mv.State, mv.Error, mv.SentAt = StateAbandoning, "", time.Now().UTC()
	return nil
}

// settleSent looks once more, when no answer can be on its way any more, whether the directory has taken the operation of a move that is being given up. If so, the
// move goes on.
func (m *Manager) settleSent(ctx context.Context, mv *move) (moved bool, err error) {
	if mv.Operation == nil {
		return false, nil
	}
	if err := sleep(ctx, min(time.Until(mv.SentAt.Add(m.opts.Late)), m.opts.Late)); err != nil {
		return false, err
	}
	taken, err := m.taken(ctx, mv)
	if err != nil {
		return false, err
	}
	mv.Operation = nil
	if taken {
		mv.State = StateMoved
		return true, nil
	}
	mv.Holding = false
	return false, m.save(ctx, mv) // or the account could not be made active
}
