package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

var (
	// quoted is a command line in running text, or in the help of another command.
	quoted = regexp.MustCompile("[`\"]perch ([a-z][^`\"]*)[`\"]")
	// shown is one in a block of code, with whatever stands before it.
	shown = regexp.MustCompile(`(?m)^ *(?:[^#\n]*[ /=])?perch ((?:serve|dev|adopt|check|config|secret|account|migrate|invite|mail|audit|version)(?: [^#\n]*)?)`)
	block = regexp.MustCompile("(?s)\n *```[^\n]*\n(.*?)\n *```")
)

// Whatever the documents and the help texts tell people to type exists.
func TestDocsNameCommandsThatExist(t *testing.T) {
	root := (&program{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}).command()
	docs, err := filepath.Glob("../../*.md")
	if err != nil || len(docs) < 5 {
		t.Fatalf("%v %v", docs, err)
	}
	found := 0
	check := func(where string, lines [][]string) {
		for _, l := range lines {
			found++
			if why := mistake(root, strings.Fields(l[1])); why != "" {
				t.Errorf("%s: perch %s: %s", where, l[1], why)
			}
		}
	}
	for _, name := range docs {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		check(filepath.Base(name), quoted.FindAllStringSubmatch(string(text), -1))
		for _, b := range block.FindAllStringSubmatch(string(text), -1) {
			check(filepath.Base(name), shown.FindAllStringSubmatch(b[1], -1))
		}
	}
	var helps func(c *cli.Command)
	helps = func(c *cli.Command) {
		check(c.FullName()+" --help", quoted.FindAllStringSubmatch(strings.ReplaceAll(c.Usage+" "+c.Description, "\n", " "), -1))
		for _, sub := range c.Commands {
			helps(sub)
		}
	}
	helps(root)
	if found < 60 {
		t.Errorf("only %d command lines were found", found)
	}
}

// mistake says what of a command line does not exist, or "".
func mistake(c *cli.Command, words []string) string {
	known := func(flag string) bool {
		return slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), flag) })
	}
	for i, w := range words {
		switch sub := c.Command(w); {
		case strings.HasPrefix(w, "--"):
			if name := strings.TrimRight(strings.TrimPrefix(w, "--"), ".,;:)"); !known(name) && name != "help" {
				return "no flag --" + name
			}
		case sub != nil:
			c = sub
		case len(c.Commands) > 0 && (i == 0 || c.ArgsUsage == "") && w == strings.ToLower(w):
			return "no command " + w
		}
	}
	return ""
}
