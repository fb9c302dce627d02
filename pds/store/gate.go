package store

import "sync"

// gate knows the open snapshots, and can hold them up while the write-ahead log is reset.
type gate struct {
	mu   sync.Mutex
	open map[*Snapshot]struct{} // guarded by mu
	wait chan struct{}          // guarded by mu; nil: no snapshot has to wait
}

func newGate() *gate { return &gate{open: make(map[*Snapshot]struct{})} }

func (g *gate) add(sn *Snapshot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open[sn] = struct{}{}
}

func (g *gate) remove(sn *Snapshot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, sn)
}

// shut returns nil, or what is closed when snapshots may read again.
func (g *gate) shut() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wait
}

// hold lets no transaction begin and ends those of all snapshots, each between two of its reads. release must be called.
func (g *gate) hold() {
	g.mu.Lock()
	g.wait = make(chan struct{})
	open := make([]*Snapshot, 0, len(g.open))
	for sn := range g.open {
		open = append(open, sn)
	}
	g.mu.Unlock()
	for _, sn := range open {
		sn.pause()
	}
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.wait)
	g.wait = nil
}
