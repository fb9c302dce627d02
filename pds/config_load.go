package pds

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caarlos0/env/v11"
)

// ConfigError lists everything that is wrong with the settings. Each problem is one line: which setting, what is wrong with it,
// and what would do.
type ConfigError struct{ Problems []string }

// Error joins the problems, one a line.
func (e *ConfigError) Error() string { return strings.Join(e.Problems, "\n") }

// envFileName is the name of a settings file in the data folder.
const envFileName = "pds.env"

// referenceEnvFile is where the reference's installer puts it.
const referenceEnvFile = "/pds/pds.env"

// DefaultConfig returns the settings of a server that nothing was told.
func DefaultConfig() *Config {
	cfg := &Config{origins: map[string]string{}}
	if problems := cfg.parse(nil); len(problems) > 0 {
		panic("pds: bad defaults: " + strings.Join(problems, "; ")) // a mistake in the tags above
	}
	return cfg
}

// LoadConfig reads the settings from the environment, given as KEY=value, and from a file in the format of the reference's
// pds.env; what the environment says counts. When envFile is "", the file is pds.env in the data folder or /pds/pds.env, if there
// is one. The error is a *ConfigError with all mistakes; the Config is returned with it, as far as it goes, so that it can be shown.
func LoadConfig(environ []string, envFile string) (*Config, error) {
	cfg := &Config{origins: map[string]string{}}
	values := map[string]string{}
	for _, kv := range environ {
		if name, value, _ := strings.Cut(kv, "="); value != "" {
			values[name] = value
			cfg.origins[name] = "environment"
		}
	}
	problems := cfg.readEnvFile(envFile, values)
	if level, ok := values["LOG_LEVEL"]; ok && values["PDS_LOG_LEVEL"] == "" {
		values["PDS_LOG_LEVEL"] = level // the reference's name
		cfg.origins["PDS_LOG_LEVEL"] = cfg.origins["LOG_LEVEL"] + ", LOG_LEVEL"
	}
	problems = append(problems, cfg.checkNames(values)...)
	parsed := cfg.parse(values)
	problems = append(problems, parsed...)
	problems = append(problems, cfg.check(parsed)...)
	if len(problems) > 0 {
		return cfg, &ConfigError{problems}
	}
	return cfg, nil
}

// readEnvFile adds the settings of the file to values.
func (c *Config) readEnvFile(path string, values map[string]string) (problems []string) {
	required := path != ""
	for _, candidate := range envFileCandidates(path, values) {
		text, err := os.ReadFile(candidate)
		if !required && (errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) {
			continue // a data folder that is no folder is told of by its own name
		}
		if err != nil {
			return []string{fmt.Sprintf("settings file: %v; name one that can be read with --env-file", err)}
		}
		c.EnvFile = candidate
		lines, problems := parseEnvFile(candidate, string(text))
		for _, l := range lines {
			if c.origins[l.name] == "environment" || l.value == "" {
				continue
			}
			values[l.name] = l.value
			c.origins[l.name] = fmt.Sprintf("%s:%d", candidate, l.line)
		}
		return problems
	}
	return nil
}

func envFileCandidates(path string, values map[string]string) []string {
	if path != "" {
		return []string{path}
	}
	return []string{filepath.Join(values["PDS_DATA_DIRECTORY"], envFileName), referenceEnvFile}
}

// parse fills the fields from values and the defaults. It returns a line for each value that cannot be read.
func (c *Config) parse(values map[string]string) (problems []string) {
	if values == nil {
		values = map[string]string{}
	}
	err := env.ParseWithOptions(c, env.Options{Environment: values, FuncMap: parsers})
	if err == nil {
		return nil
	}
	var all env.AggregateError
	if !errors.As(err, &all) {
		return []string{err.Error()}
	}
	for _, err := range all.Errors {
		var p env.ParseError
		if errors.As(err, &p) {
			name := variableOf(p.Name)
			problems = append(problems, fmt.Sprintf("%s: %s is %v", name, shown(name, values[name]), p.Err))
		} else {
			problems = append(problems, err.Error())
		}
	}
	return problems
}

// parsers read values of the types of Config's fields. Their errors say what the value should be.
var parsers = map[reflect.Type]env.ParserFunc{
	reflect.TypeFor[bool]():           func(s string) (any, error) { return parseBool(s) },
	reflect.TypeFor[int]():            func(s string) (any, error) { n, err := parseInt(s); return int(n), err },
	reflect.TypeFor[int64]():          func(s string) (any, error) { return parseInt(s) },
	reflect.TypeFor[time.Duration]():  func(s string) (any, error) { return parseMillis(s) },
	reflect.TypeFor[[]string]():       func(s string) (any, error) { return splitList(s), nil },
	reflect.TypeFor[[]netip.Prefix](): func(s string) (any, error) { return parsePrefixes(s) },
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, errors.New("neither true nor false; write true or false")
}

func parseInt(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, errors.New("not a whole number; write digits only, such as 3000")
	}
	return n, nil
}

// parseMillis reads milliseconds, the reference's unit, or a Go duration such as 72h.
func parseMillis(s string) (time.Duration, error) {
	const maxMillis = int64(1<<63-1) / int64(time.Millisecond)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n <= maxMillis && n >= -maxMillis {
		return time.Duration(n) * time.Millisecond, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, errors.New("not a time span; write milliseconds, such as 3600000, or 1h")
	}
	return d, nil
}

func splitList(s string) []string {
	var list []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

func parsePrefixes(s string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, part := range splitList(s) {
		p, err := netip.ParsePrefix(part)
		if err != nil {
			ip, err := netip.ParseAddr(part)
			if err != nil {
				return nil, fmt.Errorf("no list of addresses: %q is neither an address nor a network; write 192.0.2.1 or 192.0.2.0/24", part)
			}
			p = netip.PrefixFrom(ip, ip.BitLen())
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// field is one setting as the struct declares it.
type field struct {
	variable, name, group, secret, fallback string
	index                                   int
}

// fields are the settings in the order of the struct.
var fields = func() (list []field) {
	group := ""
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		f := t.Field(i)
		variable := f.Tag.Get("env")
		if variable == "" || variable == "-" {
			continue
		}
		if g := f.Tag.Get("group"); g != "" {
			group = g
		}
		list = append(list, field{variable, f.Name, group, f.Tag.Get("secret"), f.Tag.Get("envDefault"), i})
	}
	return list
}()

// variableOf returns the environment variable of a field of Config.
func variableOf(name string) string {
	for _, f := range fields {
		if f.name == name {
			return f.variable
		}
	}
	return name
}

// shown is a value as it may be printed: quoted, and nothing of a secret.
func shown(variable, value string) string {
	if isSecret(variable) {
		return "the value"
	}
	return strconv.Quote(value)
}

func isSecret(variable string) bool {
	return slices.ContainsFunc(fields, func(f field) bool { return f.variable == variable && f.secret != "" })
}
