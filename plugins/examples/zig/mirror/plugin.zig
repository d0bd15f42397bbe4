//! Columns named in the settings once more, as `mirrored.<name>`.
//!
//! Shows how a plugin reads columns that it does not know, and writes columns that the events name: `open_schema`.
const tm = @import("tidemill");

const Mirror = struct {
    pub const name = "mirror-zig";
    pub const version = "0.1.0";
    pub const about = "Columns once more, in Zig";
    pub const Settings = struct { columns: []const []const u8 = &.{} };

    pub fn configure(settings: Settings, contract: *tm.Contract) tm.Error!Mirror {
        for (settings.columns) |column| contract.reads(column);
        contract.open_schema = true;
        return .{};
    }

    pub fn enrich(_: *Mirror, input: tm.Batch, _: tm.Context, output: *tm.Output) tm.Error!void {
        for (input.columns) |*column| {
            const mirrored = tm.format("mirrored.{s}", .{column.name.slice()});
            switch (column.kind) {
                .utf8, .words, .slices => mirror(input.rows, try tm.textsOf(column), output.texts(mirrored)),
                .binary => mirror(input.rows, try tm.textsOf(column), output.binaries(mirrored)),
                .int64 => mirror(input.rows, try tm.intsOf(column), output.ints(mirrored)),
                .timestamp => mirror(input.rows, try tm.intsOf(column), output.timestamps(mirrored)),
                .float64 => mirror(input.rows, try tm.floatsOf(column), output.floats(mirrored)),
                .boolean => mirror(input.rows, try tm.booleansOf(column), output.booleans(mirrored)),
            }
        }
    }
};

fn mirror(rows: usize, from: anytype, to: anytype) void {
    for (0..rows) |row| to.put(from.get(row));
}

comptime {
    tm.exportEnricher(Mirror);
}
