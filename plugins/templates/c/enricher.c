// The class of an HTTP status beside it: 404 is `4xx`.
//
//     status ─► status_class
//
// A plugin is handed a batch of rows as columns and hands columns back. It sees nothing else: no files, no network, no clock.
#include "tidemill.h"

static const char *const CLASSES[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};

static const char *field;

// Checks the settings, and says what is read and what is written. A setting that is not asked for here is refused by name.
static void configure(tm_settings *settings, tm_contract *contract) {
    const tm_text name = tm_setting_text(settings, "field", "status");
    if (name.size == 0) tm_fail("`field` is empty; name the column with the status");
    field = name.data; // a setting ends with a zero, and lives as long as the plugin
    tm_reads(contract, field);
    tm_writes(contract, "status_class", TM_UTF8);
}

static void enrich(const tm_batch *input, const tm_context *context, tm_output *output) {
    const tm_ints statuses = tm_read_ints(input, field);
    tm_writer *classes = tm_write_words(output, "status_class"); // text with few distinct values
    // A column that is made is as long as the input: a value or a null for each row.
    for (uint32_t row = 0; row < input->rows; row++) {
        int64_t status;
        if (!tm_int_at(&statuses, row, &status)) {
            tm_put_null(classes);
        } else if (status >= 100 && status <= 599) {
            tm_put_text(classes, tm_text_of(CLASSES[status / 100 - 1]));
        } else {
            // The row goes to `tidemill.dead_letters` with this reason; the others go on.
            tm_error(output, row, "`%s` is %lld, which is no HTTP status", field, (long long)status);
        }
    }
}

TM_ENRICHER("{{name}}", "0.1.0", "The class of an HTTP status: 2xx, 4xx, 5xx", configure, enrich)
