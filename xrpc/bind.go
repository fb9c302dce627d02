package xrpc

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"

	"perch/lexicons"
)

// binder fills the tagged fields of one struct type from query parameters.
type binder struct {
	fields []boundField
}

type boundField struct {
	param string
	index int
	set   func(reflect.Value, *lexicons.Param) error
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

func newBinder(t reflect.Type, md *method) *binder {
	b := &binder{}
	if t.Kind() != reflect.Struct {
		return b
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("query")
		if name == "" {
			continue
		}
		if !md.lex.HasParam(name) {
			panic(fmt.Sprintf("xrpc: %s has no parameter %q, which %s.%s wants", md.nsid, name, t, f.Name))
		}
		set := setterOf(f.Type)
		if set == nil {
			panic(fmt.Sprintf("xrpc: %s.%s is of a type that no parameter has", t, f.Name))
		}
		b.fields = append(b.fields, boundField{name, i, set})
	}
	return b
}

// fill sets the fields of v whose parameters were given or have a default.
func (b *binder) fill(v reflect.Value, params lexicons.Params) error {
	for i := range b.fields {
		f := &b.fields[i]
		for j := range params {
			if params[j].Name != f.param {
				continue
			}
			if err := f.set(v.Field(f.index), &params[j]); err != nil {
				return InvalidRequest("Error: %s is not valid: %v", f.param, err)
			}
		}
	}
	return nil
}

// setterOf returns how a field of type t takes a parameter, nil when it cannot.
func setterOf(t reflect.Type) func(reflect.Value, *lexicons.Param) error {
	switch {
	case t.Kind() == reflect.Pointer:
		inner := setterOf(t.Elem())
		if inner == nil || t.Elem().Kind() == reflect.Pointer {
			return nil
		}
		return func(v reflect.Value, p *lexicons.Param) error {
			v.Set(reflect.New(t.Elem()))
			return inner(v.Elem(), p)
		}
	case t.Kind() == reflect.Slice:
		inner := setterOf(t.Elem())
		if inner == nil {
			return nil
		}
		return func(v reflect.Value, p *lexicons.Param) error { return setList(v, p, inner) }
	case reflect.PointerTo(t).Implements(textUnmarshaler):
		return func(v reflect.Value, p *lexicons.Param) error {
			return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(p.Value))
		}
	case t.Kind() == reflect.String:
		return func(v reflect.Value, p *lexicons.Param) error { v.SetString(p.Value); return nil }
	case t.Kind() == reflect.Bool:
		return func(v reflect.Value, p *lexicons.Param) error { v.SetBool(p.Value == "true"); return nil }
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		return func(v reflect.Value, p *lexicons.Param) error {
			i, err := strconv.ParseInt(p.Value, 10, t.Bits())
			v.SetInt(i)
			return err
		}
	}
	return nil
}

func setList(v reflect.Value, p *lexicons.Param, set func(reflect.Value, *lexicons.Param) error) error {
	list := reflect.MakeSlice(v.Type(), len(p.List), len(p.List))
	for i, s := range p.List {
		if err := set(list.Index(i), &lexicons.Param{Value: s}); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}
