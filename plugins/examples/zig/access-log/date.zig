//! `17/May/2015:10:05:03 +0000` as nanoseconds since 1970.
//!
//! Lines come in order, so a day and its offset are worked out once and remembered for the lines after.
const std = @import("std");
const tm = @import("tidemill");

const months = [_][]const u8{ "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
const example = "17/May/2015:10:05:03 +0000";

pub const NoTime = error{NoTime};

pub const Dates = struct {
    day: [11]u8 = @splat(0),
    offset: [6]u8 = @splat(0),
    /// Seconds since 1970, in UTC.
    day_began: i64 = 0,
    /// Why it was no time, after an error.
    why: []const u8 = "",

    pub fn parse(dates: *Dates, text: []const u8) NoTime!i64 {
        if (text.len != example.len) return dates.wrong(text, "it is written like `" ++ example ++ "`");
        if (!std.mem.eql(u8, text[0..11], &dates.day) or !std.mem.eql(u8, text[20..], &dates.offset)) try dates.startDay(text);
        const colons = text[11] == ':' and text[14] == ':' and text[17] == ':';
        const hour = two(text, 12) orelse 24;
        const minute = two(text, 15) orelse 60;
        const second = two(text, 18) orelse 61;
        if (!colons or hour > 23 or minute > 59 or second > 60) return dates.wrong(text, "there is no such time of day");
        const seconds = dates.day_began + hour * 3600 + minute * 60 + second;
        return std.math.mul(i64, seconds, std.time.ns_per_s) catch dates.wrong(text, "it is too far from 1970");
    }

    fn startDay(dates: *Dates, text: []const u8) NoTime!void {
        @branchHint(.cold);
        const month: i64 = for (months, 1..) |known, number| {
            if (std.ascii.eqlIgnoreCase(known, text[3..6])) break @intCast(number);
        } else return dates.wrong(text, tm.format("`{s}` is not a month from Jan to Dec", .{text[3..6]}));
        const century = two(text, 7) orelse -100;
        const year = century * 100 + (two(text, 9) orelse -10_000);
        const days = tm.days(year, month, two(text, 0) orelse 0);
        if (text[2] != '/' or text[6] != '/' or year < 0 or days == null) return dates.wrong(text, "there is no such day");
        const hours = two(text, 22) orelse 24;
        const minutes = two(text, 24) orelse 60;
        const signed = text[21] == '+' or text[21] == '-';
        if (text[20] != ' ' or !signed or hours > 23 or minutes > 59) return dates.wrong(text, "an offset like +0100 comes last");
        const east: i64 = if (text[21] == '-') -1 else 1;
        dates.day = text[0..11].*;
        dates.offset = text[20..26].*;
        dates.day_began = days.? * 86400 - east * (hours * 3600 + minutes * 60);
    }

    fn wrong(dates: *Dates, text: []const u8, why: []const u8) NoTime {
        @branchHint(.cold);
        dates.why = tm.format("`{s}` is not a time: {s}", .{ tm.first(text, 40), why });
        return error.NoTime;
    }
};

fn two(text: []const u8, at: usize) ?i64 {
    if (!std.ascii.isDigit(text[at]) or !std.ascii.isDigit(text[at + 1])) return null;
    return @as(i64, text[at] - '0') * 10 + (text[at + 1] - '0');
}
