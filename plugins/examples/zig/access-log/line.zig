//! One line taken apart into slices of itself; an error names the byte (counted from 1) where it stopped being what was expected there.
const std = @import("std");
const tm = @import("tidemill");
const Dates = @import("date.zig").Dates;
const Quoted = @import("quoted.zig").Quoted;

pub const Format = enum { auto, common, combined };

/// The fields of a line. `-` is already null, except in quoted fields.
pub const Line = struct {
    client: []const u8,
    user: ?[]const u8,
    timestamp: i64,
    request: Quoted,
    status: ?i64,
    bytes: ?i64,
    referer: ?Quoted = null,
    user_agent: ?Quoted = null,
};

pub const Wrong = error{Wrong};

pub const Reader = struct {
    line: []const u8,
    rest: []const u8,
    /// What is wrong with the line, after an error.
    why: []const u8 = "",

    pub fn read(reader: *Reader, format: Format, dates: *Dates) Wrong!Line {
        const client = try reader.word("the client's address");
        const identity = try reader.word("the identity (usually `-`)");
        const user = try reader.readUser(identity);
        const at = reader.place();
        const time = tm.takeUntil(&reader.rest, ']') orelse return reader.expected("a time that ends with `]`");
        const timestamp = dates.parse(time) catch return reader.wrong("byte {d}: {s}", .{ at, dates.why });
        var line: Line = .{
            .client = client,
            .user = user,
            .timestamp = timestamp,
            .request = try reader.quoted("the request", false),
            .status = try reader.number("the status"),
            .bytes = try reader.number("the number of bytes"),
        };
        if (format == .common or (format == .auto and !std.mem.startsWith(u8, reader.rest, " \""))) return line;
        line.referer = try reader.quoted("the referer", false);
        line.user_agent = try reader.quoted("the user agent", true);
        return line;
    }

    fn place(reader: *const Reader) usize {
        return reader.line.len - reader.rest.len + 1;
    }

    fn wrong(reader: *Reader, comptime text: []const u8, arguments: anytype) Wrong {
        @branchHint(.cold);
        reader.why = tm.format(text, arguments);
        return error.Wrong;
    }

    fn expected(reader: *Reader, what: []const u8) Wrong {
        const at = reader.place();
        if (reader.rest.len == 0) return reader.wrong("byte {d}: the line ends where {s} should stand", .{ at, what });
        return reader.wrong("byte {d}: {s} should stand here, not `{s}`", .{ at, what, tm.first(reader.rest, 24) });
    }

    /// Up to the next space.
    fn word(reader: *Reader, what: []const u8) Wrong![]const u8 {
        const end = tm.find(reader.rest, ' ') orelse return reader.expected(what);
        if (end == 0) return reader.expected(what);
        defer reader.rest = reader.rest[end + 1 ..];
        return reader.rest[0..end];
    }

    /// Up to ` [`; names may have spaces.
    fn readUser(reader: *Reader, identity: []const u8) Wrong!?[]const u8 {
        if (tm.take(&reader.rest, "- [")) return null;
        const end = std.mem.find(u8, reader.rest, " [") orelse {
            return reader.expected("the user (usually `-`) and a time in brackets");
        };
        if (!std.mem.eql(u8, identity, "-") and std.mem.startsWith(u8, reader.rest, "- ")) {
            const host = tm.first(reader.line, tm.find(reader.line, ' ') orelse 0);
            return reader.wrong("byte 1: the line seems to begin with a virtual host, `{s}`; this format begins with the client", .{host});
        }
        const user = reader.rest[0..end];
        reader.rest = reader.rest[end + 2 ..];
        return if (std.mem.eql(u8, user, "-")) null else user;
    }

    /// In double quotes after a space. The last field may have been cut off: what is left of it is the value.
    fn quoted(reader: *Reader, comptime what: []const u8, is_last: bool) Wrong!Quoted {
        var after = reader.rest;
        if (!tm.take(&after, " \"")) return reader.expected(what ++ " in double quotes");
        var end = tm.findEither(after, '"', '\\') orelse after.len;
        const has_escapes = end < after.len and after[end] == '\\';
        while (end < after.len and after[end] == '\\') {
            end = @min(end + 2, after.len);
            end += tm.findEither(after[end..], '"', '\\') orelse after.len - end;
        }
        if (end == after.len and !is_last) {
            return reader.wrong("byte {d}: {s} has no closing quote; was the line cut off?", .{ reader.place() + 1, what });
        }
        reader.rest = after[@min(end + 1, after.len)..];
        return .{ .raw = after[0..end], .has_escapes = has_escapes };
    }

    /// A number or `-` after a space; at most 18 digits, which 64 bits hold for sure.
    fn number(reader: *Reader, comptime what: []const u8) Wrong!?i64 {
        if (!tm.take(&reader.rest, " ")) return reader.expected(what);
        const end = tm.find(reader.rest, ' ') orelse reader.rest.len;
        const digits = std.mem.trimEnd(u8, reader.rest[0..end], "\r");
        if (std.mem.eql(u8, digits, "-")) {
            reader.rest = reader.rest[end..];
            return null;
        }
        if (digits.len == 0 or digits.len > 18) return reader.expected(what ++ ", a number or `-`,");
        var value: i64 = 0;
        for (digits) |digit| {
            if (!std.ascii.isDigit(digit)) return reader.expected(what ++ ", a number or `-`,");
            value = value * 10 + (digit - '0');
        }
        reader.rest = reader.rest[end..];
        return value;
    }
};
