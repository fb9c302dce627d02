package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"perch/pds/store"
)

const (
	// RememberedLifetime is how long a sign-in lasts in a browser that is not seen.
	RememberedLifetime = 90 * 24 * time.Hour
	// ForgottenLifetime is the same for people who did not want to be remembered. Their cookie ends with the browser, too.
	ForgottenLifetime = 12 * time.Hour

	deviceRotation = 10 * time.Minute // between two cookies
	// deviceGrace is how long a cookie goes on once the one after it has come back: requests of other tabs are under way.
	deviceGrace   = time.Minute
	deviceIDBytes = 16
	maxUserAgent  = 256 // bytes
	// maxDeviceAccounts is how many accounts are signed in in one browser: each is looked up with each page. The one that was signed in first makes room.
	maxDeviceAccounts = 20
)

// Visit is where a request comes from, as the list of somebody's browsers shows it.
type Visit struct{ IP, UserAgent string }

// SignedIn is an account that is signed in in a browser.
type SignedIn struct {
	Account     *store.Account
	SignedInAt  time.Time
	ConfirmedAt time.Time // when the password was last given
	FactorAt    time.Time // when the second factor was last shown, a strong one if the account has one; zero: not yet
	Remembered  bool
}

// Device is a browser in which at least one account is signed in.
type Device struct {
	ID       string
	Accounts []SignedIn // in the order in which they were signed in
	Current  *SignedIn  // the one that the pages show; one of Accounts
	// Cookie is what the browser shall be given in place of what it sent; "" when that goes on.
	Cookie string
	// Sitting is what it shall keep until it is closed, beside the cookie; "" when what it has goes on. Cookie may outlive the browser for one account, and those who did
	// not want to be remembered are signed in for this sitting only.
	Sitting string
}

// Remembered tells whether the cookie shall outlive the browser.
func (d *Device) Remembered() bool {
	for _, a := range d.Accounts {
		if a.Remembered {
			return true
		}
	}
	return false
}

// OpenDevice returns the browser that sent a cookie, or nil when nobody is signed in there. A cookie is replaced every few minutes. The one before
// goes on until the new one has come back; when an older one is sent, there are two who have it, and everybody is signed out in that browser. Without the sitting, those are
// who did not want to be remembered.
func (s *Service) OpenDevice(ctx context.Context, cookie, sitting string, v Visit) (*Device, error) {
	id, generation, ok := s.readDeviceCookie(cookie)
	if !ok {
		return nil, nil
	}
	row, err := s.store.Device(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	now := s.now()
	if deviceReplayed(row, generation, now) {
		return nil, s.store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteDevice(ctx, id) })
	}
	d, err := s.loadDevice(ctx, row, hmac.Equal([]byte(sitting), []byte(s.sitting(id))), now)
	if err != nil || d == nil {
		return nil, err
	}
	if generation < row.Generation {
		d.Cookie = s.deviceCookie(row.ID, row.Generation)
	} else if !row.Confirmed || now.Sub(row.RotatedAt) >= deviceRotation {
		return d, s.turnDevice(ctx, d, generation, v)
	}
	return d, nil
}

func deviceReplayed(row store.Device, generation int64, now time.Time) bool {
	switch generation {
	case row.Generation:
		return false
	case row.Generation - 1:
		return row.Confirmed && now.Sub(row.RotatedAt) > deviceGrace
	}
	return true
}

// loadDevice looks up who is signed in, and ends what has ended with the browser. It returns nil when nobody is.
func (s *Service) loadDevice(ctx context.Context, row store.Device, sits bool, now time.Time) (*Device, error) {
	rows, err := s.store.DeviceAccounts(ctx, row.ID)
	if err != nil {
		return nil, err
	}
	d := &Device{ID: row.ID}
	for _, r := range rows {
		if !r.Remembered && !sits {
			if err := s.SignOutDevice(ctx, row.ID, r.Account); err != nil {
				return nil, err
			}
			continue
		}
		lifetime := ForgottenLifetime
		if r.Remembered {
			lifetime = RememberedLifetime
		}
		if now.Sub(row.SeenAt) > lifetime {
			continue
		}
		acct, err := s.store.AccountByID(ctx, r.Account)
		if errors.Is(err, store.ErrNotFound) || err == nil && (barred(acct) || !acct.DeletedAt.IsZero()) {
			continue
		}
		if err != nil {
			return nil, err
		}
		d.Accounts = append(d.Accounts, SignedIn{acct, r.SignedInAt, r.ConfirmedAt, r.FactorAt, r.Remembered})
	}
	if len(d.Accounts) == 0 {
		return nil, nil
	}
	d.choose(row.Current)
	return d, nil
}

// choose makes an account the current one, or the one that was signed in last if it is not there.
func (d *Device) choose(id store.AccountID) {
	d.Current = &d.Accounts[len(d.Accounts)-1]
	for i := range d.Accounts {
		if d.Accounts[i].Account.ID == id {
			d.Current = &d.Accounts[i]
		}
	}
}

// turnDevice notes that the newest cookie has come back, and makes the next one when it is time.
func (s *Service) turnDevice(ctx context.Context, d *Device, generation int64, v Visit) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		row, err := tx.Device(ctx, d.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil // signed out by another tab
		}
		if err != nil || row.Generation != generation {
			return err // another request was faster
		}
		now := s.now()
		if !row.Confirmed {
			row.Confirmed, row.RotatedAt = true, now // the grace for the cookie before begins here
		}
		if now.Sub(row.RotatedAt) >= deviceRotation {
			row.Generation, row.Confirmed, row.RotatedAt = row.Generation+1, false, now
			d.Cookie = s.deviceCookie(row.ID, row.Generation)
		}
		row.SeenAt, row.IP, row.UserAgent = now, v.IP, clip(v.UserAgent)
		return tx.PutDevice(ctx, row)
	})
}

// SignInDevice signs an account in in a browser, d, which is nil when nobody is signed in there. The browser gets a new id, so that a cookie that
// somebody has planted before is worth nothing. acct is as it was when its password was checked, and factor when its second factor was shown beside it, if it was.
// Errors: ErrBadCredentials when it has another password now, ErrTakendown.
func (s *Service) SignInDevice(ctx context.Context, d *Device, acct *store.Account, factor time.Time, remember bool, v Visit) (*Device, error) {
	now := s.now()
	row := store.Device{ID: newDeviceID(), Generation: 1, Confirmed: true, Current: acct.ID, CreatedAt: now, RotatedAt: now, SeenAt: now, IP: v.IP, UserAgent: clip(v.UserAgent)}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		acct, err := stillShown(ctx, tx, Login{Account: acct})
		if err == nil && barred(acct) {
			err = refuse(ErrTakendown, "Account has been taken down")
		}
		if err != nil {
			return err
		}
		if d != nil {
			if err := tx.RenameDevice(ctx, d.ID, row.ID); err != nil {
				return err
			}
		}
		if err := tx.PutDevice(ctx, row); err != nil {
			return err
		}
		return tx.PutDeviceAccount(ctx, store.DeviceAccount{Device: row.ID, Account: acct.ID, SignedInAt: now, ConfirmedAt: now, FactorAt: factor, Remembered: remember})
	})
	if err != nil {
		return nil, err
	}
	fresh, err := s.loadDevice(ctx, row, true, now)
	if err == nil && fresh == nil {
		err = signedOut()
	}
	if err != nil {
		return nil, err
	}
	for ; len(fresh.Accounts) > maxDeviceAccounts; fresh.Accounts = fresh.Accounts[1:] {
		if err := s.SignOutDevice(ctx, row.ID, fresh.Accounts[0].Account.ID); err != nil {
			return nil, err
		}
	}
	fresh.Cookie, fresh.Sitting = s.deviceCookie(row.ID, row.Generation), s.sitting(row.ID)
	return fresh, nil
}

// Proof is what the owner of an account has shown again.
type Proof int

// The proofs. A passkey is both.
const (
	ProofPassword Proof = 1 << iota
	ProofFactor         // a strong one, if the account has one
	ProofPasskey  = ProofPassword | ProofFactor
)

// ConfirmDevice notes what the owner of an account has shown again. The error is ErrSessionRevoked when the account was signed out there meanwhile.
func (s *Service) ConfirmDevice(ctx context.Context, d *Device, a *SignedIn, shown Proof) error {
	row := store.DeviceAccount{Device: d.ID, Account: a.Account.ID}
	if shown&ProofPassword != 0 {
		row.ConfirmedAt = s.now()
	}
	if shown&ProofFactor != 0 {
		row.FactorAt = s.now()
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error { return tx.ConfirmDeviceAccount(ctx, row) })
	if errors.Is(err, store.ErrNotFound) {
		return signedOut()
	}
	return err
}

// SwitchDevice has the pages of a browser show another of its accounts. The error is store.ErrNotFound when that is not signed in there.
func (s *Service) SwitchDevice(ctx context.Context, d *Device, did string) error {
	for i := range d.Accounts {
		if a := &d.Accounts[i]; string(a.Account.DID) == did {
			d.Current = a
			return s.store.Update(ctx, func(tx *store.Tx) error {
				row, err := tx.Device(ctx, d.ID)
				if err != nil {
					return err
				}
				row.Current = a.Account.ID
				return tx.PutDevice(ctx, row)
			})
		}
	}
	return store.ErrNotFound
}

// SignOutDevice signs an account out in one browser.
func (s *Service) SignOutDevice(ctx context.Context, device string, acct store.AccountID) error {
	return s.store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteDeviceAccount(ctx, device, acct) })
}

// ListedDevice is a browser as its owner sees it in a list.
type ListedDevice struct {
	ID         string
	IP         string
	UserAgent  string
	SignedInAt time.Time
	SeenAt     time.Time
	Remembered bool
}

// Devices lists the browsers in which an account is signed in, the one that was seen last first.
func (s *Service) Devices(ctx context.Context, acct store.AccountID) ([]ListedDevice, error) {
	devices, accounts, err := s.store.AccountDevices(ctx, acct)
	if err != nil {
		return nil, err
	}
	byDevice := make(map[string]store.DeviceAccount, len(accounts))
	for _, a := range accounts {
		byDevice[a.Device] = a
	}
	list := make([]ListedDevice, len(devices))
	for i, d := range devices {
		a := byDevice[d.ID]
		list[i] = ListedDevice{d.ID, d.IP, d.UserAgent, a.SignedInAt, d.SeenAt, a.Remembered}
	}
	return list, nil
}

// SweepDevices signs out where nobody came back for too long.
func (s *Service) SweepDevices(ctx context.Context) error {
	now := s.now()
	return s.store.Update(ctx, func(tx *store.Tx) error {
		return tx.SweepDevices(ctx, now.Add(-RememberedLifetime), now.Add(-ForgottenLifetime))
	})
}

func newDeviceID() string {
	b := make([]byte, deviceIDBytes)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// deviceCookie is "id.generation.proof". The proof is made with a key that the database does not hold, so that nothing in there opens an account.
func (s *Service) deviceCookie(id string, generation int64) string {
	mac := hmac.New(sha256.New, s.opts.Seal.Derive("device cookies"))
	fmt.Fprintf(mac, "%s\x00%d", id, generation)
	return id + "." + strconv.FormatInt(generation, 10) + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// IsDeviceCookie tells whether a cookie is one that some browser was once given. It looks nothing up.
func (s *Service) IsDeviceCookie(cookie string) bool {
	_, _, ok := s.readDeviceCookie(cookie)
	return ok
}

// sitting shows that a browser was not closed since somebody signed in there.
func (s *Service) sitting(id string) string {
	mac := hmac.New(sha256.New, s.opts.Seal.Derive("device sittings"))
	mac.Write([]byte(id))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (s *Service) readDeviceCookie(cookie string) (id string, generation int64, ok bool) {
	parts := strings.Split(cookie, ".")
	if len(parts) != 3 {
		return "", 0, false
	}
	generation, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || !hmac.Equal([]byte(cookie), []byte(s.deviceCookie(parts[0], generation))) {
		return "", 0, false
	}
	return parts[0], generation, true
}

// clip shortens what a browser says about itself.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxUserAgent)], "")
}
