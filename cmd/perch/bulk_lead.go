package main

import (
	"context"
	"errors"
	"time"

	"perch/pds"
)

// What a row can wait for, beside what a move itself says it needs.
const (
	waitsPassword = "password" // of the old server
	waitsRetry    = "retry"    // the server tries by itself, but not soon
)

const (
	busyPause   = 15 * time.Second // while the old server takes no sign-ins
	faultPause  = 5 * time.Second
	faultTries  = 5           // of what fails outside of the move's own attempts
	notSoon     = time.Minute // of an attempt: too long to wait for
	refusedText = "it was refused: "
)

// lead brings a row to its end, or to where it waits for somebody.
func (b *bulk) lead(ctx context.Context, r *bulkRow) error {
	tried := map[string]bool{}
	for faults := 0; ; {
		pause, err := b.leadOnce(ctx, r, tried)
		refused := (*serverError)(nil)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errAtRest):
			return nil
		case errors.As(err, &refused) && refused.Name == "OldHostBusy":
			pause = busyPause
		case errors.As(err, &refused) && refused.Status < 500 && refused.Status != 429:
			b.note(func() { r.err = printable(refused.Name + ": " + refused.Message) })
			return nil
		case err != nil && refused != nil && refused.Name == "MigrationFailed":
			if faults++; faults >= faultTries {
				b.note(func() { r.err = printable(refused.Message) })
				return nil
			}
			pause = faultPause
		case err != nil:
			pause = faultPause // the server is starting again
		}
		b.note(func() { r.err = "" })
		if err != nil {
			b.note(func() { r.err = printable(err.Error()) })
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// errAtRest says that nothing more can be done for a row in this run.
var errAtRest = errors.New("at rest")

// rest notes what a row waits for.
func (b *bulk) rest(r *bulkRow, waits, why string) error {
	b.note(func() { r.waits, r.err = waits, printable(why) })
	return errAtRest
}

// leadOnce looks how a row stands and does what can be done. tried holds what was answered already.
func (b *bulk) leadOnce(ctx context.Context, r *bulkRow, tried map[string]bool) (pause time.Duration, err error) {
	st, err := b.send(ctx, r, pds.MigrateRequest{Action: pds.MigrateShow})
	if err != nil {
		return 0, err
	}
	switch {
	case toBegin(st):
		return 0, b.signIn(ctx, r, b.begin(r, pds.MigrateBegin), tried)
	case st.Out:
		b.note(func() { r.err = "is moving away from here" })
		return 0, errAtRest
	case st.Report != nil:
		b.note(func() { r.done = true })
		return 0, errAtRest
	case st.Needs == pds.MigrationNeedsAccount:
		in := b.begin(r, pds.MigrateBegin)
		in.Password = ""
		_, err := b.send(ctx, r, in)
		return 0, err
	case st.Needs == pds.MigrationNeedsSignIn, st.Needs == pds.MigrationNeedsFarewell:
		return 0, b.signIn(ctx, r, pds.MigrateRequest{Action: pds.MigrateSignIn, Password: r.Password, Code: r.Factor}, tried)
	case b.key != "" && !st.Changed && st.Needs != pds.MigrationNeedsKey && !tried["announced"]:
		tried["announced"] = true
		_, err := b.send(ctx, r, pds.MigrateRequest{Action: pds.MigrateBegin, RotationKey: b.key})
		return 0, err
	case st.Needs == pds.MigrationNeedsKey, st.Needs == pds.MigrationNeedsCode:
		return 0, b.confirm(ctx, r, st, tried)
	case st.Needs != "":
		return 0, b.rest(r, st.Needs, st.Error)
	case time.Until(st.RetryAt) > notSoon:
		return 0, b.rest(r, waitsRetry, st.Error)
	}
	return b.every, nil
}

func (b *bulk) signIn(ctx context.Context, r *bulkRow, in pds.MigrateRequest, tried map[string]bool) error {
	switch {
	case r.Password == "":
		return b.rest(r, waitsPassword, "")
	case tried[in.Action]:
		return b.rest(r, pds.MigrationNeedsSignIn, r.st.Error)
	}
	st, err := b.send(ctx, r, in)
	if err != nil {
		return err
	}
	if st.Needs == pds.MigrationNeedsFactor {
		return b.rest(r, pds.MigrationNeedsFactor, "")
	}
	tried[in.Action] = true
	return nil
}

// confirm has the change of the DID signed, by the key or by the code of the list.
func (b *bulk) confirm(ctx context.Context, r *bulkRow, st *pds.Migration, tried map[string]bool) error {
	in := pds.MigrateRequest{Action: pds.MigrateCode, Code: r.Code, RotationKey: b.key}
	if st.Needs == pds.MigrationNeedsCode && b.key == "" && r.Code == "" || st.Needs == pds.MigrationNeedsKey && b.key == "" || tried[in.Action] {
		return b.rest(r, st.Needs, st.Error)
	}
	tried[in.Action] = true
	_, err := b.send(ctx, r, in)
	if refused := (*serverError)(nil); errors.As(err, &refused) && refused.Status < 500 {
		return b.rest(r, st.Needs, refusedText+refused.Message)
	}
	return err
}
