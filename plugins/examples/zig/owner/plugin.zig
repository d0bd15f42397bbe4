//! Who owns the network that a client's address is in: a lookup table with columns `network` and `owner`.
//!
//! Shows an enricher that asks the host for a whole column at once.
const std = @import("std");
const tm = @import("tidemill");

const Owner = struct {
    pub const name = "owner-zig";
    pub const version = "0.1.0";
    pub const about = "Who owns the network of a client, in Zig";
    pub const Settings = struct { table: []const u8 = "networks" };

    table: []const u8,

    pub fn configure(settings: Settings, contract: *tm.Contract) tm.Error!Owner {
        contract.reads("client");
        contract.writes("owner", .utf8);
        var list: []const u8 = "";
        for (try tm.tableColumns(settings.table)) |column| {
            if (std.mem.eql(u8, column, "owner")) return .{ .table = settings.table };
            list = tm.format("{s}{s}`{s}`", .{ list, if (list.len == 0) "" else ", ", column });
        }
        return tm.fail("`table`: table `{s}` has no column `owner`; it has {s}", .{ settings.table, list });
    }

    pub fn enrich(self: *Owner, input: tm.Batch, _: tm.Context, output: *tm.Output) tm.Error!void {
        const clients = try input.texts("client");
        const found = try tm.lookupNetwork(self.table, "network", clients, input.rows, &.{"owner"});
        output.column("owner", &found.columns[0]);
    }
};

comptime {
    tm.exportEnricher(Owner);
}
