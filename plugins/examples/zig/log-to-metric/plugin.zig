//! `GET /cart 200 12ms` becomes two metrics: a request counted, and how long it took.
//!
//! Shows a parser that makes several events, of another kind, out of one: `produces_metrics` and `origin`.
const std = @import("std");
const tm = @import("tidemill");

const LogToMetric = struct {
    pub const name = "log-to-metric-zig";
    pub const version = "0.1.0";
    pub const about = "Requests counted and timed, in Zig";
    pub const Settings = struct {};

    pub fn configure(_: Settings, contract: *tm.Contract) tm.Error!LogToMetric {
        contract.reads("body");
        contract.writes("value", .float64);
        for ([_][]const u8{ "name", "kind", "labels.method", "labels.status" }) |text| contract.writes(text, .utf8);
        contract.produces_metrics = true;
        return .{};
    }

    pub fn parse(_: *LogToMetric, input: tm.Batch, _: tm.Context, output: *tm.Output) tm.Error!void {
        const bodies = try input.texts("body");
        const metric = output.words("name");
        const kind = output.words("kind");
        const value = output.floats("value");
        const method = output.words("labels.method");
        const status = output.words("labels.status");
        for (0..input.rows) |row| {
            const body = bodies.get(row) orelse "";
            const request = Request.read(body) orelse {
                output.refuse(row, "not `METHOD PATH STATUS DURATIONms`: `{s}`", .{body});
                continue;
            };
            for ([_][]const u8{ "requests", "request_seconds" }, [_][]const u8{ "counter", "gauge" }, [_]f64{ 1, request.seconds }) |name_of, is, measured| {
                output.origin(row);
                metric.put(name_of);
                kind.put(is);
                value.put(measured);
                method.put(request.method);
                status.put(request.status);
            }
        }
    }
};

const Request = struct {
    method: []const u8,
    status: []const u8,
    seconds: f64,

    fn read(line: []const u8) ?Request {
        var rest = line;
        const method = tm.takeUntil(&rest, ' ') orelse return null;
        _ = tm.takeUntil(&rest, ' ') orelse return null;
        const status = tm.takeUntil(&rest, ' ') orelse return null;
        if (!std.mem.endsWith(u8, rest, "ms")) return null;
        const milliseconds = std.fmt.parseFloat(f64, rest[0 .. rest.len - 2]) catch return null;
        return .{ .method = method, .status = status, .seconds = milliseconds / 1000 };
    }
};

comptime {
    tm.exportParser(LogToMetric);
}
