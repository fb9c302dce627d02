package pds

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"time"
)

// Setting is one line of `perch config`.
type Setting struct {
	Name   string // of the environment variable
	Group  string // the heading it stands under
	Value  string // as it is in force; a secret shows its length only
	Origin string // "default", "environment", "FILE:LINE", or "generated" for a secret that the server makes itself
	Help   string // what it means, one paragraph
}

// Settings returns every setting in the order of the manual.
func (c *Config) Settings() []Setting {
	help := manual()
	v := reflect.ValueOf(c).Elem()
	list := make([]Setting, len(fields))
	for i, f := range fields {
		s := Setting{Name: f.variable, Group: f.group, Value: format(v.Field(f.index).Interface()), Origin: c.origins[f.variable], Help: help[f.name]}
		if s.Origin == "" {
			s.Origin = "default"
			if s.Value == "" && f.secret == "made" {
				s.Origin = "generated"
			}
		}
		if f.secret != "" && s.Value != "" {
			s.Value = fmt.Sprintf("******** (%d characters)", len(s.Value))
		}
		if s.Value == "" {
			s.Value = c.derived(f.variable)
		}
		list[i] = s
	}
	return list
}

// derived is the value that stands in for an empty one.
func (c *Config) derived(variable string) string {
	switch variable {
	case "PDS_SERVICE_DID":
		return c.ServiceDID().String()
	case "PDS_SERVICE_NAME":
		return c.DisplayName()
	case "PDS_BLOBSTORE_DISK_LOCATION":
		return c.BlobDirectory()
	case "PDS_MASTER_KEY_FILE":
		if c.MasterKeyHex == "" {
			return c.MasterKeyPath()
		}
	case "PDS_SERVICE_HANDLE_DOMAINS":
		return strings.Join(c.HandleDomains(), ",")
	case "PDS_DISABLE_SSRF_PROTECTION":
		return fmt.Sprint(c.AllowPrivate())
	case "PDS_REPORT_SERVICE_URL":
		url, _ := c.ReportService()
		return url
	case "PDS_REPORT_SERVICE_DID":
		_, did := c.ReportService()
		return did
	}
	return ""
}

// format writes a value as it would be written in the settings file.
func format(v any) string {
	switch v := v.(type) {
	case time.Duration:
		return fmt.Sprint(v.Milliseconds())
	case []string:
		return strings.Join(v, ",")
	case []netip.Prefix:
		parts := make([]string, len(v))
		for i, p := range v {
			parts[i] = p.String()
		}
		return strings.Join(parts, ",")
	case *bool:
		if v == nil {
			return ""
		}
		return fmt.Sprint(*v)
	}
	return fmt.Sprint(v)
}

// manual returns the comment of each field of Config, out of its source.
var manual = sync.OnceValue(func() map[string]string {
	help := map[string]string{}
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", configSource, parser.ParseComments)
	if err != nil {
		return help // the compiler has read the same file
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "Config" {
			return true
		}
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			for _, name := range f.Names {
				help[name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
			}
		}
		return false
	})
	return help
})
