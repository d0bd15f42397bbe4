// Tidemill plugins in C: values in, values out; what crosses the boundary is written by tidemill.c.
//
//     TM_PARSER("name", "0.1.0", "what it does", configure, parse)      the last line of a plugin; or TM_FILTER, TM_ENRICHER, TM_AUTOSCALER
//
//     configure   reads settings (tm_setting_…), says what the plugin reads (tm_reads) and makes (tm_writes)
//     parse       reads columns (tm_read_…, tm_text_at), writes columns (tm_write_…, tm_put_…), refuses rows (tm_error)
//
// Always: what a call allocates is free after it, what `configure` allocates lives as long as the plugin. A column is NULL-safe: one
//         that no event has reads as null in every row. Memory that runs out is a trap, never a null pointer.
// Never:  a plugin keeps events in variables: what it must remember goes through `tm_write_state` and comes back in `context->state`.
#ifndef TIDEMILL_H
#define TIDEMILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __wasm_simd128__
#include <wasm_simd128.h>
#endif

#ifdef __cplusplus
#define TM_C extern "C"
extern "C" {
#else
#define TM_C
#endif

// ---- Text --------------------------------------------------------------------------------------------------------------------

// Bytes, usually text, without a zero behind them. `data` is NULL where there is no value; an empty text has some other address.
typedef struct tm_text {
    const char *data;
    uint32_t size;
} tm_text;

// For printf's `%.*s`: tm_error(output, row, "`%.*s` is no level", TM_SHOW(word))
#define TM_SHOW(text) (int)(text).size, (text).data

static inline tm_text tm_text_of(const char *literal) {
    tm_text text = {literal, (uint32_t)strlen(literal)};
    return text;
}

// Whether the first `size` bytes are equal; of texts that are known when this is compiled, a comparison or two.
static inline bool tm_same_bytes(const char *a, const char *b, uint32_t size) {
    if (__builtin_constant_p(size) && size <= 16) return memcmp(a, b, size) == 0;
    for (; size >= 8; a += 8, b += 8, size -= 8) {
        uint64_t eight, others;
        memcpy(&eight, a, 8);
        memcpy(&others, b, 8);
        if (eight != others) return false;
    }
    for (; size; a++, b++, size--) {
        if (*a != *b) return false;
    }
    return true;
}

static inline bool tm_same(tm_text a, tm_text b) { return a.size == b.size && tm_same_bytes(a.data, b.data, b.size); }

// The functions below are made so that a literal's length is known to the compiler.
#define tm_equals(text, literal) tm_same((text), tm_text_of(literal))
#define tm_starts_with(text, literal) tm_begins((text), tm_text_of(literal))
// Whether `rest` begins with the literal; if so, it is cut off.
#define tm_take(rest, literal) tm_take_text((rest), tm_text_of(literal))

static inline bool tm_begins(tm_text text, tm_text with) {
    return text.size >= with.size && tm_same_bytes(text.data, with.data, with.size);
}

static inline bool tm_take_text(tm_text *rest, tm_text start) {
    if (!tm_begins(*rest, start)) return false;
    rest->data += start.size;
    rest->size -= start.size;
    return true;
}

// `text` without its first `count` bytes; empty if it has no more.
static inline tm_text tm_skip(tm_text text, uint32_t count) {
    if (count > text.size) count = text.size;
    tm_text rest = {text.data + count, text.size - count};
    return rest;
}

// The first `count` bytes of `text`; all if it has no more.
static inline tm_text tm_first(tm_text text, uint32_t count) {
    if (count < text.size) text.size = count;
    return text;
}

// Where `byte`, or the other one, first stands; the text's size if nowhere. 16 bytes at a time.
static inline uint32_t tm_find_either(tm_text text, char byte, char other) {
    uint32_t at = 0;
#ifdef __wasm_simd128__
    const v128_t first = wasm_i8x16_splat(byte), second = wasm_i8x16_splat(other);
    for (; at + 16 <= text.size; at += 16) {
        const v128_t block = wasm_v128_load(text.data + at);
        const uint32_t found = wasm_i8x16_bitmask(wasm_v128_or(wasm_i8x16_eq(block, first), wasm_i8x16_eq(block, second)));
        if (found) return at + (uint32_t)__builtin_ctz(found);
    }
#endif
    while (at < text.size && text.data[at] != byte && text.data[at] != other) at++;
    return at;
}

// Where `byte` first stands; the text's size if nowhere.
static inline uint32_t tm_find(tm_text text, char byte) { return tm_find_either(text, byte, byte); }

// Cuts off `rest` up to `byte`, and the byte too. A null text, and nothing cut off, if the byte is not there.
static inline tm_text tm_take_until(tm_text *rest, char byte) {
    tm_text word = tm_first(*rest, tm_find(*rest, byte));
    if (word.size == rest->size) return (tm_text){0, 0};
    rest->data += word.size + 1;
    rest->size -= word.size + 1;
    return word;
}

// Digits with an optional sign; false if it is anything else, or beyond 64 bits.
bool tm_parse_int(tm_text text, int64_t *value);
// A decimal number, perhaps with an exponent; false if it is anything else.
bool tm_parse_float(tm_text text, double *value);
// `2015-05-17T10:05:03.25Z` as nanoseconds since 1970; false if it is no time.
bool tm_parse_timestamp(tm_text text, int64_t *nanoseconds);
// Days since 1970-01-01 of a date of the Gregorian calendar; false if there is no such day.
bool tm_days(int64_t year, int64_t month, int64_t day, int64_t *days);

// ---- Memory and messages ------------------------------------------------------------------------------------------------------

// Free after the call; never NULL. In `configure`: never freed.
void *tm_alloc(size_t size);
// A copy that lives as long as what `tm_alloc` gives.
tm_text tm_copy(tm_text text);
// A text put together as by printf, with a zero behind it that is not counted.
tm_text tm_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The whole call fails with this message; of several the first counts. Returns false, for `return tm_fail(…)`.
bool tm_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

enum { TM_TRACE, TM_DEBUG, TM_INFO, TM_WARN, TM_ERROR };
// A line in `tidemill.logs`. Not for data.
void tm_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

// ---- Settings and contract ----------------------------------------------------------------------------------------------------

// A column's type. Timestamps are nanoseconds since 1970, UTC; binary is bytes, utf8 is text.
typedef enum tm_type { TM_BOOLEAN, TM_INT64, TM_FLOAT64, TM_TIMESTAMP, TM_UTF8, TM_BINARY } tm_type;

typedef struct tm_setting {
    tm_text key, json;
} tm_setting;

// The stage's `settings` table. A key that `configure` asked nobody for is refused, with the names of those it did ask for.
typedef struct tm_settings {
    const char *within; // before each key in messages: "" or "table."
    uint32_t count;
    const tm_setting *items;
    uint32_t asked_count;
    const char **asked;
} tm_settings;

bool tm_has_setting(tm_settings *settings, const char *key);
// What stands at `key`, else `otherwise`. Of another type: the call fails and names it.
tm_text tm_setting_text(tm_settings *settings, const char *key, const char *otherwise);
int64_t tm_setting_int(tm_settings *settings, const char *key, int64_t otherwise);
double tm_setting_float(tm_settings *settings, const char *key, double otherwise);
bool tm_setting_boolean(tm_settings *settings, const char *key, bool otherwise);
// One of these words, by its place; the first where nothing is set.
uint32_t tm_setting_choice(tm_settings *settings, const char *key, const char *const *words, uint32_t count);
// A list of texts; returns how many.
uint32_t tm_setting_texts(tm_settings *settings, const char *key, const tm_text **texts);
// A table within the settings; empty where there is none.
tm_settings tm_setting_table(tm_settings *settings, const char *key);
// Without it the call fails: "`field` is missing".
void tm_require(tm_settings *settings, const char *key);

// What a configured plugin reads and makes.
typedef struct tm_contract {
    bool open_schema;      // columns beyond `tm_writes` may appear, named by the events
    bool keeps_state;      // `context->state` is what the call before handed to `tm_write_state`
    bool produces_metrics; // what comes out of this parser is metrics: name, kind, value, labels.*, timestamp
    struct tm_names *reads_, *writes_;
} tm_contract;

// A column to hand over. `labels.job` is one label of a metric, `labels.*` every label, `*` every column.
void tm_reads(tm_contract *contract, const char *column);
// A column the plugin makes or replaces. The name has to live as long as the plugin.
void tm_writes(tm_contract *contract, const char *column, tm_type type);

// ---- Columns in ---------------------------------------------------------------------------------------------------------------

// As it crosses. Its bytes, numbers and nulls are read through `tm_read_…` and `tm_…_of`.
typedef struct tm_list {
    const void *data;
    uint32_t count;
} tm_list;

typedef struct tm_column {
    tm_text name;
    uint8_t kind; // a tm_type; 6 is text by index, 7 is text by place
    union {
        tm_list numbers;
        struct {
            tm_list offsets, data;
        } bytes;
        struct {
            tm_list indices, offsets, data;
        } dictionary;
        struct {
            tm_text of;
            tm_list spans, extra;
        } slices;
    } values;
    bool has_validity;
    tm_list validity;
} tm_column;

// Columns of equal length.
typedef struct tm_batch {
    uint32_t rows;
    const tm_column *columns;
    uint32_t count;
} tm_batch;

// Beside the rows of a call.
typedef struct tm_context {
    bool has_now; // the pipeline grants the clock (`clock = true`)
    int64_t now;  // nanoseconds
    tm_text state; // `data` is NULL before any was handed on
} tm_context;

// Columns to read, each of one type; all NULL where the column is absent.
typedef struct tm_texts {
    const tm_column *column;
    const uint8_t *validity;
    const uint32_t *indices, *offsets;
    const char *data;
    uint32_t data_size, rows;
} tm_texts;
typedef struct tm_ints {
    const int64_t *values;
    const uint8_t *validity;
} tm_ints;
typedef struct tm_floats {
    const double *values;
    const uint8_t *validity;
} tm_floats;
typedef struct tm_booleans {
    const uint8_t *values;
    const uint8_t *validity;
} tm_booleans;

// A column by its name; NULL where no event has it.
const tm_column *tm_find_column(const tm_batch *batch, const char *name);

// A column of one type. Of another type: the call fails and names both. Texts read text and bytes, floats read int64 too.
tm_texts tm_read_texts(const tm_batch *batch, const char *name);
tm_ints tm_read_ints(const tm_batch *batch, const char *name);
tm_ints tm_read_timestamps(const tm_batch *batch, const char *name);
tm_floats tm_read_floats(const tm_batch *batch, const char *name);
tm_booleans tm_read_booleans(const tm_batch *batch, const char *name);

// The same for a column of `batch->columns`, as with `labels.*`.
tm_texts tm_texts_of(const tm_batch *batch, const tm_column *column);
tm_ints tm_ints_of(const tm_batch *batch, const tm_column *column);
tm_floats tm_floats_of(const tm_batch *batch, const tm_column *column);
tm_booleans tm_booleans_of(const tm_batch *batch, const tm_column *column);
// What a column holds: text by index or by place is utf8.
static inline tm_type tm_type_of(const tm_column *column) {
    return column->kind > TM_BINARY ? TM_UTF8 : (tm_type)column->kind;
}

// A row's text; `data` is NULL where it is null.
static inline tm_text tm_text_at(const tm_texts *texts, uint32_t row) {
    if (!texts->offsets || (texts->validity && !texts->validity[row])) return (tm_text){0, 0};
    if (texts->indices) row = texts->indices[row];
    const uint32_t start = texts->offsets[row];
    return (tm_text){texts->data + start, texts->offsets[row + 1] - start};
}

// A row's value; false where it is null.
static inline bool tm_int_at(const tm_ints *ints, uint32_t row, int64_t *value) {
    if (!ints->values || (ints->validity && !ints->validity[row])) return false;
    *value = ints->values[row];
    return true;
}
static inline bool tm_float_at(const tm_floats *floats, uint32_t row, double *value) {
    if (!floats->values || (floats->validity && !floats->validity[row])) return false;
    *value = floats->values[row];
    return true;
}
static inline bool tm_boolean_at(const tm_booleans *booleans, uint32_t row, bool *value) {
    if (!booleans->values || (booleans->validity && !booleans->validity[row])) return false;
    *value = booleans->values[row];
    return true;
}

// ---- Columns out --------------------------------------------------------------------------------------------------------------

// A column that is being written: one value a row that comes out, in order.
typedef struct tm_writer {
    tm_text name;
    uint8_t kind;
    uint32_t rows, room;
    union {
        uint8_t *booleans;
        int64_t *ints; // timestamps too
        double *floats;
        uint32_t *offsets; // text and bytes
        uint32_t *indices; // words
        uint32_t *spans;   // slices
    } values;
    uint8_t *validity; // NULL as long as nothing is null
    struct tm_bytes {
        char *data;
        uint32_t size, room;
    } bytes; // the text; of words each once; of slices what stands elsewhere
    tm_text source, of;
    struct tm_words *words;
    const tm_column *ready; // handed on as it is
    struct tm_writer *next;
} tm_writer;

typedef struct tm_output tm_output;

// A column of text, of bytes, of numbers. The name has to live until the call ends.
tm_writer *tm_write_texts(tm_output *output, const char *name);
tm_writer *tm_write_binaries(tm_output *output, const char *name);
tm_writer *tm_write_ints(tm_output *output, const char *name);
tm_writer *tm_write_floats(tm_output *output, const char *name);
tm_writer *tm_write_booleans(tm_output *output, const char *name);
tm_writer *tm_write_timestamps(tm_output *output, const char *name);
// Text with few distinct values: a method, a level, a host.
tm_writer *tm_write_words(tm_output *output, const char *name);
// Text cut out of a column: only where it stands goes out, the host cuts. Quickest for a parser. Other texts go as they are.
tm_writer *tm_write_slices(tm_output *output, const char *name, const tm_texts *of);
// A column as it came, of the input or of a lookup, under a name.
void tm_write_column(tm_output *output, const char *name, const tm_column *column);

// For `tm_put_…` below.
void tm_grow(tm_writer *writer);
void tm_put_elsewhere(tm_writer *writer, tm_text text);
void tm_wrong_put(const tm_writer *writer, const char *what);

void tm_put_null(tm_writer *writer);

static inline void tm_begin_value(tm_writer *writer) {
    if (__builtin_expect(writer->rows == writer->room, 0)) tm_grow(writer);
    if (writer->validity) writer->validity[writer->rows] = 1;
}

// The next row's value. A text whose `data` is NULL is null; bytes that are not UTF-8 become U+FFFD, except in binary.
static inline void tm_put_text(tm_writer *writer, tm_text text) {
    const uint32_t start = (uint32_t)(text.data - writer->source.data);
    if (writer->kind != 7 || start > writer->source.size || text.size > writer->source.size - start || !text.data) {
        tm_put_elsewhere(writer, text);
        return;
    }
    tm_begin_value(writer);
    writer->values.spans[2 * writer->rows] = start;
    writer->values.spans[2 * writer->rows + 1] = text.size;
    writer->rows++;
}
// Whole numbers and timestamps.
static inline void tm_put_int(tm_writer *writer, int64_t value) {
    if (writer->kind != TM_INT64 && writer->kind != TM_TIMESTAMP) {
        tm_wrong_put(writer, "a whole number");
        return;
    }
    tm_begin_value(writer);
    writer->values.ints[writer->rows++] = value;
}
static inline void tm_put_float(tm_writer *writer, double value) {
    if (writer->kind != TM_FLOAT64) {
        tm_wrong_put(writer, "a float64");
        return;
    }
    tm_begin_value(writer);
    writer->values.floats[writer->rows++] = value;
}
static inline void tm_put_boolean(tm_writer *writer, bool value) {
    if (writer->kind != TM_BOOLEAN) {
        tm_wrong_put(writer, "a boolean");
        return;
    }
    tm_begin_value(writer);
    writer->values.booleans[writer->rows++] = value;
}

// This row could not be handled: it becomes a dead letter with this message, the others go on. Values already put for it are taken back.
void tm_error(tm_output *output, uint32_t row, const char *format, ...) __attribute__((format(printf, 3, 4)));
// A parser's next row comes from this row. Said for each row that comes out, there may be more or fewer than came in.
void tm_origin(tm_output *output, uint32_t row);
// What the next call gets, if `contract->keeps_state`.
void tm_write_state(tm_output *output, tm_text state);
// A filter keeps every row but these.
void tm_drop(tm_output *output, uint32_t row);
// One byte a row, 1 keeps it: for a tight loop.
uint8_t *tm_mask(tm_output *output);

// ---- Lookup tables ------------------------------------------------------------------------------------------------------------

// The names of a table's columns; returns how many. No such table: the call fails.
uint32_t tm_table_columns(const char *table, const tm_text **names);
// For each key the row whose column `key` equals it: the columns `want`, null where there is none or the key is null.
tm_batch tm_lookup(const char *table, const char *key, const tm_texts *keys, const char *const *want, uint32_t count);
// The same by addresses, where column `key` has networks like `10.0.0.0/8`; of several the narrowest.
tm_batch tm_lookup_network(const char *table, const char *key, const tm_texts *addresses, const char *const *want, uint32_t count);

// ---- Autoscalers --------------------------------------------------------------------------------------------------------------

enum { TM_FRESH, TM_STALE, TM_MISSING, TM_FAILED };

// The latest answer of one of the scaler's queries.
typedef struct tm_signal {
    tm_text name;
    uint8_t freshness; // TM_FRESH …
    tm_batch table;    // empty when missing or failed
    tm_text message;   // why it is not fresh
    bool has_caught_up_at;
    int64_t caught_up_at; // how far the sources behind it had come, in nanoseconds
} tm_signal;

// One replica; times in nanoseconds.
typedef struct tm_replica {
    tm_text name;
    bool ready;
    int64_t started_at, changed_at;
} tm_replica;

typedef struct tm_workload {
    tm_text name;
    uint32_t replicas, ready, min, max;
    const tm_replica *members; // none where they are not told apart
    uint32_t member_count;
} tm_workload;

// What an earlier tick decided.
typedef struct tm_decision {
    int64_t at;
    uint32_t replicas;
    bool has_proposed; // false if the plugin failed
    uint32_t proposed, decided;
    tm_text reason;
} tm_decision;

// What another decider proposes in this tick.
typedef struct tm_advice {
    tm_text name;
    bool has_replicas; // false if it failed
    uint32_t replicas;
    tm_text reason;
} tm_advice;

typedef struct tm_request {
    int64_t now; // nanoseconds
    tm_workload workload;
    const tm_signal *signals;
    uint32_t signal_count;
    const tm_decision *decisions; // newest last
    uint32_t decision_count;
    const tm_advice *advice;
    uint32_t advice_count;
    tm_text state; // what the last tick handed to `tm_propose_state`; empty at first
} tm_request;

typedef struct tm_proposal {
    uint32_t replicas;
    tm_text reason, state;
} tm_proposal;

// A signal by its name; NULL if the scaler has none.
const tm_signal *tm_find_signal(const tm_request *request, const char *name);
// The first row's `value`, or its only number; false where there is none.
bool tm_signal_value(const tm_signal *signal, double *value);
// How many replicas, and why, with the figures.
void tm_propose(tm_proposal *proposal, uint32_t replicas, const char *format, ...) __attribute__((format(printf, 3, 4)));
void tm_propose_state(tm_proposal *proposal, tm_text state);

// ---- Exports ------------------------------------------------------------------------------------------------------------------

typedef void (*tm_configure_function)(tm_settings *settings, tm_contract *contract);
typedef void (*tm_rows_function)(const tm_batch *input, const tm_context *context, tm_output *output);
typedef void (*tm_decide_function)(const tm_request *request, tm_proposal *proposal);

void *tm_run_configure(tm_configure_function configure, const char *settings, uint32_t size);
void *tm_run_parse(tm_rows_function parse, const tm_batch *input, const tm_context *context);
void *tm_run_keep(tm_rows_function keep, const tm_batch *input, const tm_context *context);
void *tm_run_enrich(tm_rows_function enrich, const tm_batch *input, const tm_context *context);
void *tm_run_decide(tm_decide_function decide, const tm_request *request);
void tm_end_call(void);

#ifdef __wasm__
#define TM_EXPORT(name) TM_C __attribute__((export_name(name), used))
#else
#define TM_EXPORT(name) TM_C
#endif

#define TM_PLUGIN(name, version, about, configure)                                                                                \
    TM_EXPORT("tidemill:plugin/plugin@0.1.0#describe") void *tm_export_describe(void) {                                          \
        static const tm_text descriptor[3] = {                                                                                    \
            {name, sizeof(name) - 1}, {version, sizeof(version) - 1}, {about, sizeof(about) - 1}};                                \
        return (void *)descriptor;                                                                                                \
    }                                                                                                                             \
    TM_EXPORT("tidemill:plugin/plugin@0.1.0#configure")                                                                          \
    void *tm_export_configure(const char *settings, uint32_t size) { return tm_run_configure(configure, settings, size); }

#define TM_ROWS(interface, function, run)                                                                                         \
    TM_EXPORT("tidemill:plugin/" interface "@0.1.0#" function)                                                                   \
    void *tm_export_call(uint32_t rows, const tm_column *columns, uint32_t count, uint32_t has_now, int64_t now,                  \
                         uint32_t has_state, const char *state, uint32_t state_size) {                                            \
        const tm_batch input = {rows, columns, count};                                                                            \
        const tm_context context = {has_now != 0, now, {has_state ? (state ? state : "") : 0, has_state ? state_size : 0}};                     \
        return run;                                                                                                               \
    }                                                                                                                             \
    TM_EXPORT("cabi_post_tidemill:plugin/" interface "@0.1.0#" function)                                                         \
    void tm_export_end(void *answer) {                                                                                            \
        (void)answer;                                                                                                             \
        tm_end_call();                                                                                                            \
    }

// Makes two functions the plugin that this program is. The first three are texts between quotes.
#define TM_PARSER(name, version, about, configure, parse)                                                                        \
    TM_PLUGIN(name, version, about, configure) TM_ROWS("parsing", "parse", tm_run_parse(parse, &input, &context))
#define TM_FILTER(name, version, about, configure, keep)                                                                         \
    TM_PLUGIN(name, version, about, configure) TM_ROWS("filtering", "keep", tm_run_keep(keep, &input, &context))
#define TM_ENRICHER(name, version, about, configure, enrich)                                                                     \
    TM_PLUGIN(name, version, about, configure) TM_ROWS("enriching", "enrich", tm_run_enrich(enrich, &input, &context))
#define TM_AUTOSCALER(name, version, about, configure, decide)                                                                   \
    TM_PLUGIN(name, version, about, configure)                                                                                    \
    TM_EXPORT("tidemill:plugin/autoscaling@0.1.0#decide") void *tm_export_decide(const tm_request *request) {                    \
        return tm_run_decide(decide, request);                                                                                    \
    }                                                                                                                             \
    TM_EXPORT("cabi_post_tidemill:plugin/autoscaling@0.1.0#decide") void tm_export_end(void *answer) {                           \
        (void)answer;                                                                                                             \
        tm_end_call();                                                                                                            \
    }

#ifdef __cplusplus
}
#endif
#endif
