package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate runs the embedded migrations that this database has not seen, each in a transaction of its own. The number at the head of
// a file's name is its version; user_version holds the last one that ran. Released files never change.
func migrate(ctx context.Context, conn *sql.Conn) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	var have int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	for i, name := range names { // fs.Glob sorts
		version, err := migrationVersion(name)
		if err != nil || version != i+1 {
			return fmt.Errorf("migration %s: want number %d", name, i+1)
		}
		if version <= have {
			continue
		}
		if err := runMigration(ctx, conn, name, version); err != nil {
			return fmt.Errorf("migration %s: %w", name, err)
		}
	}
	if have > len(names) {
		return fmt.Errorf("database has schema %d, this program knows only %d: it was written by a newer version", have, len(names))
	}
	return nil
}

func migrationVersion(name string) (int, error) {
	base := strings.TrimPrefix(name, "migrations/")
	number, _, _ := strings.Cut(base, "_")
	return strconv.Atoi(number)
}

func runMigration(ctx context.Context, conn *sql.Conn, name string, version int) error {
	text, err := migrations.ReadFile(name)
	if err != nil {
		return err
	}
	script := "BEGIN IMMEDIATE;\n" + string(text) + "\nPRAGMA user_version = " + strconv.Itoa(version) + ";\nCOMMIT;"
	if _, err := conn.ExecContext(ctx, script); err != nil {
		_, _ = conn.ExecContext(ctx, "ROLLBACK")
		return err
	}
	return nil
}
