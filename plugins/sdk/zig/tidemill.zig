//! Tidemill plugins in Zig: values in, values out; what crosses the boundary is written at the end of this file.
//!
//!     const Lines = struct {
//!         pub const name = "lines"; pub const version = "0.1.0"; pub const about = "what it does";
//!         pub const Settings = struct { default_level: ?Level = null };                     // read and checked by their types
//!         pub fn configure(settings: Settings, contract: *tm.Contract) tm.Error!Lines {…}    // says what is read and made
//!         pub fn parse(self: *Lines, input: tm.Batch, context: tm.Context, output: *tm.Output) tm.Error!void {…}
//!     };
//!     comptime { tm.exportParser(Lines); }                                              // or exportFilter (keep), exportEnricher (enrich), exportAutoscaler (decide)
//!
//! Always: what `allocator()` gives to a call is free after it; what it gives to `configure` lives as long as the plugin. A column that no
//! event has reads as null. Memory that runs out is a trap.
//! Never: a plugin keeps events in variables: what it must remember goes through `output.state` and comes back in `context.state`.
//!
//! For zig 0.17.
const std = @import("std");

// ---- Memory and messages ------------------------------------------------------------------------------------------------------

var arena: std.heap.ArenaAllocator = .init(std.heap.wasm_allocator);

/// Memory of this call; in `configure`, of the plugin.
pub fn allocator() std.mem.Allocator {
    return arena.allocator();
}

/// The call failed, and `fail` was told why.
pub const Error = error{Failed};

/// The first failure of the call that is running.
var failure: ?[]const u8 = null;

/// The whole call fails with this message: `return tm.fail("…", .{});`
pub fn fail(comptime text: []const u8, arguments: anytype) Error {
    if (failure == null) failure = format(text, arguments);
    return error.Failed;
}

/// A text put together as by `std.fmt`. What is not UTF-8 in it becomes U+FFFD.
pub fn format(comptime text: []const u8, arguments: anytype) []const u8 {
    return utf8(std.fmt.allocPrint(allocator(), text, arguments) catch @trap());
}

pub const Level = enum(u32) { trace, debug, info, warn, err };

/// A line in `tidemill.logs`. Not for data.
pub fn log(level: Level, comptime text: []const u8, arguments: anytype) void {
    const line: wire.Text = .of(format(text, arguments));
    host.log(@intFromEnum(level), line.ptr, line.len);
}

fn utf8(text: []const u8) []const u8 {
    if (std.unicode.utf8ValidateSlice(text)) return text;
    return std.fmt.allocPrint(allocator(), "{f}", .{std.unicode.fmtUtf8(text)}) catch @trap();
}

fn grow(list: anytype, count: usize) void {
    list.ensureUnusedCapacity(allocator(), count) catch @trap();
}

// ---- Text ---------------------------------------------------------------------------------------------------------------------

/// Cuts off `rest` up to `byte`, and the byte too. Null, and nothing cut off, if the byte is not there.
pub inline fn takeUntil(rest: *[]const u8, byte: u8) ?[]const u8 {
    const end = find(rest.*, byte) orelse return null;
    defer rest.* = rest.*[end + 1 ..];
    return rest.*[0..end];
}

/// Whether `rest` begins with `start`; if so, it is cut off.
pub inline fn take(rest: *[]const u8, start: []const u8) bool {
    if (!std.mem.startsWith(u8, rest.*, start)) return false;
    rest.* = rest.*[start.len..];
    return true;
}

/// Where a byte first stands. 16 bytes at a time.
pub inline fn find(text: []const u8, byte: u8) ?usize {
    return findEither(text, byte, byte);
}

/// Where either byte first stands. 16 bytes at a time.
pub inline fn findEither(text: []const u8, byte: u8, other: u8) ?usize {
    var at: usize = 0;
    while (at + 16 <= text.len) : (at += 16) {
        const block: @Vector(16, u8) = text[at..][0..16].*;
        const is_first: u16 = @bitCast(block == @as(@Vector(16, u8), @splat(byte)));
        const is_second: u16 = @bitCast(block == @as(@Vector(16, u8), @splat(other)));
        if (is_first | is_second != 0) return at + @ctz(is_first | is_second);
    }
    while (at < text.len) : (at += 1) {
        if (text[at] == byte or text[at] == other) return at;
    }
    return null;
}

/// The first `count` bytes; all if there are no more.
pub fn first(text: []const u8, count: usize) []const u8 {
    return text[0..@min(count, text.len)];
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, if there is such a day.
pub fn days(year: i64, month: i64, day: i64) ?i64 {
    if (month < 1 or month > 12 or year < -9999 or year > 9999) return null;
    const lengths = [12]i64{ 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    const leap: i64 = @intFromBool(@mod(year, 4) == 0 and (@mod(year, 100) != 0 or @mod(year, 400) == 0));
    if (day < 1 or day > lengths[@intCast(month - 1)] + (if (month == 2) leap else 0)) return null;
    // Years that begin with March, in eras of 400: the leap day comes last.
    const of_march = year - @as(i64, @intFromBool(month <= 2));
    const era = @divFloor(of_march, 400);
    const of_era = of_march - era * 400;
    const of_year = @divFloor(153 * (month + @as(i64, if (month > 2) -3 else 9)) + 2, 5) + day - 1;
    return era * 146097 + of_era * 365 + @divFloor(of_era, 4) - @divFloor(of_era, 100) + of_year - 719468;
}

fn takeDigits(rest: *[]const u8, count: usize) ?i64 {
    if (rest.len < count) return null;
    var number: i64 = 0;
    for (rest.*[0..count]) |digit| {
        if (!std.ascii.isDigit(digit)) return null;
        number = number * 10 + (digit - '0');
    }
    rest.* = rest.*[count..];
    return number;
}

/// `2015-05-17T10:05:03.25Z` as nanoseconds since 1970, if it is a time.
pub fn parseTimestamp(text: []const u8) ?i64 {
    var rest = text;
    const year = takeDigits(&rest, 4) orelse return null;
    if (!take(&rest, "-")) return null;
    const month = takeDigits(&rest, 2) orelse return null;
    if (!take(&rest, "-")) return null;
    const day = takeDigits(&rest, 2) orelse return null;
    if (!take(&rest, "T") and !take(&rest, "t") and !take(&rest, " ")) return null;
    const hour = takeDigits(&rest, 2) orelse return null;
    if (!take(&rest, ":")) return null;
    const minute = takeDigits(&rest, 2) orelse return null;
    if (!take(&rest, ":")) return null;
    const second = takeDigits(&rest, 2) orelse return null;
    if (hour > 23 or minute > 59 or second > 60) return null;
    var fraction: i64 = 0;
    if (take(&rest, ".")) {
        var place: i64 = std.time.ns_per_s;
        if (rest.len == 0 or !std.ascii.isDigit(rest[0])) return null;
        while (rest.len > 0 and std.ascii.isDigit(rest[0])) : (rest = rest[1..]) {
            place = @divTrunc(place, 10);
            fraction += place * (rest[0] - '0');
        }
    }
    var offset: i64 = 0;
    if (!take(&rest, "Z") and !take(&rest, "z")) {
        const sign: i64 = if (take(&rest, "+")) 1 else if (take(&rest, "-")) -1 else return null;
        const hours = takeDigits(&rest, 2) orelse return null;
        if (!take(&rest, ":")) return null;
        const minutes = takeDigits(&rest, 2) orelse return null;
        if (hours > 23 or minutes > 59) return null;
        offset = sign * (hours * 3600 + minutes * 60);
    }
    if (rest.len > 0) return null;
    const of_day = hour * 3600 + minute * 60 + second - offset;
    const seconds = (days(year, month, day) orelse return null) * 86400 + of_day;
    const nanoseconds = std.math.mul(i64, seconds, std.time.ns_per_s) catch return null;
    return std.math.add(i64, nanoseconds, fraction) catch null;
}

// ---- Settings and contract ----------------------------------------------------------------------------------------------------

pub const Type = enum(u8) { boolean, int64, float64, timestamp, utf8, binary };

/// What a configured plugin reads and makes.
pub const Contract = struct {
    /// Columns beyond `writes` may appear, named by the events.
    open_schema: bool = false,
    /// `context.state` is what the call before handed to `output.state`.
    keeps_state: bool = false,
    /// What comes out of this parser is metrics: name, kind, value, labels.*, timestamp.
    produces_metrics: bool = false,
    names: std.ArrayList(wire.Text) = .empty,
    fields: std.ArrayList(wire.Field) = .empty,

    /// A column to hand over. `labels.job` is one label of a metric, `labels.*` every label, `*` every column.
    pub fn reads(contract: *Contract, column: []const u8) void {
        contract.names.append(allocator(), .of(column)) catch @trap();
    }

    /// A column the plugin makes or replaces.
    pub fn writes(contract: *Contract, column: []const u8, data_type: Type) void {
        contract.fields.append(allocator(), .{ .name = .of(column), .data_type = data_type }) catch @trap();
    }
};

/// The stage's `settings` table as a struct: booleans, numbers, texts, enums, lists of texts, structs, and optionals of them. A field without
/// a default has to be there, a key without a field is refused.
fn readSettings(comptime T: type, json: []const u8) Error!T {
    const tree = std.json.parseFromSliceLeaky(std.json.Value, allocator(), json, .{}) catch |cause| {
        return fail("the settings cannot be read: {t}", .{cause});
    };
    return readStruct(T, tree, "");
}

fn readStruct(comptime T: type, tree: std.json.Value, comptime within: []const u8) Error!T {
    const info = @typeInfo(T).@"struct";
    const keys = tree.object.keys();
    for (keys) |key| {
        const known = inline for (info.field_names) |field| {
            if (std.mem.eql(u8, field, key)) break true;
        } else false;
        if (!known) return fail("unknown field `{s}{s}`, {s}", .{ within, key, comptime expected(info.field_names) });
    }
    var settings: T = undefined;
    inline for (info.field_names, info.field_types, info.field_attrs) |name, Field, attributes| {
        if (tree.object.get(name)) |value| {
            @field(settings, name) = try readValue(Field, value, within ++ name);
        } else if (attributes.defaultValue(Field)) |default| {
            @field(settings, name) = default;
        } else {
            return fail("missing field `{s}{s}`", .{ within, name });
        }
    }
    return settings;
}

fn expected(comptime names: []const [:0]const u8) []const u8 {
    if (names.len == 0) return "there are no fields";
    comptime var list: []const u8 = "expected ";
    inline for (names, 0..) |name, at| {
        list = list ++ (if (at == 0) "" else if (at + 1 == names.len) " or " else ", ") ++ "`" ++ name ++ "`";
    }
    return list;
}

fn readValue(comptime T: type, value: std.json.Value, comptime key: []const u8) Error!T {
    switch (@typeInfo(T)) {
        .optional => |optional| return try readValue(optional.child, value, key),
        .bool => if (value == .bool) return value.bool else return wrong(key, value, "true or false"),
        .int => if (value == .integer) {
            return std.math.cast(T, value.integer) orelse fail("`{s}` is {d}; write a whole number from {d} to {d}", .{
                key, value.integer, std.math.minInt(T), std.math.maxInt(T),
            });
        } else return wrong(key, value, "a whole number"),
        .float => switch (value) {
            .integer => |number| return @floatFromInt(number),
            .float => |number| return @floatCast(number),
            else => return wrong(key, value, "a number"),
        },
        .@"enum" => |words| {
            if (value != .string) return wrong(key, value, "a text in quotes");
            return std.meta.stringToEnum(T, value.string) orelse {
                comptime var list: []const u8 = words.field_names[0];
                inline for (words.field_names[1..]) |word| list = comptime list ++ ", " ++ word;
                return fail("`{s}` is `{s}`; write one of {s}", .{ key, value.string, list });
            };
        },
        .@"struct" => if (value == .object) return readStruct(T, value, key ++ ".") else return wrong(key, value, "a table"),
        .pointer => {
            if (T == []const u8) return if (value == .string) value.string else wrong(key, value, "a text in quotes");
            if (T != []const []const u8) @compileError("settings have no " ++ @typeName(T));
            if (value != .array) return wrong(key, value, "a list of texts");
            const texts = allocator().alloc([]const u8, value.array.items.len) catch @trap();
            for (texts, value.array.items) |*text, item| text.* = try readValue([]const u8, item, key);
            return texts;
        },
        else => @compileError("settings have no " ++ @typeName(T)),
    }
}

fn wrong(key: []const u8, value: std.json.Value, wanted: []const u8) Error {
    return fail("`{s}` is {s}; write {s}", .{ key, switch (value) {
        .null => "nothing",
        .bool => "a boolean",
        .integer, .float, .number_string => "a number",
        .string => "a text",
        .array => "a list",
        .object => "a table",
    }, wanted });
}

// ---- Columns in ---------------------------------------------------------------------------------------------------------------

/// Columns of equal length. A column of another type than the one asked for fails the call, with both named.
pub const Batch = struct {
    rows: usize,
    columns: []const wire.Column,

    /// A column of text or bytes.
    pub fn texts(batch: Batch, name: []const u8) Error!Texts {
        return textsOf(batch.column(name) orelse return .absent);
    }
    pub fn ints(batch: Batch, name: []const u8) Error!Numbers(i64) {
        return numbersOf(i64, .int64, batch.column(name) orelse return .absent);
    }
    pub fn timestamps(batch: Batch, name: []const u8) Error!Numbers(i64) {
        return numbersOf(i64, .timestamp, batch.column(name) orelse return .absent);
    }
    pub fn booleans(batch: Batch, name: []const u8) Error!Numbers(bool) {
        return numbersOf(bool, .boolean, batch.column(name) orelse return .absent);
    }
    /// float64, and int64 converted.
    pub fn floats(batch: Batch, name: []const u8) Error!Numbers(f64) {
        return floatsOf(batch.column(name) orelse return .absent);
    }
    /// A column, whatever its type; null if no event has it.
    pub fn column(batch: Batch, name: []const u8) ?*const wire.Column {
        for (batch.columns) |*it| {
            if (std.mem.eql(u8, it.name.slice(), name)) return it;
        }
        return null;
    }
};

/// The same for a column of `batch.columns`, as with `labels.*`.
pub fn textsOf(column: *const wire.Column) Error!Texts {
    const words = column.kind == .words;
    if (!words and column.kind != .utf8 and column.kind != .binary) return mismatch(column, "text or bytes");
    const values = &column.values;
    const offsets = if (words) values.dictionary.offsets else values.bytes.offsets;
    const data = if (words) values.dictionary.data else values.bytes.data;
    return .{
        .column = column,
        .validity = column.validity.optional(u8),
        .indices = if (words) values.dictionary.indices.as(u32) else null,
        .offsets = offsets.as(u32),
        .data = data.as(u8),
    };
}

pub fn floatsOf(column: *const wire.Column) Error!Numbers(f64) {
    if (column.kind == .float64) return numbersOf(f64, .float64, column);
    if (column.kind != .int64) return mismatch(column, "float64 or int64");
    const from = column.values.numbers.as(i64);
    const floats = allocator().alloc(f64, from.len) catch @trap();
    for (floats, from) |*float, int| float.* = @floatFromInt(int);
    return .{ .values = floats, .validity = column.validity.optional(u8) };
}

pub fn intsOf(column: *const wire.Column) Error!Numbers(i64) {
    return numbersOf(i64, if (column.kind == .timestamp) .timestamp else .int64, column);
}

pub fn booleansOf(column: *const wire.Column) Error!Numbers(bool) {
    return numbersOf(bool, .boolean, column);
}

fn numbersOf(comptime T: type, kind: wire.Kind, column: *const wire.Column) Error!Numbers(T) {
    if (column.kind != kind) return mismatch(column, @tagName(kind));
    return .{ .values = column.values.numbers.as(T), .validity = column.validity.optional(u8) };
}

fn mismatch(column: *const wire.Column, wanted: []const u8) Error {
    const is = switch (column.kind) {
        .words, .slices => "utf8",
        else => @tagName(column.kind),
    };
    return fail("column `{s}` is {s}, and {s} is wanted here", .{ column.name.slice(), is, wanted });
}

/// Text or bytes of one column.
pub const Texts = struct {
    column: ?*const wire.Column,
    validity: ?[]const u8,
    indices: ?[]const u32,
    offsets: []const u32,
    data: []const u8,

    pub const absent: Texts = .{ .column = null, .validity = null, .indices = null, .offsets = &.{}, .data = &.{} };

    /// A row's text; null where it is null.
    pub inline fn get(texts: Texts, row: usize) ?[]const u8 {
        if (texts.validity) |validity| if (validity[row] == 0) return null;
        if (texts.column == null) return null;
        const at = if (texts.indices) |indices| indices[row] else row;
        return texts.data[texts.offsets[at]..texts.offsets[at + 1]];
    }
};

/// Values of fixed size of one column.
pub fn Numbers(comptime T: type) type {
    return struct {
        /// A null's slot holds anything; an absent column has none.
        values: []const T,
        validity: ?[]const u8,

        const Self = @This();
        pub const absent: Self = .{ .values = &.{}, .validity = null };

        /// A row's value; null where it is null.
        pub inline fn get(numbers: Self, row: usize) ?T {
            if (numbers.validity) |validity| if (validity[row] == 0) return null;
            return if (row < numbers.values.len) numbers.values[row] else null;
        }
    };
}

/// Beside the rows of a call.
pub const Context = struct {
    /// Nanoseconds, where the pipeline grants the clock.
    now: ?i64,
    /// Null before any was handed on.
    state: ?[]const u8,
};

// ---- Columns out --------------------------------------------------------------------------------------------------------------

/// The answer of a call.
pub const Output = struct {
    world: enum { parses, keeps, enriches },
    rows_in: usize,
    columns: std.ArrayList(*Values) = .empty,
    errors: std.ArrayList(wire.RowError) = .empty,
    origins: std.ArrayList(u32) = .empty,
    /// A filter's answer, one byte a row: 1 keeps it.
    mask: []u8 = &.{},
    kept_state: ?[]const u8 = null,

    pub fn texts(output: *Output, name: []const u8) Writer([]const u8) {
        return .{ .values = output.start(name, .utf8) };
    }
    pub fn binaries(output: *Output, name: []const u8) Writer([]const u8) {
        return .{ .values = output.start(name, .binary) };
    }
    /// Text with few distinct values: a method, a level, a host.
    pub fn words(output: *Output, name: []const u8) Writer([]const u8) {
        return .{ .values = output.start(name, .words) };
    }
    /// Text cut out of a column: only where it stands goes out. Quickest for a parser. Other texts go as they are.
    pub fn slices(output: *Output, name: []const u8, of: Texts) Writer([]const u8) {
        const values = output.start(name, .slices);
        if (of.column) |cut_from| if (of.indices == null) {
            values.of = cut_from.name;
            values.source = of.data;
        };
        return .{ .values = values };
    }
    pub fn ints(output: *Output, name: []const u8) Writer(i64) {
        return .{ .values = output.start(name, .int64) };
    }
    pub fn timestamps(output: *Output, name: []const u8) Writer(i64) {
        return .{ .values = output.start(name, .timestamp) };
    }
    pub fn floats(output: *Output, name: []const u8) Writer(f64) {
        return .{ .values = output.start(name, .float64) };
    }
    pub fn booleans(output: *Output, name: []const u8) Writer(bool) {
        return .{ .values = output.start(name, .boolean) };
    }
    /// A column as it came, of the input or of a lookup, under a name.
    pub fn column(output: *Output, name: []const u8, as_it_is: *const wire.Column) void {
        output.start(name, as_it_is.kind).ready = as_it_is;
    }

    /// This row could not be handled: it becomes a dead letter with this message. Values already put for it are taken back.
    pub fn refuse(output: *Output, row: usize, comptime text: []const u8, arguments: anytype) void {
        const last = output.errors.getLastOrNull();
        if (last) |it| if (it.row == row) return;
        if (row < output.rows_in and (last == null or last.?.row < row)) {
            const before = switch (output.world) {
                .enriches => row,
                else => if (output.origins.items.len > 0) output.origins.items.len else row - output.errors.items.len,
            };
            for (output.columns.items) |values| {
                values.cut(before);
                if (output.world == .enriches and values.ready == null and values.rows == before) values.putNull();
            }
        }
        output.errors.append(allocator(), .{ .row = @intCast(row), .message = .of(format(text, arguments)) }) catch @trap();
    }
    /// A parser's next row comes from this one. Said for each row that comes out, there may be more or fewer than came in.
    pub fn origin(output: *Output, row: usize) void {
        output.origins.append(allocator(), @intCast(row)) catch @trap();
    }
    /// A filter keeps every row but these.
    pub fn drop(output: *Output, row: usize) void {
        output.mask[row] = 0;
    }
    /// What the next call gets, if the contract says `keeps_state`.
    pub fn state(output: *Output, bytes: []const u8) void {
        output.kept_state = allocator().dupe(u8, bytes) catch @trap();
    }

    fn start(output: *Output, name: []const u8, kind: wire.Kind) *Values {
        const values = allocator().create(Values) catch @trap();
        values.* = .{ .name = utf8(name), .kind = kind };
        switch (kind) {
            .utf8, .binary => {
                grow(&values.offsets, output.rows_in + 1);
                values.offsets.appendAssumeCapacity(0);
            },
            .words => grow(&values.offsets, output.rows_in),
            .slices => grow(&values.offsets, 2 * output.rows_in),
            .boolean => grow(&values.bytes, output.rows_in),
            else => grow(&values.numbers, output.rows_in),
        }
        output.columns.append(allocator(), values) catch @trap();
        return values;
    }

    fn rowsOut(output: *const Output) usize {
        if (output.world != .parses) return output.rows_in;
        return if (output.origins.items.len > 0) output.origins.items.len else output.rows_in - output.errors.items.len;
    }

    /// The columns as they cross, if each is as long as there are rows.
    fn finished(output: *const Output) Error!wire.List {
        const rows = output.rowsOut();
        const columns = allocator().alloc(wire.Column, output.columns.items.len) catch @trap();
        for (columns, output.columns.items) |*to, values| {
            if (values.ready == null and values.rows != rows) {
                return fail("column `{s}` has {d} rows where {d} come out; put a value, or null, for every row", .{ values.name, values.rows, rows });
            }
            to.* = values.finish();
        }
        return .of(wire.Column, columns);
    }
};

/// A column that is being written: one value a row that comes out, in order.
pub fn Writer(comptime T: type) type {
    return struct {
        values: *Values,

        /// The next row's value, or null. Bytes that are not UTF-8 become U+FFFD, except in `binaries`.
        pub inline fn put(writer: @This(), value: ?T) void {
            const it = value orelse return writer.values.putNull();
            switch (T) {
                []const u8 => writer.values.putText(it),
                bool => writer.values.putBoolean(it),
                else => writer.values.putNumber(@bitCast(it)),
            }
        }
    };
}

/// What a column holds so far.
const Values = struct {
    name: []const u8,
    kind: wire.Kind,
    rows: usize = 0,
    /// Ends of texts, indices of words, places and lengths of slices.
    offsets: std.ArrayList(u32) = .empty,
    /// Numbers, as their bits.
    numbers: std.ArrayList(u64) = .empty,
    /// Texts; of words each once; of slices what stands elsewhere; booleans.
    bytes: std.ArrayList(u8) = .empty,
    validity: std.ArrayList(u8) = .empty,
    has_nulls: bool = false,
    source: []const u8 = &.{},
    of: wire.Text = .of(""),
    known: std.StringHashMapUnmanaged(u32) = .empty,
    ends: std.ArrayList(u32) = .empty,
    ready: ?*const wire.Column = null,

    inline fn begin(values: *Values) void {
        if (values.has_nulls) values.validity.append(allocator(), 1) catch @trap();
        values.rows += 1;
    }

    inline fn putNumber(values: *Values, bits: u64) void {
        values.begin();
        values.numbers.append(allocator(), bits) catch @trap();
    }

    fn putBoolean(values: *Values, value: bool) void {
        values.begin();
        values.bytes.append(allocator(), @intFromBool(value)) catch @trap();
    }

    inline fn putText(values: *Values, text: []const u8) void {
        const at = @intFromPtr(text.ptr) -% @intFromPtr(values.source.ptr);
        if (values.kind != .slices or at > values.source.len or text.len > values.source.len - at) return values.putElsewhere(text);
        values.begin();
        values.span(at, text.len);
    }

    inline fn span(values: *Values, at: usize, size: usize) void {
        if (values.offsets.items.len + 2 > values.offsets.capacity) grow(&values.offsets, 2);
        values.offsets.appendAssumeCapacity(@intCast(at));
        values.offsets.appendAssumeCapacity(@intCast(size));
    }

    noinline fn putElsewhere(values: *Values, text: []const u8) void {
        values.begin();
        switch (values.kind) {
            .slices => {
                values.span(values.source.len + values.bytes.items.len, text.len);
                values.bytes.appendSlice(allocator(), text) catch @trap();
            },
            .words => values.offsets.append(allocator(), values.index(text)) catch @trap(),
            else => {
                values.bytes.appendSlice(allocator(), if (values.kind == .utf8) utf8(text) else text) catch @trap();
                values.offsets.append(allocator(), @intCast(values.bytes.items.len)) catch @trap();
            },
        }
    }

    /// A word's place among the distinct ones; the last row's is tried first.
    fn index(values: *Values, text: []const u8) u32 {
        if (values.offsets.getLastOrNull()) |last| if (values.ends.items.len > last) {
            const start = if (last == 0) 0 else values.ends.items[last - 1];
            if (std.mem.eql(u8, values.bytes.items[start..values.ends.items[last]], text)) return last;
        };
        if (values.known.get(text)) |known| return known;
        const good = utf8(text);
        const entry = values.known.getOrPut(allocator(), good) catch @trap();
        if (!entry.found_existing) {
            // The map's key must not move when more bytes come.
            entry.key_ptr.* = allocator().dupe(u8, good) catch @trap();
            entry.value_ptr.* = @intCast(values.ends.items.len);
            values.bytes.appendSlice(allocator(), good) catch @trap();
            values.ends.append(allocator(), @intCast(values.bytes.items.len)) catch @trap();
        }
        return entry.value_ptr.*;
    }

    fn putNull(values: *Values) void {
        if (!values.has_nulls) {
            grow(&values.validity, @max(values.rows + 1, values.numbers.capacity));
            values.validity.appendNTimesAssumeCapacity(1, values.rows);
            values.has_nulls = true;
        }
        values.validity.append(allocator(), 0) catch @trap();
        values.rows += 1;
        switch (values.kind) {
            .utf8, .binary => values.offsets.append(allocator(), @intCast(values.bytes.items.len)) catch @trap(),
            .words => values.offsets.append(allocator(), values.offsets.getLastOrNull() orelse 0) catch @trap(),
            .slices => values.span(0, 0),
            .boolean => values.bytes.append(allocator(), 0) catch @trap(),
            else => values.numbers.append(allocator(), 0) catch @trap(),
        }
    }

    fn cut(values: *Values, rows: usize) void {
        if (values.ready != null or values.rows <= rows) return;
        values.rows = rows;
        if (values.has_nulls) values.validity.shrinkRetainingCapacity(rows);
        switch (values.kind) {
            .utf8, .binary => {
                values.offsets.shrinkRetainingCapacity(rows + 1);
                values.bytes.shrinkRetainingCapacity(values.offsets.items[rows]);
            },
            .words => values.offsets.shrinkRetainingCapacity(rows),
            .slices => values.offsets.shrinkRetainingCapacity(2 * rows),
            .boolean => values.bytes.shrinkRetainingCapacity(rows),
            else => values.numbers.shrinkRetainingCapacity(rows),
        }
    }

    fn finish(values: *const Values) wire.Column {
        if (values.ready) |ready| {
            var column = ready.*;
            column.name = .of(values.name);
            return column;
        }
        const offsets: wire.List = .of(u32, values.offsets.items);
        const bytes: wire.List = .of(u8, values.bytes.items);
        return .{
            .name = .of(values.name),
            .kind = values.kind,
            .values = switch (values.kind) {
                .utf8, .binary => .{ .bytes = .{ .offsets = offsets, .data = bytes } },
                .words => .{ .dictionary = .{ .indices = offsets, .offsets = values.wordOffsets(), .data = bytes } },
                .slices => .{ .slices = .{ .of = values.of, .spans = offsets, .extra = bytes } },
                .boolean => .{ .numbers = bytes },
                else => .{ .numbers = .of(u64, values.numbers.items) },
            },
            .validity = if (values.has_nulls) .some(u8, values.validity.items) else .none,
        };
    }

    fn wordOffsets(values: *const Values) wire.List {
        const offsets = allocator().alloc(u32, values.ends.items.len + 1) catch @trap();
        offsets[0] = 0;
        @memcpy(offsets[1..], values.ends.items);
        return .of(u32, offsets);
    }
};

// ---- Lookup tables ------------------------------------------------------------------------------------------------------------

/// The names of a table's columns.
pub fn tableColumns(table: []const u8) Error![]const []const u8 {
    var found: wire.HostAnswer = undefined;
    const asked: wire.Text = .of(table);
    host.columns(asked.ptr, asked.len, &found);
    if (found.failed != 0) return fail("{s}", .{found.is.as(u8)});
    const names = allocator().alloc([]const u8, found.is.count) catch @trap();
    for (names, found.is.as(wire.Text)) |*name, text| name.* = text.slice();
    return names;
}

/// For each key the row whose column `key` equals it: the columns `want`, null where there is none or the key is null.
pub fn lookup(table: []const u8, key: []const u8, keys: Texts, rows: usize, want: []const []const u8) Error!Batch {
    return search(host.lookup, table, key, keys, rows, want);
}

/// The same by addresses, where column `key` has networks like `10.0.0.0/8`; of several the narrowest.
pub fn lookupNetwork(table: []const u8, key: []const u8, addresses: Texts, rows: usize, want: []const []const u8) Error!Batch {
    return search(host.@"lookup-network", table, key, addresses, rows, want);
}

fn search(comptime ask: anytype, table: []const u8, key: []const u8, keys: Texts, rows: usize, want: []const []const u8) Error!Batch {
    const names = allocator().alloc(wire.Text, want.len) catch @trap();
    for (names, want) |*name, text| name.* = .of(text);
    const offsets = allocator().alloc(u32, rows + 1) catch @trap();
    var bytes: std.ArrayList(u8) = .empty;
    offsets[0] = 0;
    for (0..rows) |row| {
        bytes.appendSlice(allocator(), keys.get(row) orelse "") catch @trap();
        offsets[row + 1] = @intCast(bytes.items.len);
    }
    const of: wire.Text = .of(table);
    const by: wire.Text = .of(key);
    const data: wire.Text = .of(bytes.items);
    const wanted: wire.List = .of(wire.Text, names);
    var found: wire.HostAnswer = undefined;
    ask(of.ptr, of.len, by.ptr, by.len, offsets.ptr, offsets.len, data.ptr, data.len, wanted.ptr.?, wanted.count, &found);
    if (found.failed != 0) return fail("{s}", .{found.is.as(u8)});
    const columns = allocator().dupe(wire.Column, found.is.as(wire.Column)) catch @trap();
    // A null key finds nothing, whatever stands in its slot.
    for (columns) |*column| {
        const validity = allocator().alloc(u8, rows) catch @trap();
        for (validity, 0..) |*valid, row| {
            const was = if (column.validity.optional(u8)) |were| were[row] != 0 else true;
            valid.* = @intFromBool(was and keys.get(row) != null);
        }
        column.validity = .some(u8, validity);
    }
    return .{ .rows = rows, .columns = columns };
}

// ---- Autoscalers --------------------------------------------------------------------------------------------------------------

/// One tick of a scaler. Its lists have `.items()`, its texts `.slice()`, what may be absent `.get()`.
pub const Request = wire.Request;
pub const Signal = wire.Signal;
pub const Freshness = wire.Freshness;

/// How many replicas, and why, with the figures; and what the next tick gets.
pub const Proposal = struct { replicas: u32, reason: []const u8, state: []const u8 = "" };

// ---- As it crosses: the interface's records in the component model's canonical ABI --------------------------------------------

pub const wire = struct {
    /// What is empty stands somewhere, too: Zig leaves the address of nothing open, the host looks whether it is in memory.
    const nowhere: u64 = 0;

    pub const Text = extern struct {
        ptr: [*]const u8,
        len: usize,
        pub fn of(text: []const u8) Text {
            return .{ .ptr = if (text.len == 0) @ptrCast(&nowhere) else text.ptr, .len = text.len };
        }
        pub fn slice(text: Text) []const u8 {
            return text.ptr[0..text.len];
        }
    };

    pub const List = extern struct {
        ptr: ?*const anyopaque = null,
        count: usize = 0,
        fn of(comptime T: type, items: []const T) List {
            return .{ .ptr = if (items.len == 0) &nowhere else items.ptr, .count = items.len };
        }
        fn as(list: List, comptime T: type) []const T {
            if (list.count == 0) return &.{};
            return @as([*]const T, @ptrCast(@alignCast(list.ptr.?)))[0..list.count];
        }
    };

    fn ListOf(comptime T: type) type {
        return extern struct {
            list: List,
            pub fn items(self: @This()) []const T {
                return self.list.as(T);
            }
        };
    }

    const OptionalList = extern struct {
        is: u8,
        list: List = .{},
        const none: OptionalList = .{ .is = 0 };
        fn some(comptime T: type, items: []const T) OptionalList {
            return .{ .is = 1, .list = .of(T, items) };
        }
        fn optional(self: OptionalList, comptime T: type) ?[]const T {
            return if (self.is == 0) null else self.list.as(T);
        }
    };

    fn Optional(comptime T: type) type {
        return extern struct {
            is: u8,
            value: T,
            pub fn get(self: @This()) ?T {
                return if (self.is == 0) null else self.value;
            }
        };
    }

    pub const Kind = enum(u8) { boolean, int64, float64, timestamp, utf8, binary, words, slices };

    pub const Column = extern struct {
        name: Text,
        kind: Kind,
        values: extern union {
            numbers: List,
            bytes: extern struct { offsets: List, data: List },
            dictionary: extern struct { indices: List, offsets: List, data: List },
            slices: extern struct { of: Text, spans: List, extra: List },
        },
        validity: OptionalList,
    };

    const Field = extern struct { name: Text, data_type: Type };
    const RowError = extern struct { row: u32, message: Text };
    const HostAnswer = extern struct { failed: u8, is: List };
    const Table = extern struct {
        rows: u32,
        columns: List,
        pub fn batch(table: Table) Batch {
            return .{ .rows = table.rows, .columns = table.columns.as(Column) };
        }
    };

    pub const Freshness = enum(u8) { fresh, stale, missing, failed };

    /// The latest answer of one of the scaler's queries; its table is empty when missing or failed, and `message` says why.
    pub const Signal = extern struct {
        name: Text,
        freshness: wire.Freshness,
        table: Table,
        message: Text,
        caught_up_at: Optional(i64),

        /// The first row's `value`, or its only number.
        pub fn value(signal: *const wire.Signal) ?f64 {
            const batch = signal.table.batch();
            const column = batch.column("value") orelse for (batch.columns) |*it| {
                if (it.kind == .int64 or it.kind == .float64) break it;
            } else return null;
            return (floatsOf(column) catch return null).get(0);
        }
    };

    /// Times in nanoseconds.
    pub const Replica = extern struct { name: Text, ready: bool, started_at: i64, changed_at: i64 };
    pub const Workload = extern struct { name: Text, replicas: u32, ready: u32, min: u32, max: u32, members: ListOf(Replica) };
    pub const Decision = extern struct { at: i64, replicas: u32, proposed: Optional(u32), decided: u32, reason: Text };
    pub const Advice = extern struct { name: Text, replicas: Optional(u32), reason: Text };

    pub const Request = extern struct {
        /// Nanoseconds.
        now: i64,
        workload: Workload,
        signals: ListOf(wire.Signal),
        /// Newest last.
        decisions: ListOf(Decision),
        advice: ListOf(Advice),
        /// What the last tick handed back; empty at first.
        state: Text,

        pub fn signal(request: *const wire.Request, name: []const u8) ?*const wire.Signal {
            for (request.signals.items()) |*it| {
                if (std.mem.eql(u8, it.name.slice(), name)) return it;
            }
            return null;
        }
    };

    const Configured = extern struct {
        failed: u8,
        is: extern union {
            failure: Text,
            contract: extern struct { reads: List, writes: List, open_schema: bool, keeps_state: bool, produces_metrics: bool },
        },
    };

    const Answer = extern struct {
        failed: u8,
        is: extern union {
            failure: Text,
            parsed: extern struct { rows: u32, columns: List, origin: OptionalList, errors: List, state: OptionalList },
            kept: extern struct { keep: List, errors: List, state: OptionalList },
            enriched: extern struct { columns: List, errors: List, state: OptionalList },
            proposal: extern struct { replicas: u32, reason: Text, state: Text },
        },
    };
};

comptime {
    if (@sizeOf(wire.Column) != 48 or @sizeOf(wire.Signal) != 48 or @sizeOf(wire.Request) != 72) @compileError("this is for wasm32");
}

const host = struct {
    extern "tidemill:plugin/log@0.1.0" fn log(level: u32, message: [*]const u8, size: usize) void;
    extern "tidemill:plugin/tables@0.1.0" fn columns(table: [*]const u8, size: usize, answer: *wire.HostAnswer) void;
    extern "tidemill:plugin/tables@0.1.0" fn lookup([*]const u8, usize, [*]const u8, usize, [*]const u32, usize, [*]const u8, usize, *const anyopaque, usize, *wire.HostAnswer) void;
    extern "tidemill:plugin/tables@0.1.0" fn @"lookup-network"([*]const u8, usize, [*]const u8, usize, [*]const u32, usize, [*]const u8, usize, *const anyopaque, usize, *wire.HostAnswer) void;
};

// ---- Exports ------------------------------------------------------------------------------------------------------------------

const abi: std.builtin.CallingConvention = .{ .wasm_mvp = .{} };

/// Makes a type the plugin that this program is.
pub fn exportParser(comptime Plugin: type) void {
    exportPlugin(Plugin, "parsing", "parse", Rows(Plugin, .parses).call);
}
pub fn exportFilter(comptime Plugin: type) void {
    exportPlugin(Plugin, "filtering", "keep", Rows(Plugin, .keeps).call);
}
pub fn exportEnricher(comptime Plugin: type) void {
    exportPlugin(Plugin, "enriching", "enrich", Rows(Plugin, .enriches).call);
}
pub fn exportAutoscaler(comptime Plugin: type) void {
    exportPlugin(Plugin, "autoscaling", "decide", Decides(Plugin).call);
}

fn exportPlugin(comptime Plugin: type, comptime interface: []const u8, comptime function: []const u8, comptime call: anytype) void {
    @export(&Described(Plugin).call, .{ .name = "tidemill:plugin/plugin@0.1.0#describe" });
    @export(&Configures(Plugin).call, .{ .name = "tidemill:plugin/plugin@0.1.0#configure" });
    @export(&call, .{ .name = "tidemill:plugin/" ++ interface ++ "@0.1.0#" ++ function });
    @export(&endCall, .{ .name = "cabi_post_tidemill:plugin/" ++ interface ++ "@0.1.0#" ++ function });
    @export(&realloc, .{ .name = "cabi_realloc" });
}

fn realloc(old: ?[*]u8, old_size: usize, alignment: usize, size: usize) callconv(abi) ?[*]u8 {
    _ = alignment; // never more than 8
    const made = allocator().alignedAlloc(u8, .@"8", @max(size, 1)) catch @trap();
    if (old) |from| @memcpy(made[0..@min(old_size, size)], from[0..@min(old_size, size)]);
    return made.ptr;
}

fn endCall(_: usize) callconv(abi) void {
    _ = arena.reset(.retain_capacity);
}

/// The one plugin that this program is: made by `configure`, it lives as long as the instance.
fn Instance(comptime Plugin: type) type {
    return struct {
        var plugin: Plugin = undefined;
    };
}

fn Described(comptime Plugin: type) type {
    return struct {
        var descriptor: [3]wire.Text = undefined;
        fn call() callconv(abi) *const [3]wire.Text {
            descriptor = .{ .of(Plugin.name), .of(Plugin.version), .of(Plugin.about) };
            return &descriptor;
        }
    };
}

fn Configures(comptime Plugin: type) type {
    return struct {
        var answer: wire.Configured = undefined;
        fn call(json: [*]const u8, size: usize) callconv(abi) *const wire.Configured {
            failure = null;
            var contract: Contract = .{};
            answer = if (configure(json[0..size], &contract)) .{ .failed = 0, .is = .{ .contract = .{
                .reads = .of(wire.Text, contract.names.items),
                .writes = .of(wire.Field, contract.fields.items),
                .open_schema = contract.open_schema,
                .keeps_state = contract.keeps_state,
                .produces_metrics = contract.produces_metrics,
            } } } else |_| .{ .failed = 1, .is = .{ .failure = .of(failure orelse "") } };
            // What was allocated so far lives on: calls begin with an arena of their own.
            arena = .init(std.heap.wasm_allocator);
            return &answer;
        }
        fn configure(json: []const u8, contract: *Contract) Error!void {
            Instance(Plugin).plugin = try Plugin.configure(try readSettings(Plugin.Settings, json), contract);
        }
    };
}

fn Rows(comptime Plugin: type, comptime world: @FieldType(Output, "world")) type {
    return struct {
        var answer: wire.Answer = undefined;
        fn call(rows: u32, columns: usize, count: usize, has_now: u32, now: i64, has_state: u32, state: usize, state_size: usize) callconv(abi) *const wire.Answer {
            failure = null;
            const input: Batch = .{ .rows = rows, .columns = wire.List.as(.{ .ptr = @ptrFromInt(columns), .count = count }, wire.Column) };
            const context: Context = .{
                .now = if (has_now != 0) now else null,
                .state = if (has_state != 0) wire.List.as(.{ .ptr = @ptrFromInt(state), .count = state_size }, u8) else null,
            };
            answer = run(input, context) catch .{ .failed = 1, .is = .{ .failure = .of(failure orelse "") } };
            return &answer;
        }
        fn run(input: Batch, context: Context) Error!wire.Answer {
            var output: Output = .{ .world = world, .rows_in = input.rows };
            const plugin = &Instance(Plugin).plugin;
            switch (world) {
                .parses => try plugin.parse(input, context, &output),
                .keeps => {
                    output.mask = allocator().alloc(u8, input.rows) catch @trap();
                    @memset(output.mask, 1);
                    try plugin.keep(input, context, &output);
                },
                .enriches => try plugin.enrich(input, context, &output),
            }
            const columns = try output.finished();
            const errors: wire.List = .of(wire.RowError, output.errors.items);
            const state: wire.OptionalList = if (output.kept_state) |bytes| .some(u8, bytes) else .none;
            return .{ .failed = 0, .is = switch (world) {
                .parses => .{ .parsed = .{
                    .rows = @intCast(output.rowsOut()),
                    .columns = columns,
                    .origin = if (output.origins.items.len > 0) .some(u32, output.origins.items) else .none,
                    .errors = errors,
                    .state = state,
                } },
                .keeps => .{ .kept = .{ .keep = .of(u8, output.mask), .errors = errors, .state = state } },
                .enriches => .{ .enriched = .{ .columns = columns, .errors = errors, .state = state } },
            } };
        }
    };
}

fn Decides(comptime Plugin: type) type {
    return struct {
        var answer: wire.Answer = undefined;
        fn call(request: *const Request) callconv(abi) *const wire.Answer {
            failure = null;
            answer = if (Instance(Plugin).plugin.decide(request)) |proposal| .{ .failed = 0, .is = .{ .proposal = .{
                .replicas = proposal.replicas,
                .reason = .of(utf8(proposal.reason)),
                .state = .of(allocator().dupe(u8, proposal.state) catch @trap()),
            } } } else |_| .{ .failed = 1, .is = .{ .failure = .of(failure orelse "") } };
            return &answer;
        }
    };
}
