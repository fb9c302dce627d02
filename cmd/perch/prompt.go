package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// prompter asks on the error output and reads the answers from the input, a line each.
type prompter struct {
	p     *program
	lines *bufio.Reader
}

func (p *program) prompter() *prompter { return &prompter{p, bufio.NewReader(p.stdin)} }

// errNoAnswer says that the input ended before a question was answered.
var errNoAnswer = errors.New("no answer was given")

// ask returns the answer without space around it. It is never "".
func (q *prompter) ask(question string) (string, error) {
	fmt.Fprint(q.p.stderr, question, " ")
	line, err := q.lines.ReadString('\n')
	return q.answer(strings.TrimSpace(line), err)
}

// secret is ask for what must not be seen: on a terminal it is not shown.
func (q *prompter) secret(question string) (string, error) {
	f, ok := q.p.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(q.p.stderr, question, " ")
		line, err := q.lines.ReadString('\n')
		return q.answer(strings.TrimRight(line, "\r\n"), err)
	}
	fmt.Fprint(q.p.stderr, question, " ")
	b, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(q.p.stderr)
	return q.answer(string(b), err)
}

func (q *prompter) answer(text string, err error) (string, error) {
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if text == "" {
		return "", errNoAnswer
	}
	return text, nil
}

// onTerminal tells whether somebody looks at the error output as it is written.
func (p *program) onTerminal() bool {
	f, ok := p.stderr.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
