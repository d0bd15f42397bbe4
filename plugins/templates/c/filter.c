// Drops events whose level is below the least wanted.
//
//     level ─► keep or drop
//
// A plugin is handed a batch of rows as columns and answers for each row. It sees nothing else: no files, no network, no clock.
#include "tidemill.h"

#include <strings.h>

// From the least to the most important.
static const char *const LEVELS[] = {"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"};
enum { LEVEL_COUNT = sizeof LEVELS / sizeof *LEVELS };

static int least;

// A level's place, or -1 if it is no level.
static int rank(tm_text level) {
    for (int at = 0; at < LEVEL_COUNT; at++) {
        if (level.size == strlen(LEVELS[at]) && strncasecmp(level.data, LEVELS[at], level.size) == 0) return at;
    }
    return -1;
}

// Checks the settings, and says what is read. A setting that is not asked for here is refused by name.
static void configure(tm_settings *settings, tm_contract *contract) {
    tm_require(settings, "least");
    const tm_text level = tm_setting_text(settings, "least", "");
    least = rank(level);
    if (least < 0) tm_fail("`least` is `%.*s`; write one of TRACE, DEBUG, INFO, WARN, ERROR, FATAL", TM_SHOW(level));
    tm_reads(contract, "level");
}

static void keep(const tm_batch *input, const tm_context *context, tm_output *output) {
    const tm_texts levels = tm_read_texts(input, "level");
    for (uint32_t row = 0; row < input->rows; row++) {
        // An event without a level, or with another word as its level, is kept: dropping is for what is known.
        const int level = rank(tm_text_at(&levels, row));
        if (level >= 0 && level < least) tm_drop(output, row);
    }
}

TM_FILTER("{{name}}", "0.1.0", "Drops events whose level is below the least wanted", configure, keep)
