// Package autoscaler makes a plugin that proposes how many replicas a workload should run.
package autoscaler

import (
	"unsafe"

	"tidemill"
)

// Export makes this program a plugin. configure checks the settings, a struct with json tags: a key that it does not have is refused.
func Export[S any](info tidemill.Info, configure func(S) (tidemill.Decide, error)) {
	tidemill.Export(info, func(settings S) (tidemill.Contract, tidemill.Call, tidemill.Decide, error) {
		decide, err := configure(settings)
		return tidemill.Contract{}, nil, decide, err
	})
}

//go:wasmexport tidemill:plugin/autoscaling@0.1.0#decide
func decide(request uint32) unsafe.Pointer { return tidemill.DecideAt(request) }

//go:wasmexport cabi_post_tidemill:plugin/autoscaling@0.1.0#decide
func done(unsafe.Pointer) { tidemill.Done() }
