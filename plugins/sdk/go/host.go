package tidemill

import (
	"errors"
	"fmt"
	"unsafe"
)

// Freshness is how far a signal can be believed.
type Freshness uint8

// Fresh: answered, and every source behind it is caught up. Stale: answered, but a source behind it is not. Missing: answered with
// no row. Failed: not answered.
const (
	Fresh Freshness = iota
	Stale
	Missing
	Failed
)

// Signal is the latest answer of one query of the scaler. Message says why it is missing or failed.
type Signal struct {
	Name       string
	Freshness  Freshness
	Table      *Batch
	Message    string
	CaughtUpAt *int64
}

// Value is the first row's `value`, or of its only column of numbers; false where there is none.
func (s *Signal) Value() (float64, bool) {
	name := ""
	for _, column := range s.Table.Names() {
		kind, _ := s.Table.Type(column)
		if kind != Int64 && kind != Float64 {
			continue
		}
		if column == "value" {
			name = column
			break
		}
		if name != "" {
			return 0, false
		}
		name = column
	}
	if name == "" || s.Table.Rows == 0 {
		return 0, false
	}
	floats := s.Table.Floats(name)
	return floats.Get(0)
}

// Member is one replica of the workload, where they are told apart. Times are nanoseconds since 1970.
type Member struct {
	Name                 string
	Ready                bool
	StartedAt, ChangedAt int64
}

// Workload is what is scaled: how many replicas are asked for, how many of them serve, and how many there may be.
type Workload struct {
	Name                      string
	Replicas, Ready, Min, Max uint32
	Members                   []Member
}

// Decision is what was decided in an earlier tick; Proposed is nil where the plugin failed.
type Decision struct {
	At       int64
	Replicas uint32
	Proposed *uint32
	Decided  uint32
	Reason   string
}

// Advice is what another decider proposes in this tick; Replicas is nil where it failed.
type Advice struct {
	Name     string
	Replicas *uint32
	Reason   string
}

// Request is what an autoscaler decides on. Decisions are the latest, newest last; State is what the last tick handed back.
type Request struct {
	Now       int64
	Workload  Workload
	Signals   map[string]*Signal
	Decisions []Decision
	Advice    []Advice
	State     []byte
}

// Proposal is how many replicas there should be, and why: in words, with the figures.
type Proposal struct {
	Replicas int64
	Reason   string
	State    []byte
}

// Level of a line in `tidemill.logs`.
type Level uint32

// The levels.
const (
	Trace Level = iota
	Debug
	Information
	Warn
	Error
)

//go:wasmimport tidemill:plugin/log@0.1.0 log
func hostLog(level uint32, message unsafe.Pointer, size uint32)

// Log writes a line to `tidemill.logs`, marked with the stage. Not for data.
func Log(level Level, format string, arguments ...any) {
	message := fmt.Sprintf(format, arguments...)
	hostLog(uint32(level), unsafe.Pointer(unsafe.StringData(message)), uint32(len(message)))
}

//go:wasmimport tidemill:plugin/tables@0.1.0 columns
func hostColumns(table unsafe.Pointer, tableSize uint32, answer unsafe.Pointer)

//go:wasmimport tidemill:plugin/tables@0.1.0 lookup
func hostLookup(table unsafe.Pointer, tableSize uint32, key unsafe.Pointer, keySize uint32, offsets unsafe.Pointer, count uint32,
	data unsafe.Pointer, dataSize uint32, want unsafe.Pointer, wantCount uint32, answer unsafe.Pointer)

//go:wasmimport tidemill:plugin/tables@0.1.0 lookup-network
func hostLookupNetwork(table unsafe.Pointer, tableSize uint32, key unsafe.Pointer, keySize uint32, offsets unsafe.Pointer,
	count uint32, data unsafe.Pointer, dataSize uint32, want unsafe.Pointer, wantCount uint32, answer unsafe.Pointer)

func ofText(text string) (unsafe.Pointer, uint32) { return unsafe.Pointer(unsafe.StringData(text)), uint32(len(text)) }

// Columns are the names of a lookup table's columns.
func Columns(table string) ([]string, error) {
	a := newArea(12)
	at, size := ofText(table)
	hostColumns(at, size, a.at())
	if a[0] != 0 {
		return nil, errors.New(a.list(4).text())
	}
	var names []string
	for _, name := range slice[list](a.list(4)) {
		names = append(names, name.text())
	}
	return names, nil
}

// Lookup finds for each key the row of a table whose column `key` equals it: a batch of the columns `want`, null where there is none.
func Lookup(table, key string, keys []string, want []string) (*Batch, error) {
	return find(hostLookup, table, key, keys, want)
}

// LookupNetwork does so for addresses and a column of networks such as 10.0.0.0/8: of several the narrowest.
func LookupNetwork(table, key string, addresses []string, want []string) (*Batch, error) {
	return find(hostLookupNetwork, table, key, addresses, want)
}

type search func(table unsafe.Pointer, tableSize uint32, key unsafe.Pointer, keySize uint32, offsets unsafe.Pointer, count uint32,
	data unsafe.Pointer, dataSize uint32, want unsafe.Pointer, wantCount uint32, answer unsafe.Pointer)

func find(call search, table, key string, keys, want []string) (*Batch, error) {
	packed := TextWriter{kind: Binary, offsets: make([]uint32, 1, len(keys)+1)}
	for _, one := range keys {
		packed.Push(one)
	}
	a := newArea(12)
	wanted := newArea(8)
	wanted.records(0, len(want), textSize, func(at int, record area) { record.text(0, want[at]) })
	tableAt, tableSize := ofText(table)
	keyAt, keySize := ofText(key)
	call(tableAt, tableSize, keyAt, keySize, unsafe.Pointer(unsafe.SliceData(packed.offsets)), uint32(len(packed.offsets)),
		unsafe.Pointer(unsafe.SliceData(packed.data)), uint32(len(packed.data)), pointer(wanted.get(0)), wanted.get(4), a.at())
	if a[0] != 0 {
		return nil, errors.New(a.list(4).text())
	}
	return wireBatch{uint32(len(keys)), a.list(4)}.batch(), nil
}
