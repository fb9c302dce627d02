package migrate

import (
	"context"
	"errors"
	"fmt"

	"perch/pds/store"
)

// step is what a state asks for. It puts mv into the next state. What it has done before it fails is done again the next time.
type step func(m *Manager, ctx context.Context, mv *move, h *host, r *runner) error

// The steps of a move to here, and of one to another server. What they mean stands in the package's comment. A state without a step waits for the move's owner, or is
// its end.
var (
	stepsIn = map[State]step{
		StateRepo:        (*Manager).fetchRepo,
		StateBlobs:       (*Manager).fetchBlobs,
		StatePreferences: preferences((*Manager).fetchPreferences),
		StateVerify:      (*Manager).verify,
		StateDocument:    (*Manager).awaitDocument,
		StateSigned:      (*Manager).lastLook,
		StateSubmit:      (*Manager).submit,
		StateMoved:       (*Manager).activate,
		StateActive:      (*Manager).leave,
		StateLeft:        (*Manager).finish,
		StateAbandoning:  (*Manager).abandon,
	}
	stepsOut = map[State]step{
		StateRepo:        (*Manager).pushRepo,
		StateBlobs:       (*Manager).pushBlobs,
		StatePreferences: preferences((*Manager).pushPreferences),
		StateVerify:      (*Manager).verifyThere,
		StateSigned:      (*Manager).hold,
		StateHeld:        (*Manager).lastLookThere,
		StateDocument:    (*Manager).awaitDocument,
		StateSubmit:      (*Manager).submit,
		StateReopen:      (*Manager).reopen,
		StateMoved:       (*Manager).activateThere,
		StateActive:      (*Manager).farewell,
		StateLeft:        (*Manager).finish,
		StateAbandoning:  (*Manager).abandonThere,
	}
)

// step does the step of the state that the move is in.
func (m *Manager) step(ctx context.Context, mv *move, r *runner) error {
	h, steps := m.host(mv), stepsIn
	if mv.Out {
		steps = stepsOut
	}
	if ended, err := m.endDeleted(ctx, mv, h); ended {
		return err
	}
	do := steps[mv.State]
	if do == nil {
		return fmt.Errorf("a move has no step for the state %q", mv.State)
	}
	return do(m, ctx, mv, h, r)
}

// endDeleted ends a move whose account here was deleted meanwhile, as long as it can be given up, or would make that account active.
func (m *Manager) endDeleted(ctx context.Context, mv *move, h *host) (ended bool, err error) {
	switch {
	case mv.State == StateAbandoning, mv.State == StateActive, mv.State == StateLeft, mv.Out && mv.State.Changed():
		return false, nil
	}
	if _, err := m.opts.Here.Facts(ctx, mv.Account); !errors.Is(err, store.ErrNotFound) {
		return false, nil // the step meets another error by itself
	}
	if mv.Out {
		mv.State = StateAbandoning
		return true, nil
	}
	m.endSession(ctx, h)
	return true, errGone
}

// preferences is the step that carries them over.
func preferences(carry func(m *Manager, ctx context.Context, mv *move, h *host) error) step {
	return func(m *Manager, ctx context.Context, mv *move, h *host, _ *runner) error {
		err := carry(m, ctx, mv, h)
		if err == nil {
			mv.State = StateVerify
		}
		return err
	}
}
