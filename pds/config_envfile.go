package pds

import (
	"fmt"
	"regexp"
	"strings"
)

// envLine is one setting of a settings file.
type envLine struct {
	name, value string
	line        int // from 1
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseEnvFile reads NAME=value lines as docker compose and the shell read them: blank lines and # comments are skipped, "export"
// before a name too, values may stand in single quotes (taken as they are) or double quotes (with \n, \t, \", \\, \$), and an
// unquoted value ends before " #". Variables are not replaced. The last line of a name counts.
func parseEnvFile(path, text string) (lines []envLine, problems []string) {
	for i, raw := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line := strings.TrimSpace(raw)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.TrimSpace(strings.TrimPrefix(line, "export "))
		name, rest, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || !envName.MatchString(name) {
			problems = append(problems, fmt.Sprintf("%s:%d: the line is not NAME=value; write one, or # before it", path, i+1))
			continue
		}
		value, err := envValue(rest)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s:%d: %s %v", path, i+1, name, err))
			continue
		}
		lines = append(lines, envLine{name, value, i + 1})
	}
	return lines, problems
}

// envComment begins a comment after an unquoted value. A # without a space before it belongs to the value, such as a colour.
var envComment = regexp.MustCompile(`\s#`)

func envValue(rest string) (string, error) {
	s := strings.TrimSpace(rest)
	if s == "" || s[0] != '\'' && s[0] != '"' {
		if at := envComment.FindStringIndex(rest); at != nil {
			rest = rest[:at[0]]
		}
		return strings.TrimSpace(rest), nil
	}
	quote, value := s[0], strings.Builder{}
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			if rest := strings.TrimSpace(s[i+1:]); rest != "" && rest[0] != '#' {
				return "", fmt.Errorf("has text after the closing quote; quote the whole value")
			}
			return value.String(), nil
		case s[i] == '\\' && quote == '"' && i+1 < len(s):
			i++
			value.WriteString(unescape(s[i]))
		default:
			value.WriteByte(s[i])
		}
	}
	return "", fmt.Errorf("has no closing quote; add it at the end of the line")
}

func unescape(c byte) string {
	switch c {
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case '"', '\\', '$', '`':
		return string(c)
	}
	return `\` + string(c)
}
