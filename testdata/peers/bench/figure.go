package main

import (
	"slices"
	"time"
)

// Figure is what one case measured on one server. A zero field was not measured.
type Figure struct {
	Ops        int     `json:"ops"`
	Seconds    float64 `json:"seconds"`
	PerSecond  float64 `json:"perSecond"`
	P50        float64 `json:"p50ms"`
	P99        float64 `json:"p99ms"`
	CPU        float64 `json:"cpuMsPerOp"`        // user and system, of the server's process tree
	RSS        float64 `json:"rssMB"`             // at the end of the case
	Written    float64 `json:"writtenKBPerOp"`    // bytes the server caused to be written to storage
	MBPerSec   float64 `json:"mbPerSecond"`       // of payload
	MBPerCPU   float64 `json:"mbPerCPUSecond"`    // of payload
	DeliverP50 float64 `json:"deliverP50ms"`      // from a write's answer to its event at a consumer
	DeliverP99 float64 `json:"deliverP99ms"`      //
	Failed     int     `json:"failed"`            // operations that were refused or broke off
	Failure    string  `json:"failure,omitempty"` // the first of them
	Skipped    string  `json:"skipped,omitempty"` // why the case did not run
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// percentile sorts the latencies in place; q is between 0 and 1.
func percentile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)]
}
