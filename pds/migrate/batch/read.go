// Package batch reads the list of accounts that move together, and writes what became of them. Both are CSV files as people make them with a spreadsheet.
package batch

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// Limits of a list.
const (
	MaxBytes    = 32 << 20
	maxRows     = 100_000
	maxCell     = 2048 // bytes
	maxFaults   = 100  // that are told of
	minPassword = 8    // characters, of a new one
)

// Columns are the names that a list's first line may have. "handle" and "did" may stand for "account".
var Columns = []string{"account", "handle", "did", "password", "new-password", "email", "new-handle", "factor", "code"}

// Row is one account that moves.
type Row struct {
	Line        int // of the file, where it begins
	Account     syntax.AtIdentifier
	Password    string // at the old host
	NewPassword string // here; "" for a random one
	Email       string // here; "" for the one that the old host knows
	NewHandle   string // here; "" for the one that the account has
	Factor      string // code of the second factor at the old host
	Code        string // that the old host has mailed for the change of the DID
}

// Read reads a list. Its error names all that is wrong with it, a line each, and repeats no cell that may hold a secret.
func Read(r io.Reader) ([]Row, error) {
	text, err := readText(r)
	if err != nil {
		return nil, err
	}
	in := csv.NewReader(bytes.NewReader(text))
	in.Comma, in.FieldsPerRecord = delimiter(text), -1
	l := &list{accounts: map[syntax.AtIdentifier]int{}, handles: map[string]int{}}
	for {
		cells, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if wrong := (*csv.ParseError)(nil); errors.As(err, &wrong) {
			l.fault(wrong.StartLine, "%v", wrong.Err)
			continue
		}
		if err != nil {
			return nil, err
		}
		line, _ := in.FieldPos(0)
		l.add(line, cells)
	}
	switch {
	case len(l.columns) == 0 && len(l.faults) == 0:
		return nil, errors.New("the list is empty; its first line names the columns: " + strings.Join(Columns, ", "))
	case len(l.rows) == 0 && len(l.faults) == 0:
		return nil, errors.New("the list names no account")
	}
	if l.more > 0 {
		l.faults = append(l.faults, fmt.Errorf("and %d mistakes more", l.more))
	}
	return l.rows, errors.Join(l.faults...)
}

func readText(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > MaxBytes:
		return nil, fmt.Errorf("the list has more than %d bytes", MaxBytes)
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // as Excel begins files
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil, errors.New("the list is not UTF-8; save it as \"CSV UTF-8\"")
	}
	return text, nil
}

// delimiter looks at the first line: where a comma is the decimal sign, spreadsheets write semicolons.
func delimiter(text []byte) rune {
	first, _, _ := bytes.Cut(bytes.TrimLeft(text, "\r\n"), []byte("\n"))
	for _, d := range ";\t" {
		if bytes.ContainsRune(first, d) && !bytes.ContainsRune(first, ',') {
			return d
		}
	}
	return ','
}

// list is what has been read so far.
type list struct {
	columns  []string
	rows     []Row
	accounts map[syntax.AtIdentifier]int // line by account
	handles  map[string]int              // line by new handle
	faults   []error
	more     int // faults beyond maxFaults
	broken   bool
}

func (l *list) fault(line int, format string, args ...any) {
	if len(l.faults) >= maxFaults {
		l.more++
		return
	}
	l.faults = append(l.faults, fmt.Errorf("line %d: %s", line, fmt.Sprintf(format, args...)))
}

func (l *list) add(line int, cells []string) {
	switch {
	case l.columns == nil:
		l.header(line, cells)
	case l.broken || blank(cells): // without columns nothing can be said of a row
	case len(cells) != len(l.columns):
		l.fault(line, "%d cells, but there are %d columns", len(cells), len(l.columns))
	case len(l.rows) >= maxRows:
		l.fault(line, "more than %d accounts", maxRows)
	default:
		l.row(line, cells)
	}
}

func blank(cells []string) bool {
	return !slices.ContainsFunc(cells, func(c string) bool { return strings.TrimSpace(c) != "" })
}

func (l *list) header(line int, cells []string) {
	l.columns = []string{}
	for _, c := range cells {
		name := strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(strings.TrimSpace(c)))
		switch {
		case !slices.Contains(Columns, name):
			l.broken = true
			l.fault(line, "no column is called %q; there are %s", clip(c), strings.Join(Columns, ", "))
		case slices.Contains(l.columns, name):
			l.broken = true
			l.fault(line, "two columns are called %s", name)
		}
		l.columns = append(l.columns, name)
	}
	if !l.broken && !slices.ContainsFunc(l.columns, func(c string) bool { return c == "account" || c == "handle" || c == "did" }) {
		l.broken = true
		l.fault(line, "no column names the account; call it account, handle or did")
	}
}

func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "..."
	}
	return s
}

func (l *list) row(line int, cells []string) {
	var account string
	row, before := Row{Line: line}, len(l.faults)+l.more
	for i, cell := range cells {
		name := l.columns[i]
		if len(cell) > maxCell {
			l.fault(line, "%s: longer than %d bytes", name, maxCell)
			return
		}
		trimmed := strings.TrimSpace(cell)
		switch name {
		case "account", "handle", "did":
			if name == "did" && trimmed != "" || account == "" {
				account = strings.TrimPrefix(trimmed, "@")
			}
		case "password":
			row.Password = cell
		case "new-password":
			row.NewPassword = cell
		case "email":
			row.Email = trimmed
		case "new-handle":
			row.NewHandle = strings.ToLower(strings.TrimPrefix(trimmed, "@"))
		case "factor":
			row.Factor = trimmed
		case "code":
			row.Code = trimmed
		}
	}
	l.check(&row, account)
	if len(l.faults)+l.more == before {
		l.rows = append(l.rows, row)
	}
}

func (l *list) check(row *Row, account string) {
	id, err := syntax.ParseAtIdentifier(account)
	switch {
	case account == "":
		l.fault(row.Line, "no account")
	case err != nil:
		l.fault(row.Line, "%q is neither a handle nor a DID", clip(account))
	default:
		row.Account = id.Normalize()
		if first, twice := l.accounts[row.Account]; twice {
			l.fault(row.Line, "%s stands on line %d already", row.Account, first)
		} else {
			l.accounts[row.Account] = row.Line
		}
	}
	if row.NewHandle != "" {
		if _, err := syntax.ParseHandle(row.NewHandle); err != nil {
			l.fault(row.Line, "new-handle: %q is no handle", clip(row.NewHandle))
		} else if first, twice := l.handles[row.NewHandle]; twice {
			l.fault(row.Line, "new-handle: %s stands on line %d already", row.NewHandle, first)
		} else {
			l.handles[row.NewHandle] = row.Line
		}
	}
	if addr, err := mail.ParseAddress(row.Email); row.Email != "" && (err != nil || addr.Address != row.Email) {
		l.fault(row.Line, "email: %q is no address", clip(row.Email))
	}
	if n := utf8.RuneCountInString(row.NewPassword); n > 0 && n < minPassword {
		l.fault(row.Line, "new-password: shorter than %d characters", minPassword)
	}
}

// Result is what became of an account.
type Result struct {
	DID, Handle, State string
	Records, Blobs     int64
	Waits, Error       string
}

// Write writes results as CSV.
func Write(w io.Writer, results []Result) error {
	buf := bufio.NewWriter(w)
	out := csv.NewWriter(buf)
	_ = out.Write([]string{"did", "handle", "state", "records", "blobs", "waits-for", "error"})
	for _, r := range results {
		_ = out.Write([]string{r.DID, r.Handle, r.State, fmt.Sprint(r.Records), fmt.Sprint(r.Blobs), plain(r.Waits), plain(r.Error)})
	}
	out.Flush()
	return errors.Join(out.Error(), buf.Flush())
}

// plain keeps what a stranger's server has said from being a formula to a spreadsheet.
func plain(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
