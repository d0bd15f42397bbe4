//! As many replicas as the signal needs, at so much a replica.
//!
//!     signal ─► value / per_replica, rounded up ─► replicas, and why
//!
//! The pipeline file's policy has the last word: it keeps the proposal between `min` and `max`, and lets nothing move too fast.
const std = @import("std");
const tm = @import("tidemill");

const PerReplica = struct {
    pub const name = "{{name}}";
    pub const version = "0.1.0";
    pub const about = "As many replicas as the signal needs at so much a replica";

    /// The scaler's `settings`, as a pipeline file has them. A key that is not here is refused by name.
    pub const Settings = struct {
        /// How much one replica can take.
        per_replica: f64,
        /// The signal that says how much there is: the name of one of the scaler's queries.
        signal: []const u8,
    };

    settings: Settings,

    /// Checks the settings.
    pub fn configure(settings: Settings, _: *tm.Contract) tm.Error!PerReplica {
        if (settings.per_replica > 0) return .{ .settings = settings };
        return tm.fail("`per_replica` is {d}; write how much one replica can take, more than 0", .{settings.per_replica});
    }

    /// One tick. The reason stands in `tidemill.decisions`: say it with the figures.
    pub fn decide(self: *PerReplica, request: *const tm.Request) tm.Error!tm.Proposal {
        const now = request.workload.replicas;
        const wanted = self.settings.signal;
        const signal = request.signal(wanted) orelse return tm.fail("the scaler has no query `{s}`", .{wanted});
        // Only an answer counts behind which every source is caught up.
        const fresh = if (signal.freshness == .fresh) signal.value() else null;
        const value = fresh orelse return .{
            .replicas = now,
            .reason = tm.format("{s} is not fresh; stays at {d}", .{ wanted, now }),
        };
        const replicas = std.math.lossyCast(u32, @ceil(value / self.settings.per_replica)); // 0 for less than 0
        return .{
            .replicas = replicas,
            .reason = tm.format("{s} {d} / {d} a replica → {d}; was {d}", .{ wanted, value, self.settings.per_replica, replicas, now }),
        };
    }
};

comptime {
    tm.exportAutoscaler(PerReplica);
}
