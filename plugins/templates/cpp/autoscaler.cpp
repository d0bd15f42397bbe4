// As many replicas as the signal needs, at so much a replica.
//
//     signal ─► value / per_replica, rounded up ─► replicas, and why
//
// The pipeline file's policy has the last word: it keeps the proposal between `min` and `max`, and lets nothing move too fast.
#include "tidemill.hpp"

#include <algorithm>
#include <cmath>

using namespace tidemill;

class PerReplica {
    double per_replica; // how much one replica can take
    std::string name;   // the signal that says how much there is: one of the scaler's queries

  public:
    // Checks the settings. One that is not asked for here is refused by name.
    PerReplica(Settings &settings, Contract &) : per_replica(settings.number("per_replica")), name(settings.text("signal")) {
        settings.require("per_replica");
        settings.require("signal");
        if (!(per_replica > 0)) fail("`per_replica` is ", per_replica, "; write how much one replica can take, more than 0");
    }

    // One tick. The reason stands in `tidemill.decisions`: say it with the figures.
    Proposal decide(const Request &request) {
        const uint32_t now = request.replicas();
        const auto signal = request.signal(name.c_str());
        if (!signal) fail("the scaler has no query `", name, "`");
        // Only an answer counts behind which every source is caught up.
        const auto value = signal && signal->is_fresh() ? signal->value() : std::nullopt;
        if (!value) return {now, text(name, " is not fresh; stays at ", now), ""};
        const auto replicas = static_cast<uint32_t>(std::clamp(std::ceil(*value / per_replica), 0.0, 4294967295.0));
        return {replicas, text(name, " ", *value, " / ", per_replica, " a replica → ", replicas, "; was ", now), ""};
    }
};

TIDEMILL_AUTOSCALER(PerReplica, "{{name}}", "0.1.0", "As many replicas as the signal needs at so much a replica")
