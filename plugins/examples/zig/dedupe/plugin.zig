//! Drops a line that is the same as the one before it, also across batches: the last line is the state.
const std = @import("std");
const tm = @import("tidemill");

const Dedupe = struct {
    pub const name = "dedupe-zig";
    pub const version = "0.1.0";
    pub const about = "Drops a line that is the same as the one before it, in Zig";
    pub const Settings = struct {};

    pub fn configure(_: Settings, contract: *tm.Contract) tm.Error!Dedupe {
        contract.reads("body");
        contract.keeps_state = true;
        return .{};
    }

    pub fn keep(_: *Dedupe, input: tm.Batch, context: tm.Context, output: *tm.Output) tm.Error!void {
        const bodies = try input.texts("body");
        var last = context.state;
        for (0..input.rows) |row| {
            defer last = bodies.get(row);
            const body = bodies.get(row) orelse continue;
            if (std.mem.eql(u8, body, last orelse continue)) output.drop(row);
        }
        output.state(last orelse "");
    }
};

comptime {
    tm.exportFilter(Dedupe);
}
