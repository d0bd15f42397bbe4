//! A field in double quotes, with the escapes of nginx (`\x22`) and Apache (`\"`, `\\`, `\n`).
const std = @import("std");
const tm = @import("tidemill");

/// A request's method, path and protocol; HTTP/0.9 has none.
pub const Parts = struct { method: []const u8, path: Quoted, protocol: ?[]const u8 };

/// What stands between the quotes, escapes not resolved yet.
pub const Quoted = struct {
    raw: []const u8,
    has_escapes: bool,

    /// `GET /path HTTP/1.1`, or null if it is not like that. A path may have spaces.
    pub fn parts(quoted: Quoted) ?Parts {
        var rest = quoted.raw;
        const method = tm.takeUntil(&rest, ' ') orelse return null;
        if (!isMethod(method)) return null;
        const end = std.mem.findScalarLast(u8, rest, ' ') orelse {
            if (!std.mem.startsWith(u8, rest, "/")) return null;
            return .{ .method = method, .path = .{ .raw = rest, .has_escapes = quoted.has_escapes }, .protocol = null };
        };
        if (end == 0 or !isProtocol(rest[end + 1 ..])) return null;
        return .{
            .method = method,
            .path = .{ .raw = rest[0..end], .has_escapes = quoted.has_escapes },
            .protocol = rest[end + 1 ..],
        };
    }

    /// The value. What is not a known escape stays as it is written.
    pub fn resolved(quoted: Quoted) []const u8 {
        if (!quoted.has_escapes) return quoted.raw;
        const raw = quoted.raw;
        const text = tm.allocator().alloc(u8, raw.len) catch @trap();
        var at: usize = 0;
        var size: usize = 0;
        while (true) {
            const plain = raw[at .. at + (tm.find(raw[at..], '\\') orelse raw.len - at)];
            @memcpy(text[size..][0..plain.len], plain);
            size += plain.len;
            at += plain.len;
            if (at == raw.len) return text[0..size];
            text[size], const length = escape(raw[at..]);
            size += 1;
            at += length;
        }
    }
};

/// The byte that a text, which begins with `\`, stands for, and how many bytes it is written with.
fn escape(text: []const u8) struct { u8, usize } {
    if (text.len < 2) return .{ '\\', 1 };
    if ((text[1] == 'x' or text[1] == 'X') and text.len >= 4) {
        if (std.fmt.charToDigit(text[2], 16)) |high| {
            if (std.fmt.charToDigit(text[3], 16)) |low| return .{ high << 4 | low, 4 } else |_| {}
        } else |_| {}
    }
    return switch (text[1]) {
        'n' => .{ '\n', 2 },
        'r' => .{ '\r', 2 },
        't' => .{ '\t', 2 },
        'b' => .{ 8, 2 },
        'v' => .{ 11, 2 },
        'f' => .{ 12, 2 },
        '"', '\\' => .{ text[1], 2 },
        else => .{ '\\', 1 },
    };
}

/// Letters with `-` or `_`, as in `GET` and `VERSION-CONTROL`.
fn isMethod(word: []const u8) bool {
    for (word) |byte| {
        if (!std.ascii.isAlphabetic(byte) and byte != '-' and byte != '_') return false;
    }
    return word.len >= 1 and word.len <= 32;
}

/// Letters, a slash, a version.
fn isProtocol(word: []const u8) bool {
    for ([_][]const u8{ "HTTP/1.1", "HTTP/2.0", "HTTP/1.0" }) |known| {
        if (std.mem.eql(u8, word, known)) return true;
    }
    var version = word;
    const name = tm.takeUntil(&version, '/') orelse return false;
    if (name.len < 1 or name.len > 16 or version.len < 1 or version.len > 8) return false;
    for (name) |byte| if (!std.ascii.isAlphabetic(byte)) return false;
    for (version) |byte| if (!std.ascii.isDigit(byte) and byte != '.') return false;
    return true;
}
