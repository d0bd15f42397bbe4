// Columns named in the settings once more, as `mirrored.<name>`.
//
// Shows how a plugin reads columns that it does not know, and writes columns that the events name: `open_schema`.
#include "tidemill.h"

static void configure(tm_settings *settings, tm_contract *contract) {
    const tm_text *columns;
    const uint32_t count = tm_setting_texts(settings, "columns", &columns);
    for (uint32_t at = 0; at < count; at++) tm_reads(contract, columns[at].data);
    contract->open_schema = true;
}

static void mirror_texts(const tm_batch *input, const tm_column *column, tm_writer *writer) {
    const tm_texts texts = tm_texts_of(input, column);
    for (uint32_t row = 0; row < input->rows; row++) tm_put_text(writer, tm_text_at(&texts, row));
}

static void mirror_ints(const tm_batch *input, const tm_column *column, tm_writer *writer) {
    const tm_ints ints = tm_ints_of(input, column);
    for (uint32_t row = 0; row < input->rows; row++) {
        int64_t value;
        if (tm_int_at(&ints, row, &value)) tm_put_int(writer, value);
        else tm_put_null(writer);
    }
}

static void mirror_floats(const tm_batch *input, const tm_column *column, tm_writer *writer) {
    const tm_floats floats = tm_floats_of(input, column);
    for (uint32_t row = 0; row < input->rows; row++) {
        double value;
        if (tm_float_at(&floats, row, &value)) tm_put_float(writer, value);
        else tm_put_null(writer);
    }
}

static void mirror_booleans(const tm_batch *input, const tm_column *column, tm_writer *writer) {
    const tm_booleans booleans = tm_booleans_of(input, column);
    for (uint32_t row = 0; row < input->rows; row++) {
        bool value;
        if (tm_boolean_at(&booleans, row, &value)) tm_put_boolean(writer, value);
        else tm_put_null(writer);
    }
}

static void enrich(const tm_batch *input, const tm_context *context, tm_output *output) {
    for (uint32_t at = 0; at < input->count; at++) {
        const tm_column *column = &input->columns[at];
        const char *name = tm_format("mirrored.%.*s", TM_SHOW(column->name)).data;
        switch (tm_type_of(column)) {
        case TM_UTF8: mirror_texts(input, column, tm_write_texts(output, name)); break;
        case TM_BINARY: mirror_texts(input, column, tm_write_binaries(output, name)); break;
        case TM_INT64: mirror_ints(input, column, tm_write_ints(output, name)); break;
        case TM_TIMESTAMP: mirror_ints(input, column, tm_write_timestamps(output, name)); break;
        case TM_FLOAT64: mirror_floats(input, column, tm_write_floats(output, name)); break;
        case TM_BOOLEAN: mirror_booleans(input, column, tm_write_booleans(output, name)); break;
        }
    }
}

TM_ENRICHER("mirror-c", "0.1.0", "Columns once more, in C", configure, enrich)
