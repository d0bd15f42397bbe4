// Lines such as `2026-01-31T12:00:00Z WARN checkout took 812 ms` as columns.
//
//     body ─► timestamp · level · message
//
// A plugin is handed a batch of rows as columns and hands columns back. It sees nothing else: no files, no network, no clock.
#include "tidemill.h"

// What stands after a line's time, if the line names its level.
static const char *const LEVELS[] = {"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"};
enum { LEVEL_COUNT = sizeof LEVELS / sizeof *LEVELS };

static tm_text default_level;

// Checks the settings, and says what is read and what is written. A setting that is not asked for here is refused by name.
static void configure(tm_settings *settings, tm_contract *contract) {
    if (tm_has_setting(settings, "default_level")) {
        default_level = tm_text_of(LEVELS[tm_setting_choice(settings, "default_level", LEVELS, LEVEL_COUNT)]);
    }
    tm_reads(contract, "body");
    tm_writes(contract, "timestamp", TM_TIMESTAMP);
    tm_writes(contract, "level", TM_UTF8);
    tm_writes(contract, "message", TM_UTF8);
}

// The level that the line names, which is cut off; else the one in the settings.
static tm_text take_level(tm_text *line) {
    tm_text rest = *line;
    const tm_text word = tm_take_until(&rest, ' ');
    for (int level = 0; word.data && level < LEVEL_COUNT; level++) {
        if (tm_equals(word, LEVELS[level])) {
            *line = rest;
            return word;
        }
    }
    return default_level;
}

static void parse(const tm_batch *input, const tm_context *context, tm_output *output) {
    const tm_texts bodies = tm_read_texts(input, "body");
    tm_writer *timestamps = tm_write_timestamps(output, "timestamp");
    tm_writer *levels = tm_write_words(output, "level");                // text with few distinct values
    tm_writer *messages = tm_write_slices(output, "message", &bodies); // text cut out of the body
    for (uint32_t row = 0; row < input->rows; row++) {
        tm_text line = tm_text_at(&bodies, row);
        const tm_text time = tm_take_until(&line, ' ');
        int64_t timestamp;
        if (!time.data || !tm_parse_timestamp(time, &timestamp)) {
            // The row goes to `tidemill.dead_letters` with this reason; the others go on.
            tm_error(output, row, "a time, a space and a message should stand here");
            continue;
        }
        tm_put_int(timestamps, timestamp);
        tm_put_text(levels, take_level(&line));
        tm_put_text(messages, line);
    }
}

TM_PARSER("{{name}}", "0.1.0", "Lines with a time, a level and a message", configure, parse)
