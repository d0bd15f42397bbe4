// Drops a line that is the same as the one before it, also across batches: the last line is the state.
#include "tidemill.h"

static void configure(tm_settings *settings, tm_contract *contract) {
    tm_reads(contract, "body");
    contract->keeps_state = true;
}

static void keep(const tm_batch *input, const tm_context *context, tm_output *output) {
    const tm_texts bodies = tm_read_texts(input, "body");
    tm_text last = context->state;
    for (uint32_t row = 0; row < input->rows; row++) {
        const tm_text body = tm_text_at(&bodies, row);
        if (body.data && last.data && tm_same(body, last)) tm_drop(output, row);
        last = body;
    }
    tm_write_state(output, last.data ? last : tm_text_of(""));
}

TM_FILTER("dedupe-c", "0.1.0", "Drops a line that is the same as the one before it, in C", configure, keep)
