// Who owns the network that a client's address is in: a lookup table with columns `network` and `owner`.
//
// Shows an enricher that asks the host for a whole column at once.
#include "tidemill.h"

static const char *table;

static void configure(tm_settings *settings, tm_contract *contract) {
    table = tm_setting_text(settings, "table", "networks").data;
    const tm_text *names;
    const uint32_t count = tm_table_columns(table, &names);
    bool has_owner = count == 0; // no table: the call failed already
    tm_text list = tm_text_of("");
    for (uint32_t at = 0; at < count; at++) {
        has_owner |= tm_equals(names[at], "owner");
        list = tm_format("%.*s%s`%.*s`", TM_SHOW(list), at ? ", " : "", TM_SHOW(names[at]));
    }
    if (!has_owner) tm_fail("`table`: table `%s` has no column `owner`; it has %.*s", table, TM_SHOW(list));
    tm_reads(contract, "client");
    tm_writes(contract, "owner", TM_UTF8);
}

static void enrich(const tm_batch *input, const tm_context *context, tm_output *output) {
    static const char *const want[] = {"owner"};
    const tm_texts clients = tm_read_texts(input, "client");
    const tm_batch found = tm_lookup_network(table, "network", &clients, want, 1);
    if (found.count) tm_write_column(output, "owner", &found.columns[0]);
}

TM_ENRICHER("owner-c", "0.1.0", "Who owns the network of a client, in C", configure, enrich)
