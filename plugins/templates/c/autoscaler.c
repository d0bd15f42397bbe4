// As many replicas as the signal needs, at so much a replica.
//
//     signal ─► value / per_replica, rounded up ─► replicas, and why
//
// The pipeline file's policy has the last word: it keeps the proposal between `min` and `max`, and lets nothing move too fast.
#include "tidemill.h"

#include <math.h>

static double per_replica; // how much one replica can take
static const char *name;   // the signal that says how much there is: one of the scaler's queries

// Checks the settings. One that is not asked for here is refused by name.
static void configure(tm_settings *settings, tm_contract *contract) {
    tm_require(settings, "per_replica");
    tm_require(settings, "signal");
    per_replica = tm_setting_float(settings, "per_replica", 1);
    name = tm_setting_text(settings, "signal", "").data;
    if (!(per_replica > 0)) tm_fail("`per_replica` is %g; write how much one replica can take, more than 0", per_replica);
}

// One tick. The reason stands in `tidemill.decisions`: say it with the figures.
static void decide(const tm_request *request, tm_proposal *proposal) {
    const uint32_t now = request->workload.replicas;
    const tm_signal *signal = tm_find_signal(request, name);
    double value;
    if (!signal) {
        tm_fail("the scaler has no query `%s`", name);
    } else if (signal->freshness == TM_FRESH && tm_signal_value(signal, &value)) {
        const uint32_t replicas = (uint32_t)fmin(fmax(0, ceil(value / per_replica)), UINT32_MAX);
        tm_propose(proposal, replicas, "%s %.10g / %.10g a replica → %u; was %u", name, value, per_replica, replicas, now);
    } else {
        // Only an answer counts behind which every source is caught up.
        tm_propose(proposal, now, "%s is not fresh; stays at %u", name, now);
    }
}

TM_AUTOSCALER("{{name}}", "0.1.0", "As many replicas as the signal needs at so much a replica", configure, decide)
