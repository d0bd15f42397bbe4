//! The class of an HTTP status beside it: 404 is `4xx`.
//!
//!     status ─► status_class
//!
//! A plugin is handed a batch of rows as columns and hands columns back. It sees nothing else: no files, no network, no clock.
const tm = @import("tidemill");

const classes = [_][]const u8{ "1xx", "2xx", "3xx", "4xx", "5xx" };

const Classes = struct {
    pub const name = "{{name}}";
    pub const version = "0.1.0";
    pub const about = "The class of an HTTP status: 2xx, 4xx, 5xx";

    /// The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name.
    pub const Settings = struct {
        /// The column with the status.
        field: []const u8 = "status",
    };

    field: []const u8,

    /// Checks the settings, and says what is read and what is written. Only columns named in `reads` are handed over.
    pub fn configure(settings: Settings, contract: *tm.Contract) tm.Error!Classes {
        if (settings.field.len == 0) return tm.fail("`field` is empty; name the column with the status", .{});
        contract.reads(settings.field);
        contract.writes("status_class", .utf8);
        return .{ .field = settings.field };
    }

    pub fn enrich(self: *Classes, input: tm.Batch, _: tm.Context, output: *tm.Output) tm.Error!void {
        const statuses = try input.ints(self.field);
        const column = output.words("status_class"); // text with few distinct values
        // A column that is made is as long as the input: a value or a null for each row.
        for (0..input.rows) |row| {
            const status = statuses.get(row) orelse {
                column.put(null);
                continue;
            };
            switch (status) {
                100...599 => column.put(classes[@intCast(@divTrunc(status, 100) - 1)]),
                // The row goes to `tidemill.dead_letters` with this reason; the others go on.
                else => output.refuse(row, "`{s}` is {d}, which is no HTTP status", .{ self.field, status }),
            }
        }
    }
};

comptime {
    tm.exportEnricher(Classes);
}
