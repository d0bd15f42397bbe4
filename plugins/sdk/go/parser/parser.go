// Package parser makes a plugin that makes columns, and possibly fewer, more or other events, out of what it reads.
package parser

import (
	"unsafe"

	"tidemill"
)

// Export makes this program a plugin. configure checks the settings, a struct with json tags: a key that it does not have is refused.
func Export[S any](info tidemill.Info, configure func(S) (tidemill.Contract, tidemill.Call, error)) {
	tidemill.Export(info, func(settings S) (tidemill.Contract, tidemill.Call, tidemill.Decide, error) {
		contract, call, err := configure(settings)
		return contract, call, nil, err
	})
}

//go:wasmexport tidemill:plugin/parsing@0.1.0#parse
func parse(rows, columns, count, hasNow uint32, now int64, hasState, state, stateSize uint32) unsafe.Pointer {
	return tidemill.Parse(tidemill.Input{
		Rows: rows, Columns: columns, Count: count, HasNow: hasNow, Now: now, HasState: hasState, State: state, StateSize: stateSize,
	})
}

//go:wasmexport cabi_post_tidemill:plugin/parsing@0.1.0#parse
func done(unsafe.Pointer) { tidemill.Done() }
