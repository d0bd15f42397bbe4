//! Drops events whose level is below the least wanted.
//!
//!     level ─► keep or drop
//!
//! A plugin is handed a batch of rows as columns and answers for each row. It sees nothing else: no files, no network, no clock.
const std = @import("std");
const tm = @import("tidemill");

/// From the least to the most important.
const levels = [_][]const u8{ "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL" };

const Least = struct {
    pub const name = "{{name}}";
    pub const version = "0.1.0";
    pub const about = "Drops events whose level is below the least wanted";

    /// The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name.
    pub const Settings = struct {
        /// The least level that is kept.
        least: []const u8,
    };

    least: usize,

    /// Checks the settings, and says what is read. Only columns named in `reads` are handed over.
    pub fn configure(settings: Settings, contract: *tm.Contract) tm.Error!Least {
        contract.reads("level");
        const least = rank(settings.least) orelse {
            return tm.fail("`least` is `{s}`; write one of TRACE, DEBUG, INFO, WARN, ERROR, FATAL", .{settings.least});
        };
        return .{ .least = least };
    }

    pub fn keep(self: *Least, input: tm.Batch, _: tm.Context, output: *tm.Output) tm.Error!void {
        const column = try input.texts("level");
        for (0..input.rows) |row| {
            // An event without a level, or with another word as its level, is kept: dropping is for what is known.
            const level = rank(column.get(row) orelse "") orelse continue;
            if (level < self.least) output.drop(row);
        }
    }
};

fn rank(level: []const u8) ?usize {
    for (levels, 0..) |known, at| {
        if (std.ascii.eqlIgnoreCase(known, level)) return at;
    }
    return null;
}

comptime {
    tm.exportFilter(Least);
}
