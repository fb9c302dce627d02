package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// table aligns what is written to the standard output in columns, below their names, if there are any. It shows nothing before Flush.
func (p *program) table(columns ...string) *tabwriter.Writer {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	if len(columns) > 0 {
		fmt.Fprintln(w, strings.Join(columns, "\t"))
	}
	return w
}
