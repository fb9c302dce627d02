package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Device is a browser in which people are signed in to the server's own pages.
type Device struct {
	ID         string    // random
	Generation int64     // of the newest cookie
	Confirmed  bool      // the newest cookie has come back
	Current    AccountID // the account that the pages show
	CreatedAt  time.Time
	RotatedAt  time.Time // when the newest cookie was made, or came back for the first time
	SeenAt     time.Time
	IP         string
	UserAgent  string
}

// DeviceAccount is an account that is signed in in a browser.
type DeviceAccount struct {
	Device      string
	Account     AccountID
	SignedInAt  time.Time
	ConfirmedAt time.Time // when the password was last given
	FactorAt    time.Time // when the second factor was last shown that the account has; zero: not yet
	Remembered  bool      // goes on when the browser is closed
}

// MaxDevices is in how many browsers an account may be signed in. The one that was seen longest ago makes room.
const MaxDevices = 100

const (
	deviceColumns        = `id, generation, confirmed, current, created_at, rotated_at, seen_at, ip, user_agent`
	deviceAccountColumns = `device, account, signed_in_at, confirmed_at, factor_at, remembered`
)

func scanDevice(scan func(...any) error) (d Device, err error) {
	var created, rotated, seen int64
	err = scan(&d.ID, &d.Generation, &d.Confirmed, &d.Current, &created, &rotated, &seen, &d.IP, &d.UserAgent)
	d.CreatedAt, d.RotatedAt, d.SeenAt = fromMicros(created), fromMicros(rotated), fromMicros(seen)
	return d, err
}

func scanDeviceAccount(rows *sql.Rows, a *DeviceAccount) error {
	var signedIn, confirmed, factor int64
	err := rows.Scan(&a.Device, &a.Account, &signedIn, &confirmed, &factor, &a.Remembered)
	a.SignedInAt, a.ConfirmedAt, a.FactorAt = fromMicros(signedIn), fromMicros(confirmed), fromMicros(factor)
	return err
}

func deviceByID(ctx context.Context, q querier, id string) (Device, error) {
	d, err := scanDevice(q.queryRow(ctx, `SELECT `+deviceColumns+` FROM device WHERE id = ?`, id).Scan)
	if err != nil {
		return Device{}, fmt.Errorf("device: %w", err)
	}
	return d, nil
}

// Device returns a browser, or ErrNotFound.
func (s *Store) Device(ctx context.Context, id string) (Device, error) {
	return deviceByID(ctx, s.read, id)
}

// Device is Store.Device as the transaction sees it.
func (tx *Tx) Device(ctx context.Context, id string) (Device, error) { return deviceByID(ctx, tx, id) }

// DeviceAccounts lists the accounts that are signed in in a browser, in the order in which they were.
func (s *Store) DeviceAccounts(ctx context.Context, device string) ([]DeviceAccount, error) {
	const query = `SELECT ` + deviceAccountColumns + ` FROM device_account WHERE device = ? ORDER BY signed_in_at, account`
	rows, err := s.read.query(ctx, query, device)
	return collect(rows, err, scanDeviceAccount)
}

// AccountDevices lists the browsers in which an account is signed in, the one that was seen last first, and what is noted of it there.
func (s *Store) AccountDevices(ctx context.Context, acct AccountID) ([]Device, []DeviceAccount, error) {
	rows, err := s.read.query(ctx, `SELECT `+deviceColumns+` FROM device WHERE id IN (SELECT device FROM device_account WHERE account = ?)
		ORDER BY seen_at DESC, id`, acct)
	devices, err := collect(rows, err, func(r *sql.Rows, d *Device) (err error) {
		*d, err = scanDevice(r.Scan)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	rows, err = s.read.query(ctx, `SELECT `+deviceAccountColumns+` FROM device_account WHERE account = ?`, acct)
	accounts, err := collect(rows, err, scanDeviceAccount)
	return devices, accounts, err
}

// PutDevice stores a browser in place of what was known of it.
func (tx *Tx) PutDevice(ctx context.Context, d Device) error {
	_, err := tx.exec(ctx, `INSERT OR REPLACE INTO device (`+deviceColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		d.ID, d.Generation, d.Confirmed, d.Current, micros(d.CreatedAt), micros(d.RotatedAt), micros(d.SeenAt), d.IP, d.UserAgent)
	if err != nil {
		return fmt.Errorf("store device: %w", err)
	}
	return nil
}

// RenameDevice gives a browser and what it holds another id. One that is not there is no error.
func (tx *Tx) RenameDevice(ctx context.Context, from, to string) error {
	if _, err := tx.exec(ctx, `UPDATE device SET id = ? WHERE id = ?`, to, from); err != nil {
		return fmt.Errorf("rename device: %w", err)
	}
	_, err := tx.exec(ctx, `UPDATE device_account SET device = ? WHERE device = ?`, to, from)
	return err
}

// PutDeviceAccount notes that an account is signed in in a browser. If it is in MaxDevices of them, it is signed out where it was seen longest ago.
func (tx *Tx) PutDeviceAccount(ctx context.Context, a DeviceAccount) error {
	_, err := tx.exec(ctx, `DELETE FROM device_account WHERE account = ?1 AND device IN (SELECT a.device FROM device_account a
		LEFT JOIN device d ON d.id = a.device WHERE a.account = ?1 AND a.device <> ?2 ORDER BY d.seen_at DESC LIMIT -1 OFFSET ?3)`,
		a.Account, a.Device, MaxDevices-1)
	if err == nil {
		_, err = tx.exec(ctx, `INSERT OR REPLACE INTO device_account (`+deviceAccountColumns+`) VALUES (?, ?, ?, ?, ?, ?)`,
			a.Device, a.Account, micros(a.SignedInAt), micros(a.ConfirmedAt), micros(a.FactorAt), a.Remembered)
	}
	if err != nil {
		return fmt.Errorf("store sign-in of device: %w", err)
	}
	return nil
}

// ConfirmDeviceAccount notes when password and second factor were last given, where a's times are not zero. The error is ErrNotFound when the account is not signed in
// in the browser.
func (tx *Tx) ConfirmDeviceAccount(ctx context.Context, a DeviceAccount) error {
	n, err := tx.execCount(ctx, `UPDATE device_account SET confirmed_at = max(confirmed_at, ?), factor_at = max(factor_at, ?) WHERE device = ? AND account = ?`,
		micros(a.ConfirmedAt), micros(a.FactorAt), a.Device, a.Account)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// ForgetShownFactors has an account's browsers show its second factor anew.
func (tx *Tx) ForgetShownFactors(ctx context.Context, acct AccountID) error {
	_, err := tx.exec(ctx, `UPDATE device_account SET factor_at = 0 WHERE account = ?`, acct)
	return err
}

// DeleteDevice signs everybody out in a browser and forgets it.
func (tx *Tx) DeleteDevice(ctx context.Context, id string) error {
	if _, err := tx.exec(ctx, `DELETE FROM device_account WHERE device = ?`, id); err != nil {
		return fmt.Errorf("delete device: %w", err)
	}
	_, err := tx.exec(ctx, `DELETE FROM device WHERE id = ?`, id)
	return err
}

// DeleteDeviceAccount signs an account out in a browser, which is forgotten when nobody else is signed in there.
func (tx *Tx) DeleteDeviceAccount(ctx context.Context, device string, acct AccountID) error {
	if _, err := tx.exec(ctx, `DELETE FROM device_account WHERE device = ? AND account = ?`, device, acct); err != nil {
		return fmt.Errorf("sign out in device: %w", err)
	}
	_, err := tx.exec(ctx, `DELETE FROM device WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM device_account WHERE device = ?1)`, device)
	return err
}

// deleteDeviceAccounts signs an account out in all browsers. What is left of them goes with SweepDevices.
func (tx *Tx) deleteDeviceAccounts(ctx context.Context, acct AccountID) error {
	_, err := tx.exec(ctx, `DELETE FROM device_account WHERE account = ?`, acct)
	return err
}

// SweepDevices signs out in browsers that were last seen before the times given, for remembered sign-ins and others, and forgets browsers in which
// nobody is signed in.
func (tx *Tx) SweepDevices(ctx context.Context, remembered, others time.Time) error {
	_, err := tx.exec(ctx, `DELETE FROM device_account WHERE EXISTS (SELECT 1 FROM device d WHERE d.id = device_account.device
		AND d.seen_at < CASE remembered WHEN 1 THEN ? ELSE ? END)`, micros(remembered), micros(others))
	if err == nil {
		_, err = tx.exec(ctx, `DELETE FROM device WHERE NOT EXISTS (SELECT 1 FROM device_account a WHERE a.device = device.id)`)
	}
	return err
}
