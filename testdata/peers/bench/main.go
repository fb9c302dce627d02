// Command bench measures Perch beside the reference PDS: the same work on both, one server after the other, on the same
// machine in one run, and prints ratios beside the goals that the project has set itself.
//
//	go run ./bench                  everything, at most 12 minutes
//	go run ./bench -quick           two minutes
//	go run ./bench -only createRecord -perch-only
//	go run ./bench -big             a repository of 1,000,000 records and 10,000 accounts, Perch only
//
// It needs what setup.sh installs: Node, the reference PDS and a PLC directory, which runs as a process of its own and
// serves both. Rate limits and request logs are off on both sides. The load comes from one thin client that shares the
// machine; what it uses itself is not counted.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/bench/wire"
)

const startTimeout = 30 * time.Second

type options struct {
	perch         string
	quick         bool
	big           bool
	perchOnly     bool
	referenceOnly bool
	only          *regexp.Regexp
	json          string
	dir           string
	keep          bool
	seconds       time.Duration
	records       int
	accounts      int
}

// bench is one server under measurement, with what the cases have made on it.
type bench struct {
	server  *server.Process
	quick   bool
	limit   time.Duration // of one case
	made    map[string][]*wire.Account
	filled  map[string]bool
	rkeys   map[string][]string
	figures map[string]Figure
	idleRSS float64
	peakRSS float64
}

func main() {
	o, err := parseFlags(os.Args[1:])
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string) (*options, error) {
	o := new(options)
	fs := flag.NewFlagSet("bench", flag.ExitOnError)
	fs.StringVar(&o.perch, "perch", "", "the perch program; built from this tree when empty")
	fs.BoolVar(&o.quick, "quick", false, "short run with smaller repositories, for a look at the direction")
	fs.BoolVar(&o.big, "big", false, "measure a large repository and many accounts instead")
	fs.BoolVar(&o.perchOnly, "perch-only", false, "leave the reference out")
	fs.BoolVar(&o.referenceOnly, "reference-only", false, "leave Perch out")
	only := fs.String("only", "", "run the cases whose names match this regular expression")
	fs.StringVar(&o.json, "json", "", "write the figures to this file")
	fs.StringVar(&o.dir, "dir", "", "folder for the servers' data; a temporary one when empty. Its disk is what is measured")
	fs.BoolVar(&o.keep, "keep", false, "keep the data and logs")
	fs.DurationVar(&o.seconds, "time", 0, "length of a case (5s, with -quick 1.5s)")
	fs.IntVar(&o.records, "records", 1_000_000, "records of the large repository of -big; 0 leaves that half out")
	fs.IntVar(&o.accounts, "accounts", 10_000, "accounts of -big; 0 leaves that half out")
	fs.Parse(args)
	if o.seconds == 0 {
		o.seconds = 5 * time.Second
		if o.quick {
			o.seconds = 1500 * time.Millisecond
		}
	}
	var err error
	o.only, err = regexp.Compile(*only)
	return o, err
}

func run(ctx context.Context, o *options) error {
	peers, err := server.PeersDir()
	if err != nil {
		return err
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "perch-bench-"); err != nil {
			return err
		}
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	if !o.keep {
		defer os.RemoveAll(o.dir)
	}
	if o.perch == "" && !o.referenceOnly {
		if o.perch, err = server.BuildPerch(o.dir); err != nil {
			return err
		}
	}
	plc, err := startPLC(ctx, peers, o.dir)
	if err != nil {
		return err
	}
	defer plc.Stop()
	if o.big {
		return runBig(ctx, o, plcURL(plc))
	}
	return compare(ctx, o, peers, plcURL(plc))
}

func startPLC(ctx context.Context, peers, dir string) (*server.Process, error) {
	port, err := server.FreePort()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return server.Start(ctx, server.PLC(peers, filepath.Join(dir, "plc"), port))
}

func plcURL(plc *server.Process) string { return "http://localhost:" + strconv.Itoa(plc.Port) }

func compare(ctx context.Context, o *options, peers, plc string) error {
	results := map[string]*bench{}
	began := time.Now()
	for _, name := range []string{"perch", "reference"} {
		if name == "reference" && o.perchOnly || name == "perch" && o.referenceOnly {
			continue
		}
		port, err := server.FreePort()
		if err != nil {
			return err
		}
		dir := filepath.Join(o.dir, name)
		spec := server.Perch(o.perch, dir, port, plc)
		if name == "reference" {
			spec = server.Reference(peers, dir, port, plc)
		}
		if results[name], err = measure(ctx, o, spec); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	report(os.Stdout, results["perch"], results["reference"])
	for _, b := range results {
		fmt.Printf("\nThe large repository holds %d records. ", b.bigSize())
		break
	}
	fmt.Printf("Took %s.\n", time.Since(began).Round(time.Second))
	if o.json == "" {
		return nil
	}
	return writeJSON(o.json, results)
}

// measure runs all wanted cases on a fresh server.
func measure(ctx context.Context, o *options, spec server.Spec) (*bench, error) {
	b, err := startBench(ctx, o, spec)
	if err != nil {
		return nil, err
	}
	defer b.server.Stop()
	for i, c := range cases {
		if !o.only.MatchString(c.name) {
			continue
		}
		if ctx.Err() != nil {
			return b, ctx.Err()
		}
		fmt.Fprintf(os.Stderr, "%-10s %2d/%d %s\n", spec.Name, i+1, len(cases), c.name)
		f, err := c.run(b)
		if err != nil {
			f.Failure = err.Error()
			f.Failed++
		}
		if f.Failed > 0 {
			fmt.Fprintf(os.Stderr, "%-10s      %d failed: %s\n", spec.Name, f.Failed, f.Failure)
		}
		b.figures[c.name] = f
		if !b.server.Running() {
			return b, fmt.Errorf("the server ended during %q\n%s", c.name, b.server.LogTail())
		}
	}
	return b, b.memory()
}

func startBench(ctx context.Context, o *options, spec server.Spec) (*bench, error) {
	if err := os.MkdirAll(spec.Log[:len(spec.Log)-len(filepath.Ext(spec.Log))], 0o755); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p, err := server.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	u, err := p.Usage()
	return &bench{
		server: p, quick: o.quick, limit: o.seconds, idleRSS: mb(u.RSS),
		made: map[string][]*wire.Account{}, filled: map[string]bool{}, rkeys: map[string][]string{}, figures: map[string]Figure{},
	}, err
}

func (b *bench) memory() error {
	u, err := b.server.Usage()
	b.peakRSS = mb(u.Peak)
	return err
}

func (b *bench) pick(quick, full int) int {
	if b.quick {
		return quick
	}
	return full
}

// accounts returns n accounts of a group, made when they are asked for the first time.
func (b *bench) accounts(group string, n int) ([]*wire.Account, error) {
	c := wire.NewConn(b.server.Addr)
	defer c.Close()
	prefix := strings.ToLower(strings.Map(func(r rune) rune {
		if r == ' ' || r == '.' {
			return -1
		}
		return r
	}, group))
	for i := len(b.made[group]); i < n; i++ {
		a, err := wire.CreateAccount(c, fmt.Sprintf("%sx%d", prefix, i))
		if err != nil {
			return nil, err
		}
		b.made[group] = append(b.made[group], a)
	}
	return b.made[group][:n], nil
}

func writeJSON(path string, results map[string]*bench) error {
	out := map[string]any{}
	for name, b := range results {
		out[name] = map[string]any{"idleRSSMB": b.idleRSS, "peakRSSMB": b.peakRSS, "cases": b.figures}
	}
	data, err := json.MarshalIndent(out, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
