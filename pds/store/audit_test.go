package store

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestAuditIsAppendOnly(t *testing.T) {
	s := openTest(t)
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error {
		return tx.AddAudit(ctx, Audit{Kind: "password", Action: "takedown", Result: AuditDone})
	})
	for _, query := range []string{"DELETE FROM audit", "UPDATE audit SET result = 'x'", "DELETE FROM audit WHERE id = 1",
		"INSERT OR REPLACE INTO audit (id, at, kind, actor, address, action, subject, detail, reason, result) SELECT id, at, kind, actor, address, 'x', subject, detail, reason, result FROM audit",
		"UPDATE OR REPLACE audit SET id = id"} {
		err := s.Update(t.Context(), func(tx *Tx) error { _, err := tx.exec(t.Context(), query); return err })
		if err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", query, err)
		}
	}
	if lines, err := s.Audits(t.Context(), AuditQuery{Limit: 10}); err != nil || len(lines) != 1 || lines[0].Result != AuditDone {
		t.Errorf("%+v, %v", lines, err)
	}
}

func TestAuditGoesWithTheFirstTransaction(t *testing.T) {
	s := openTest(t)
	a := mustCreate(t, s, 1)
	ctx, written := WithAudit(t.Context(), Audit{Kind: "password", Action: "role", Result: AuditDone})
	failed := errors.New("failed")
	if err := s.Update(ctx, func(tx *Tx) error { return failed }); !errors.Is(err, failed) || written() {
		t.Fatal(err, written())
	}
	for range 2 {
		if err := s.Update(ctx, func(tx *Tx) error { return tx.SetRole(ctx, a.ID, RoleAdmin) }); err != nil || !written() {
			t.Fatal(err, written())
		}
	}
	if lines, err := s.Audits(t.Context(), AuditQuery{Limit: 10}); err != nil || len(lines) != 1 {
		t.Errorf("%+v, %v", lines, err)
	}
}
