package server

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU times in /proc: USER_HZ, 100 on every Linux.
const clockTick = 10 * time.Millisecond

// Usage is what a process tree has used since it started, and its memory now.
type Usage struct {
	CPU     time.Duration // user and system, with children that have ended
	Written int64         // bytes it caused to be written to storage
	RSS     int64         // resident bytes now
	Peak    int64         // highest resident bytes since ResetPeak; of several processes the sum of their peaks
}

// Sub returns what was used between an earlier reading and this one; the memory is this one's.
func (u Usage) Sub(earlier Usage) Usage {
	u.CPU -= earlier.CPU
	u.Written -= earlier.Written
	return u
}

// Usage reads /proc for the process and all its descendants.
func (p *Process) Usage() (Usage, error) {
	var u Usage
	for _, pid := range p.tree() {
		if err := u.add(pid); err != nil && pid == p.PID() {
			return u, err
		}
	}
	return u, nil
}

// ResetPeak makes the kernel forget the highest memory so far.
func (p *Process) ResetPeak() {
	for _, pid := range p.tree() {
		os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // refused in some containers: Peak then is that of the whole life
	}
}

func (u *Usage) add(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	fields := statFields(string(stat))
	if len(fields) < 15 {
		return fmt.Errorf("short /proc/%d/stat", pid)
	}
	for _, f := range fields[11:15] { // utime stime cutime cstime
		n, _ := strconv.ParseInt(f, 10, 64)
		u.CPU += time.Duration(n) * clockTick
	}
	u.RSS += procField(pid, "status", "VmRSS:") << 10
	u.Peak += procField(pid, "status", "VmHWM:") << 10
	u.Written += procField(pid, "io", "write_bytes:")
	return nil
}

// statFields splits what follows the command in /proc/pid/stat: [0] is the state, [1] the parent's id.
func statFields(stat string) []string {
	_, rest, _ := strings.Cut(stat[strings.LastIndexByte(stat, ')')+1:], " ")
	return strings.Fields(rest)
}

func procField(pid int, file, name string) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), name)
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(f[0], 10, 64)
	return n
}

// tree returns the ids of the process and its descendants.
func (p *Process) tree() []int {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		if f := statFields(string(stat)); len(f) > 1 {
			parent, _ := strconv.Atoi(f[1])
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{p.PID()}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}
