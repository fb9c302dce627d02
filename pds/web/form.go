package web

import (
	"errors"
	"fmt"
	"net/url"

	"perch/pds/account"
	"perch/pds/store"
)

// Form is what somebody has entered, and what is wrong with it.
type Form struct {
	values url.Values
	Errors []FieldError
}

// FieldError is what is wrong with a field; Field is "" when it is the whole.
type FieldError struct{ Field, Text string }

// form returns what came with the request. Passwords are never shown again.
func (r *request) form() *Form { return &Form{values: r.Form} }

// Value is what was entered.
func (f *Form) Value(name string) string {
	if f == nil {
		return ""
	}
	return f.values.Get(name)
}

// Error is what is wrong with a field, "" when nothing is.
func (f *Form) Error(name string) string {
	if f == nil {
		return ""
	}
	for _, e := range f.Errors {
		if e.Field == name {
			return e.Text
		}
	}
	return ""
}

func (f *Form) add(field, text string) { f.Errors = append(f.Errors, FieldError{field, text}) }

// move gives the errors of a field to another one, on pages where a form has a field of the same kind under another name.
func (f *Form) move(from, to string) {
	for i := range f.Errors {
		if f.Errors[i].Field == from {
			f.Errors[i].Field = to
		}
	}
}

func (f *Form) ok() bool { return len(f.Errors) == 0 }

// field is one field of a form as the template "field" shows it.
type field struct {
	Name, Label, Type, Value, Hint, Error string
	Autocomplete, InputMode, Pattern      string
	Suffix, Check                         string // what follows the field; the address that tells whether the value would do
	Required, Autofocus, Reveal           bool
}

// DescribedBy are the ids of what explains the field.
func (f field) DescribedBy() string {
	out := ""
	if f.Hint != "" {
		out = f.Name + "-hint"
	}
	if f.Error != "" {
		out += " " + f.Name + "-error"
	}
	return out
}

// newField makes a field of a form's value and settings in pairs: newField(form, "email", "label", …, "type", "email").
func newField(form *Form, name string, settings ...any) (field, error) {
	f := field{Name: name, Type: "text", Value: form.Value(name), Error: form.Error(name), Required: true}
	for i := 0; i+1 < len(settings); i += 2 {
		value := fmt.Sprint(settings[i+1])
		switch settings[i] {
		case "label":
			f.Label = value
		case "type":
			f.Type = value
		case "hint":
			f.Hint = value
		case "autocomplete":
			f.Autocomplete = value
		case "inputmode":
			f.InputMode = value
		case "pattern":
			f.Pattern = value
		case "suffix":
			f.Suffix = value
		case "check":
			f.Check = value
		case "value":
			f.Value = value
		case "optional":
			f.Required = value != "true"
		case "autofocus":
			f.Autofocus = value == "true"
		default:
			return field{}, fmt.Errorf("a field has no setting %v", settings[i])
		}
	}
	if f.Type == "password" {
		f.Value, f.Reveal = "", true
	}
	if form != nil && len(form.Errors) > 0 {
		f.Autofocus = false // the summary of the errors has the focus
	}
	return f, nil
}

// refusal adds to the form what an error of the layers below means, and tells whether it knew.
func (r *request) refusal(f *Form, err error) bool {
	for _, known := range refusals {
		if errors.Is(err, known.is) {
			f.add(known.field, r.t("error."+known.key, known.args...))
			return true
		}
	}
	var refused *Refused
	if errors.As(err, &refused) {
		f.add("", r.t("error.refused", "reason", refused.Message))
		return true
	}
	return false
}

// refusals is the table from errors to the field that they are about and the key of what to say.
var refusals = []struct {
	is         error
	field, key string
	args       []any
}{
	{account.ErrBadCredentials, "", "credentials", nil},
	{account.ErrInvalidPassword, "password", "password", []any{"min", account.MinPassword, "max", account.MaxPassword}},
	{account.ErrInvalidEmail, "email", "email", nil},
	{store.ErrEmailTaken, "email", "email-taken", nil},
	{account.ErrInvalidInvite, "invite", "invite", nil},
	{account.ErrHandleNotAvailable, "handle", "handle-taken", nil},
	{store.ErrHandleTaken, "handle", "handle-taken", nil},
	{account.ErrInvalidHandle, "handle", "handle", nil},
	{account.ErrUnsupportedDomain, "handle", "handle", nil},
	{account.ErrInvalidCode, "code", "code", nil},
	{account.ErrExpiredCode, "code", "code-expired", nil},
	{account.ErrFactorInvalid, "code", "factor", nil},
	{account.ErrFactorLocked, "code", "factor-locked", nil},
	{account.ErrCodeRequired, "code", "code-missing", nil},
	{account.ErrOtherEmail, "", "email-other", nil},
	{account.ErrInvalidName, "name", "name", nil},
	{store.ErrHeld, "", "moving", nil},
	{store.ErrInactive, "", "inactive", nil},
	{ErrNoEmail, "", "no-email", nil},
	{ErrDirectory, "", "directory", nil},
	{ErrBusy, "", "busy", nil},
	{ErrProfile, "", "profile", nil},
	{account.ErrPasskeyCloned, "", "passkey-cloned", nil}, // before ErrPasskey, which it is too
	{account.ErrPasskey, "", "passkey", nil},
	{account.ErrPasskeyLate, "", "passkey-late", nil},
	{account.ErrPasskeyLimit, "", "passkey-limit", []any{"max", account.MaxPasskeys}},
}
