package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/blob"
	"perch/pds/store"
)

// The rhythm of work in the background.
const (
	jobInterval   = 5 * time.Second
	jobBatch      = 100
	jobRetryMin   = 30 * time.Second
	jobRetryMax   = 6 * time.Hour
	sweepInterval = time.Hour
	sweepBatch    = 500
	orphanSweep   = 24 * time.Hour
	orphanFirst   = 10 * time.Minute // after the start, for servers that are restarted every day
	// uploadLifetime is how long an upload waits for a record that refers to it.
	uploadLifetime = 24 * time.Hour
)

// A lane is kinds of jobs that are done one after the other. A mail server that does not answer holds up no deletion, and a large deletion no mail.
type lane struct {
	kinds []string
	do    map[string]func(ctx context.Context, payload string) error // by kind
	wake  chan struct{}                                              // 1 deep: there is something to do before the next tick
}

// newLanes is the one table of all kinds of jobs: what does them, and beside which others.
func (s *Server) newLanes() []lane {
	var lanes []lane
	for _, do := range []map[string]func(context.Context, string) error{
		{store.JobDeleteBlob: s.deleteBlobBytes},
		{jobDeleteAccount: s.deleteAccountData},
		{store.JobMail: s.deliver, jobPasswordReset: s.mailPasswordReset},
		{jobFinishImport: s.finishImport, jobFinishHandle: s.finishHandle, jobGiveUpDID: s.giveUpDID},
	} {
		lanes = append(lanes, lane{slices.Sorted(maps.Keys(do)), do, make(chan struct{}, 1)})
	}
	return lanes
}

// wake has jobs of the kind looked at now.
func (s *Server) wake(kind string) {
	for _, l := range s.lanes {
		if slices.Contains(l.kinds, kind) {
			select {
			case l.wake <- struct{}{}:
			default:
			}
		}
	}
}

// work does the jobs that must survive a restart, and sweeps up what nobody came back for, until ctx ends.
func (s *Server) work(ctx context.Context) {
	var wg sync.WaitGroup
	for _, l := range s.lanes {
		wg.Go(func() { s.workLane(ctx, l) })
	}
	wg.Go(func() { s.workSweeps(ctx) })
	wg.Go(func() { s.measure(ctx) })
	wg.Go(func() { s.migrations.Run(ctx) })
	wg.Go(func() { s.watchPLC(ctx) })
	wg.Wait()
}

func (s *Server) workLane(ctx context.Context, l lane) {
	tick := time.NewTicker(jobInterval)
	defer tick.Stop()
	for {
		s.runJobs(ctx, l.kinds...)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.wake:
		}
	}
}

func (s *Server) workSweeps(ctx context.Context) {
	sweeps, orphans := time.NewTicker(sweepInterval), time.NewTimer(orphanFirst)
	defer sweeps.Stop()
	defer orphans.Stop()
	s.sweep(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-sweeps.C:
			s.sweep(ctx)
		case <-orphans.C:
			s.sweepOrphans(ctx)
			orphans.Reset(orphanSweep)
		}
	}
}

// runJobs does the jobs of the kinds that are due.
func (s *Server) runJobs(ctx context.Context, kinds ...string) {
	for ctx.Err() == nil {
		due, err := s.store.DueJobs(ctx, time.Now(), jobBatch, kinds...)
		if err != nil {
			s.log.ErrorContext(ctx, "list jobs", "err", err)
			return
		}
		for _, j := range due {
			s.runJob(ctx, j)
		}
		if len(due) < jobBatch {
			return
		}
	}
}

func (s *Server) runJob(ctx context.Context, j store.Job) {
	err := s.doJob(ctx, j)
	if err == nil {
		err = s.store.FinishJob(ctx, j.ID)
	} else {
		s.log.WarnContext(ctx, "job", "kind", j.Kind, "id", j.ID, "attempts", j.Attempts+1, "err", err)
		wait := min(jobRetryMin<<min(j.Attempts, 16), jobRetryMax)
		if j.Kind == store.JobMail {
			wait = min(wait, mailRetryMax)
		}
		err = s.store.RetryJob(ctx, j.ID, time.Now().Add(wait), err)
	}
	if err != nil && ctx.Err() == nil {
		s.log.ErrorContext(ctx, "note the end of a job", "kind", j.Kind, "id", j.ID, "err", err)
	}
}

func (s *Server) doJob(ctx context.Context, j store.Job) error {
	for _, l := range s.lanes {
		if do := l.do[j.Kind]; do != nil {
			return do(ctx, j.Payload)
		}
	}
	return fmt.Errorf("no such kind of job: %s", j.Kind)
}

// deleteBlobBytes removes the file of a blob whose row is gone, unless it was uploaded again meanwhile.
func (s *Server) deleteBlobBytes(ctx context.Context, payload string) error {
	var job store.BlobJob
	if err := json.Unmarshal([]byte(payload), &job); err != nil {
		return err
	}
	c, err := cid.Decode(job.CID)
	if err != nil {
		return err
	}
	_, err = s.withoutBlobRow(ctx, job.DID, c, func() error { return s.blobs.Delete(job.DID, c) })
	return err
}

func (s *Server) sweep(ctx context.Context) {
	before := time.Now().Add(-uploadLifetime)
	for ctx.Err() == nil {
		n, err := s.store.SweepBlobs(ctx, before, sweepBatch)
		if err != nil {
			s.log.ErrorContext(ctx, "sweep uploads", "err", err)
		}
		if err != nil || n < sweepBatch {
			break
		}
	}
	if err := s.blobs.RemoveTemp(before); err != nil {
		s.log.ErrorContext(ctx, "sweep unfinished uploads", "err", err)
	}
	for what, sweep := range map[string]func(context.Context) error{
		"sessions": s.accounts.SweepSessions, "apps": s.oauth.Sweep, "browsers": s.accounts.SweepDevices, "codes": s.accounts.SweepCodes, "challenges": s.accounts.SweepPasskeyChallenges,
		"mails": s.sweepMails, "accounts": s.deleteExpired, "imports": s.sweepImports, "alerts": s.sweepAlerts,
	} {
		if err := sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "sweep "+what, "err", err)
		}
	}
}

// sweepOrphans removes files that no row names: what a crash between the bytes of an upload and its row left behind.
func (s *Server) sweepOrphans(ctx context.Context) {
	known := func(did syntax.DID, c cid.Cid) (bool, error) {
		gone, err := s.withoutBlobRow(ctx, did, c, func() error { return nil })
		return !gone, err
	}
	err := s.blobs.Orphans(ctx, known, func(e blob.Entry) error {
		if e.Strange {
			return nil // not ours to delete; `perch check` tells of it
		}
		_, err := s.withoutBlobRow(ctx, e.DID, e.CID, func() error { return s.blobs.Delete(e.DID, e.CID) })
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.log.ErrorContext(ctx, "sweep blobs without a row", "err", err)
	}
}

// withoutBlobRow runs fn if the account has no row for the blob, while nobody can upload it, and tells whether it did. The files of accounts
// that are not in the database at all are let be: they may belong to a backup that is still to come back.
func (s *Server) withoutBlobRow(ctx context.Context, did syntax.DID, c cid.Cid, fn func() error) (bool, error) {
	acct, err := s.store.AccountByDID(ctx, did)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	unlock := s.store.LockBlobs(acct.ID)
	defer unlock()
	if _, err := s.store.Blob(ctx, acct.ID, c); !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	return true, fn()
}
