// As many replicas as the signal needs, at so much a replica.
//
//	signal ─► value / per_replica, rounded up ─► replicas, and why
//
// The pipeline file's policy has the last word: it keeps the proposal between `min` and `max`, and lets nothing move too fast.
package main

import (
	"fmt"
	"math"

	"tidemill"
	"tidemill/autoscaler"
)

// The scaler's `settings`, as a pipeline file has them. A key that is not here is refused by name.
type settings struct {
	PerReplica float64 `json:"per_replica"` // how much one replica can take
	Signal     string  `json:"signal"`      // which of the scaler's queries says how much there is
}

func init() {
	info := tidemill.Info{Name: "{{name}}", Version: "0.1.0", About: "As many replicas as the signal needs at so much a replica"}
	autoscaler.Export(info, configure)
}

func main() {}

// Checks the settings.
func configure(s settings) (tidemill.Decide, error) {
	if !(s.PerReplica > 0) {
		return nil, fmt.Errorf("`per_replica` is %v; write how much one replica can take, more than 0", s.PerReplica)
	}
	return s.decide, nil
}

// One tick. The reason stands in `tidemill.decisions`: say it with the figures.
func (s settings) decide(request *tidemill.Request) (tidemill.Proposal, error) {
	now := request.Workload.Replicas
	signal := request.Signals[s.Signal]
	if signal == nil {
		return tidemill.Proposal{}, fmt.Errorf("the scaler has no query `%s`", s.Signal)
	}
	value, ok := signal.Value()
	// Only an answer counts behind which every source is caught up.
	if signal.Freshness != tidemill.Fresh || !ok {
		return tidemill.Proposal{Replicas: int64(now), Reason: fmt.Sprintf("%s is not fresh; stays at %d", s.Signal, now)}, nil
	}
	replicas := int64(math.Max(0, math.Ceil(value/s.PerReplica)))
	reason := fmt.Sprintf("%s %v / %v a replica → %d; was %d", s.Signal, value, s.PerReplica, replicas, now)
	return tidemill.Proposal{Replicas: replicas, Reason: reason}, nil
}
