//! Lines such as `2026-01-31T12:00:00Z WARN checkout took 812 ms` as columns.
//!
//!     body ─► timestamp · level · message
//!
//! A plugin is handed a batch of rows as columns and hands columns back. It sees nothing else: no files, no network, no clock.
const std = @import("std");
const tm = @import("tidemill");

/// What stands after a line's time, if the line names its level.
const Level = enum { TRACE, DEBUG, INFO, WARN, ERROR, FATAL };

const Lines = struct {
    pub const name = "{{name}}";
    pub const version = "0.1.0";
    pub const about = "Lines with a time, a level and a message";

    /// The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name.
    pub const Settings = struct {
        /// The level of lines that name none; without it they have none.
        default_level: ?Level = null,
    };

    default_level: ?[]const u8,

    /// Checks the settings, and says what is read and what is written. Only columns named in `reads` are handed over.
    pub fn configure(settings: Settings, contract: *tm.Contract) tm.Error!Lines {
        contract.reads("body");
        contract.writes("timestamp", .timestamp);
        contract.writes("level", .utf8);
        contract.writes("message", .utf8);
        return .{ .default_level = if (settings.default_level) |level| @tagName(level) else null };
    }

    pub fn parse(self: *Lines, input: tm.Batch, _: tm.Context, output: *tm.Output) tm.Error!void {
        const bodies = try input.texts("body");
        const timestamps = output.timestamps("timestamp");
        const levels = output.words("level"); // text with few distinct values
        const messages = output.slices("message", bodies); // text cut out of the body
        for (0..input.rows) |row| {
            var line = bodies.get(row) orelse "";
            const time = tm.takeUntil(&line, ' ') orelse "";
            const timestamp = tm.parseTimestamp(time) orelse {
                // The row goes to `tidemill.dead_letters` with this reason; the others go on.
                output.refuse(row, "a time, a space and a message should stand here", .{});
                continue;
            };
            timestamps.put(timestamp);
            levels.put(takeLevel(&line) orelse self.default_level);
            messages.put(line);
        }
    }
};

/// The level that the line names, which is cut off.
fn takeLevel(line: *[]const u8) ?[]const u8 {
    var rest = line.*;
    const word = tm.takeUntil(&rest, ' ') orelse return null;
    _ = std.meta.stringToEnum(Level, word) orelse return null;
    line.* = rest;
    return word;
}

comptime {
    tm.exportParser(Lines);
}
