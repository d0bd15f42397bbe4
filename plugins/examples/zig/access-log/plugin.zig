//! Web server access logs: the `common` and `combined` formats of nginx and Apache.
//!
//!     client identity user [time] "request" status bytes  "referer" "user agent"  more…
//!     └──────────────── common ───────────────────────┘
//!     └──────────────── combined ───────────────────────────────────────────────┘
//!
//! line.zig takes a line apart without copying, this file puts the parts into columns. Bytes that are not UTF-8 show as U+FFFD.
const std = @import("std");
const tm = @import("tidemill");
const Dates = @import("date.zig").Dates;
const Format = @import("line.zig").Format;
const Quoted = @import("quoted.zig").Quoted;
const Reader = @import("line.zig").Reader;

const AccessLog = struct {
    pub const name = "access-log-zig";
    pub const version = "0.1.0";
    pub const about = "Access logs of nginx and Apache, in Zig";

    pub const Settings = struct {
        /// Which format the lines have; `auto` decides line by line.
        format: Format = .auto,
    };

    format: Format,
    dates: Dates = .{},

    pub fn configure(settings: Settings, contract: *tm.Contract) tm.Error!AccessLog {
        contract.reads("body");
        contract.writes("timestamp", .timestamp);
        for ([_][]const u8{ "client", "user", "method", "path", "protocol", "request" }) |text| contract.writes(text, .utf8);
        contract.writes("status", .int64);
        contract.writes("bytes", .int64);
        if (settings.format != .common) {
            contract.writes("referer", .utf8);
            contract.writes("user_agent", .utf8);
        }
        return .{ .format = settings.format };
    }

    pub fn parse(self: *AccessLog, input: tm.Batch, _: tm.Context, output: *tm.Output) tm.Error!void {
        const bodies = try input.texts("body");
        const timestamp = output.timestamps("timestamp");
        const client = output.slices("client", bodies);
        const user = output.words("user");
        const method = output.words("method");
        const path = output.slices("path", bodies);
        const protocol = output.words("protocol");
        const request = output.slices("request", bodies);
        const status = output.ints("status");
        const bytes = output.ints("bytes");
        const referer = if (self.format != .common) output.slices("referer", bodies) else null;
        const user_agent = if (self.format != .common) output.slices("user_agent", bodies) else null;
        for (0..input.rows) |row| {
            const body = bodies.get(row) orelse {
                output.refuse(row, "there is no body to parse", .{});
                continue;
            };
            var reader: Reader = .{ .line = body, .rest = body };
            const line = reader.read(self.format, &self.dates) catch {
                output.refuse(row, "{s}", .{reader.why});
                continue;
            };
            timestamp.put(line.timestamp);
            client.put(line.client);
            user.put(line.user);
            if (line.request.parts()) |parts| {
                method.put(parts.method);
                path.put(parts.path.resolved());
                protocol.put(parts.protocol);
                request.put(null);
            } else {
                method.put(null);
                path.put(null);
                protocol.put(null);
                putQuoted(request, line.request);
            }
            status.put(line.status);
            bytes.put(line.bytes);
            if (referer) |column| putQuoted(column, line.referer);
            if (user_agent) |column| putQuoted(column, line.user_agent);
        }
    }
};

/// `-` stands for nothing.
fn putQuoted(column: tm.Writer([]const u8), field: ?Quoted) void {
    const quoted = field orelse return column.put(null);
    column.put(if (std.mem.eql(u8, quoted.raw, "-")) null else quoted.resolved());
}

comptime {
    tm.exportParser(AccessLog);
}
