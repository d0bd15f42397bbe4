// What stands behind tidemill.h: memory, settings, columns as they cross, and the calls of the host.
//
//     host ─ cabi_realloc ─► arena ─► tm_run_… ─► your function ─► columns in the arena ─► host reads ─► tm_end_call: arena is free
//
// The structs of the header have the layout of the interface's records (the component model's canonical ABI), so nothing is copied
// on the way in.
#include "tidemill.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __wasm__
#define IMPORT(module, name) __attribute__((import_module("tidemill:plugin/" module "@0.1.0"), import_name(name)))
_Static_assert(sizeof(tm_column) == 48 && sizeof(tm_signal) == 48 && sizeof(tm_request) == 72, "as the canonical ABI lays them out");
_Static_assert(sizeof(tm_decision) == 32 && sizeof(tm_advice) == 24 && sizeof(tm_replica) == 32, "as the canonical ABI lays them out");
#else
#define IMPORT(module, name)
#endif

// ---- Memory -------------------------------------------------------------------------------------------------------------------

enum { CHUNK_BYTES_MIN = 16 << 10, ALIGNMENT = 16 };

// Chunks from malloc, newest first. After a call that needed several there is one of their size, so that the next needs one.
typedef struct chunk {
    struct chunk *before;
    size_t size;
} chunk;

static struct {
    chunk *newest;
    char *next, *end, *last;
} arena;

static char *chunk_start(chunk *chunk) { return (char *)chunk + ALIGNMENT; }

static void add_chunk(size_t size) {
    if (size > (size_t)INT32_MAX) __builtin_trap();
    chunk *added = malloc(ALIGNMENT + size);
    if (!added) __builtin_trap();
    *added = (chunk){arena.newest, size};
    arena.newest = added;
    arena.next = chunk_start(added);
    arena.end = arena.next + size;
    arena.last = NULL;
}

void *tm_alloc(size_t size) {
    if (size > (size_t)INT32_MAX) __builtin_trap();
    size = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if ((size_t)(arena.end - arena.next) < size) {
        size_t room = arena.newest ? 2 * arena.newest->size : CHUNK_BYTES_MIN;
        add_chunk(room < size ? size : room);
    }
    arena.last = arena.next;
    arena.next += size;
    return arena.last;
}

// The last allocation grows where it stands, if there is room.
static void *resize(void *old, size_t old_size, size_t size) {
    if (old && old == arena.last && size <= (size_t)(arena.end - arena.last)) {
        arena.next = arena.last + ((size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1));
        return old;
    }
    void *made = tm_alloc(size);
    if (old) memcpy(made, old, old_size < size ? old_size : size);
    return made;
}

// From here on `tm_end_call` lets be what there is.
static void keep_all(void) { memset(&arena, 0, sizeof arena); }

void tm_end_call(void) {
    if (!arena.newest) return;
    if (arena.newest->before) {
        size_t total = 0;
        while (arena.newest) {
            chunk *before = arena.newest->before;
            total += arena.newest->size;
            free(arena.newest);
            arena.newest = before;
        }
        add_chunk(total);
    }
    arena.next = chunk_start(arena.newest);
    arena.last = NULL;
}

TM_EXPORT("cabi_realloc")
void *tm_export_realloc(void *old, size_t old_size, size_t alignment, size_t size) {
    (void)alignment; // never more than 8
    return resize(old_size ? old : NULL, old_size, size);
}

tm_text tm_copy(tm_text text) {
    if (!text.data) return text;
    char *copy = tm_alloc(text.size);
    memcpy(copy, text.data, text.size);
    return (tm_text){copy, text.size};
}

// ---- UTF-8 --------------------------------------------------------------------------------------------------------------------

// How many bytes the character at `at` has; if it is none, how many belong to what there is of it, and `valid` is false.
static uint32_t character(const uint8_t *at, uint32_t left, bool *valid) {
    const uint8_t lead = at[0];
    const uint32_t size = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    *valid = false;
    if (!size) return 1;
    for (uint32_t next = 1; next < size; next++) {
        uint8_t low = 0x80, high = 0xBF;
        if (next == 1 && lead == 0xE0) low = 0xA0; // written longer than need be
        if (next == 1 && lead == 0xED) high = 0x9F; // half of a surrogate pair
        if (next == 1 && lead == 0xF0) low = 0x90;
        if (next == 1 && lead == 0xF4) high = 0x8F; // beyond Unicode
        if (next == left || at[next] < low || at[next] > high) return next;
    }
    *valid = true;
    return size;
}

// How many bytes from the start on are UTF-8.
static uint32_t utf8_size(tm_text text) {
    uint32_t at = 0;
    for (bool valid = true; at < text.size;) {
#ifdef __wasm_simd128__
        while (at + 16 <= text.size && !wasm_i8x16_bitmask(wasm_v128_load(text.data + at))) at += 16;
        if (at == text.size) break;
#endif
        const uint32_t size = character((const uint8_t *)text.data + at, text.size - at, &valid);
        if (!valid) break;
        at += size;
    }
    return at;
}

// The text, with U+FFFD for what is not UTF-8.
static tm_text utf8(tm_text text) {
    uint32_t good = utf8_size(text);
    if (good == text.size) return text;
    char *made = tm_alloc((size_t)text.size * 3), *to = made;
    while (true) {
        memcpy(to, text.data, good);
        to += good;
        text = tm_skip(text, good);
        if (!text.size) break;
        bool valid;
        text = tm_skip(text, character((const uint8_t *)text.data, text.size, &valid));
        memcpy(to, "\xEF\xBF\xBD", 3);
        to += 3;
        good = utf8_size(text);
    }
    return (tm_text){made, (uint32_t)(to - made)};
}

// ---- Messages -----------------------------------------------------------------------------------------------------------------

// The first failure of the call that is running; `data` is NULL as long as there is none.
static tm_text failure;

static tm_text format_all(const char *format, va_list arguments) {
    char shown[256];
    va_list again;
    va_copy(again, arguments);
    int size = vsnprintf(shown, sizeof shown, format, arguments);
    if (size < 0) size = 0;
    char *text = tm_alloc((size_t)size + 1);
    if ((size_t)size < sizeof shown) memcpy(text, shown, (size_t)size + 1);
    else vsnprintf(text, (size_t)size + 1, format, again);
    va_end(again);
    return (tm_text){text, (uint32_t)size};
}

// Messages cross as UTF-8, and may show a part of what is not.
static tm_text message_of(const char *format, va_list arguments) { return utf8(format_all(format, arguments)); }

tm_text tm_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    tm_text text = format_all(format, arguments);
    va_end(arguments);
    return text;
}

bool tm_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (!failure.data) failure = message_of(format, arguments);
    va_end(arguments);
    return false;
}

IMPORT("log", "log") void host_log(uint32_t level, const char *message, uint32_t size);

void tm_log(int level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    tm_text text = message_of(format, arguments);
    va_end(arguments);
    host_log((uint32_t)level, text.data, text.size);
}

// ---- Texts as values ----------------------------------------------------------------------------------------------------------

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

bool tm_parse_int(tm_text text, int64_t *value) {
    const bool negative = text.size && text.data[0] == '-';
    uint32_t at = text.size && (text.data[0] == '-' || text.data[0] == '+');
    if (at == text.size) return false;
    int64_t number = 0; // counted downwards: there is one negative number more
    for (; at < text.size; at++) {
        if (!is_digit(text.data[at])) return false;
        if (__builtin_mul_overflow(number, 10, &number)) return false;
        if (__builtin_sub_overflow(number, text.data[at] - '0', &number)) return false;
    }
    if (!negative && number == INT64_MIN) return false;
    *value = negative ? number : -number;
    return true;
}

bool tm_parse_float(tm_text text, double *value) {
    // What strtod takes beyond decimal numbers (`inf`, `0x1p3`, spaces) is no number of a log.
    bool digits = false;
    for (uint32_t at = 0; at < text.size; at++) {
        digits |= is_digit(text.data[at]);
        if (!is_digit(text.data[at]) && !memchr("+-.eE", text.data[at], 5)) return false;
    }
    char shown[64];
    if (!digits || text.size >= sizeof shown) return false;
    memcpy(shown, text.data, text.size);
    shown[text.size] = 0;
    char *end;
    *value = strtod(shown, &end);
    return end == shown + text.size;
}

bool tm_days(int64_t year, int64_t month, int64_t day, int64_t *days) {
    static const int8_t lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (month < 1 || month > 12 || year < -9999 || year > 9999) return false;
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day < 1 || day > lengths[month - 1] + (month == 2 && leap)) return false;
    // Years that begin with March, in eras of 400: the leap day comes last.
    const int64_t of_march = year - (month <= 2), era = (of_march >= 0 ? of_march : of_march - 399) / 400;
    const int64_t of_era = of_march - era * 400, of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    *days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    return true;
}

// `count` digits that are cut off.
static bool take_digits(tm_text *rest, uint32_t count, int64_t *value) {
    tm_text digits = tm_first(*rest, count);
    if (digits.size != count || !is_digit(digits.data[0]) || !tm_parse_int(digits, value)) return false;
    *rest = tm_skip(*rest, count);
    return true;
}

bool tm_parse_timestamp(tm_text text, int64_t *nanoseconds) {
    int64_t year, month, day, hour, minute, second, days, fraction = 0, offset_hours = 0, offset_minutes = 0, sign = 0;
    if (!take_digits(&text, 4, &year) || !tm_take(&text, "-") || !take_digits(&text, 2, &month) || !tm_take(&text, "-") ||
        !take_digits(&text, 2, &day) || !(tm_take(&text, "T") || tm_take(&text, "t") || tm_take(&text, " ")) ||
        !take_digits(&text, 2, &hour) || !tm_take(&text, ":") || !take_digits(&text, 2, &minute) || !tm_take(&text, ":") ||
        !take_digits(&text, 2, &second) || !tm_days(year, month, day, &days) || hour > 23 || minute > 59 || second > 60) {
        return false;
    }
    if (tm_take(&text, ".")) {
        int64_t place = 1000000000;
        if (!text.size || !is_digit(text.data[0])) return false;
        for (; text.size && is_digit(text.data[0]); text = tm_skip(text, 1)) fraction += (place /= 10) * (text.data[0] - '0');
    }
    if (tm_take(&text, "+")) sign = 1;
    else if (tm_take(&text, "-")) sign = -1;
    else if (!tm_take(&text, "Z") && !tm_take(&text, "z")) return false;
    if (sign && (!take_digits(&text, 2, &offset_hours) || !tm_take(&text, ":") || !take_digits(&text, 2, &offset_minutes))) return false;
    if (text.size || offset_hours > 23 || offset_minutes > 59) return false;
    const int64_t seconds = days * 86400 + hour * 3600 + minute * 60 + second - sign * (offset_hours * 3600 + offset_minutes * 60);
    return !__builtin_mul_overflow(seconds, 1000000000, nanoseconds) && !__builtin_add_overflow(*nanoseconds, fraction, nanoseconds);
}

// ---- Settings -----------------------------------------------------------------------------------------------------------------

static tm_text without_space(tm_text json) {
    while (json.size && (json.data[0] == ' ' || json.data[0] == '\n' || json.data[0] == '\t' || json.data[0] == '\r')) json = tm_skip(json, 1);
    return json;
}

// Cuts one value off JSON that the host wrote: well-formed, so that brackets and quotes are all there is to count.
static tm_text take_json(tm_text *rest) {
    *rest = without_space(*rest);
    uint32_t at = 0, depth = 0;
    for (bool quoted = false; at < rest->size; at++) {
        const char byte = rest->data[at];
        if (quoted) {
            if (byte == '\\') at++;
            else if (byte == '"') quoted = false;
        } else if (byte == '"') quoted = true;
        else if (byte == '{' || byte == '[') depth++;
        else if (byte == '}' || byte == ']') {
            if (!depth) break;
            depth--;
        } else if (!depth && (byte == ',' || byte == ':')) break;
    }
    const tm_text value = tm_first(*rest, at);
    *rest = tm_skip(*rest, at);
    return value;
}

static uint32_t hex(const char *digits) {
    uint32_t number = 0;
    for (int at = 0; at < 4; at++) number = number * 16 + (uint32_t)(is_digit(digits[at]) ? digits[at] - '0' : (digits[at] | 32) - 'a' + 10);
    return number;
}

static char *put_utf8(char *to, uint32_t code) {
    if (code < 0x80) *to++ = (char)code;
    else if (code < 0x800) *to++ = (char)(0xC0 | code >> 6), *to++ = (char)(0x80 | (code & 63));
    else if (code < 0x10000) *to++ = (char)(0xE0 | code >> 12), *to++ = (char)(0x80 | (code >> 6 & 63)), *to++ = (char)(0x80 | (code & 63));
    else {
        *to++ = (char)(0xF0 | code >> 18), *to++ = (char)(0x80 | (code >> 12 & 63));
        *to++ = (char)(0x80 | (code >> 6 & 63)), *to++ = (char)(0x80 | (code & 63));
    }
    return to;
}

// The text between the quotes, with a zero behind it that is not counted: keys of tables are names of columns.
static tm_text json_text(tm_text json) {
    char *made = tm_alloc(json.size), *to = made;
    const char *end = json.data + json.size - 1;
    for (const char *from = json.data + 1; from < end; from++) {
        if (*from != '\\') {
            *to++ = *from;
            continue;
        }
        from++;
        if (*from != 'u') {
            static const char names[] = "bfnrt", bytes[] = "\b\f\n\r\t";
            const char *name = strchr(names, *from);
            *to++ = name ? bytes[name - names] : *from;
            continue;
        }
        uint32_t code = end - from > 4 ? hex(from + 1) : 0xFFFD;
        from += 4;
        if (code >= 0xD800 && code < 0xDC00 && end - from > 6 && from[1] == '\\' && from[2] == 'u') {
            code = 0x10000 + ((code - 0xD800) << 10) + (hex(from + 3) - 0xDC00);
            from += 6;
        }
        to = put_utf8(to, code);
    }
    *to = 0;
    return (tm_text){made, (uint32_t)(to - made)};
}

static tm_settings read_settings(tm_text json, const char *within) {
    tm_settings settings = {within, 0, NULL, 0, NULL};
    uint32_t room = 0;
    json = tm_skip(without_space(json), 1);
    for (json = without_space(json); json.size && json.data[0] != '}'; json = without_space(json)) {
        const tm_text key = json_text(take_json(&json));
        json = tm_skip(without_space(json), 1);
        const tm_text value = take_json(&json);
        if (settings.count == room) {
            const uint32_t before = room;
            room = room ? 2 * room : 8;
            settings.items = resize((void *)settings.items, before * sizeof *settings.items, room * sizeof *settings.items);
        }
        ((tm_setting *)settings.items)[settings.count++] = (tm_setting){key, value};
        if (json.size && json.data[0] == ',') json = tm_skip(json, 1);
    }
    return settings;
}

// The JSON of a key, which is remembered as one that is known; `data` is NULL where it is absent.
static tm_text json_at(tm_settings *settings, const char *key) {
    const uint32_t count = settings->asked_count;
    bool asked = false;
    for (uint32_t at = 0; at < count; at++) asked |= strcmp(settings->asked[at], key) == 0;
    if (!asked) {
        settings->asked = resize((void *)settings->asked, count * sizeof *settings->asked, (count + 1) * sizeof *settings->asked);
        settings->asked[settings->asked_count++] = key;
    }
    for (uint32_t at = 0; at < settings->count; at++) {
        if (tm_equals(settings->items[at].key, key)) return settings->items[at].json;
    }
    return (tm_text){NULL, 0};
}

static const char *json_type(tm_text json) {
    switch (json.data[0]) {
    case '"': return "a text";
    case '{': return "a table";
    case '[': return "a list";
    case 't':
    case 'f': return "a boolean";
    default: return "a number";
    }
}

static bool wrong_type(const tm_settings *settings, const char *key, tm_text json, const char *wanted) {
    return tm_fail("`%s%s` is %s, %.*s; write %s", settings->within, key, json_type(json), TM_SHOW(tm_first(json, 60)), wanted);
}

// `a`, `b` or `c`
static tm_text listed(const char *const *words, uint32_t count) {
    tm_text list = tm_text_of("");
    for (uint32_t at = 0; at < count; at++) {
        const char *between = at == 0 ? "" : at + 1 == count ? " or " : ", ";
        list = tm_format("%.*s%s`%s`", TM_SHOW(list), between, words[at]);
    }
    return list;
}

static void refuse_unknown(const tm_settings *settings) {
    for (uint32_t at = 0; at < settings->count; at++) {
        bool known = false;
        for (uint32_t asked = 0; asked < settings->asked_count; asked++) known |= tm_equals(settings->items[at].key, settings->asked[asked]);
        if (known) continue;
        const tm_text key = settings->items[at].key, names = listed(settings->asked, settings->asked_count);
        if (names.size) tm_fail("unknown field `%s%.*s`, expected %.*s", settings->within, TM_SHOW(key), TM_SHOW(names));
        else tm_fail("unknown field `%s%.*s`, there are no fields", settings->within, TM_SHOW(key));
    }
}

bool tm_has_setting(tm_settings *settings, const char *key) { return json_at(settings, key).data != NULL; }

void tm_require(tm_settings *settings, const char *key) {
    if (!tm_has_setting(settings, key)) tm_fail("missing field `%s%s`", settings->within, key);
}

tm_text tm_setting_text(tm_settings *settings, const char *key, const char *otherwise) {
    const tm_text json = json_at(settings, key);
    if (json.data && json.data[0] == '"') return json_text(json);
    if (json.data) wrong_type(settings, key, json, "a text in quotes");
    return otherwise ? tm_text_of(otherwise) : (tm_text){NULL, 0};
}

int64_t tm_setting_int(tm_settings *settings, const char *key, int64_t otherwise) {
    const tm_text json = json_at(settings, key);
    int64_t value = otherwise;
    if (json.data && !tm_parse_int(json, &value)) wrong_type(settings, key, json, "a whole number");
    return value;
}

double tm_setting_float(tm_settings *settings, const char *key, double otherwise) {
    const tm_text json = json_at(settings, key);
    double value = otherwise;
    if (json.data && !tm_parse_float(json, &value)) wrong_type(settings, key, json, "a number");
    return value;
}

bool tm_setting_boolean(tm_settings *settings, const char *key, bool otherwise) {
    const tm_text json = json_at(settings, key);
    if (!json.data || tm_equals(json, "true") || tm_equals(json, "false")) return json.data ? json.data[0] == 't' : otherwise;
    return wrong_type(settings, key, json, "true or false");
}

uint32_t tm_setting_choice(tm_settings *settings, const char *key, const char *const *words, uint32_t count) {
    const tm_text word = tm_setting_text(settings, key, words[0]);
    tm_text list = tm_text_of(words[0]);
    for (uint32_t at = 0; at < count; at++) {
        if (tm_equals(word, words[at])) return at;
        if (at) list = tm_format("%.*s, %s", TM_SHOW(list), words[at]);
    }
    tm_fail("`%s%s` is `%.*s`; write one of %.*s", settings->within, key, TM_SHOW(word), TM_SHOW(list));
    return 0;
}

uint32_t tm_setting_texts(tm_settings *settings, const char *key, const tm_text **texts) {
    tm_text json = json_at(settings, key);
    *texts = NULL;
    if (!json.data) return 0;
    if (json.data[0] != '[') return (uint32_t)wrong_type(settings, key, json, "a list of texts");
    uint32_t count = 0, room = 0;
    tm_text *list = NULL;
    for (tm_text rest = without_space(tm_skip(json, 1)); rest.size && rest.data[0] != ']'; rest = without_space(rest)) {
        const tm_text value = take_json(&rest);
        if (value.data[0] != '"') return (uint32_t)wrong_type(settings, key, json, "a list of texts");
        const tm_text text = json_text(value);
        if (count == room) list = resize(list, count * sizeof *list, (room = room ? 2 * room : 8) * sizeof *list);
        list[count++] = text;
        if (rest.size && rest.data[0] == ',') rest = tm_skip(rest, 1);
    }
    *texts = list;
    return count;
}

tm_settings tm_setting_table(tm_settings *settings, const char *key) {
    const tm_text json = json_at(settings, key);
    const char *within = tm_format("%s%s.", settings->within, key).data;
    if (json.data && json.data[0] != '{') wrong_type(settings, key, json, "a table");
    if (!json.data || json.data[0] != '{') return (tm_settings){within, 0, NULL, 0, NULL};
    return read_settings(json, within);
}

// ---- Contract -----------------------------------------------------------------------------------------------------------------

// In the order of the interface: a name, and a type where it is one of `writes`.
struct tm_names {
    uint32_t count;
    tm_text *reads;
    struct field {
        tm_text name;
        uint8_t type;
    } *writes;
};

void tm_reads(tm_contract *contract, const char *column) {
    struct tm_names *names = contract->reads_;
    names->reads = resize(names->reads, names->count * sizeof(tm_text), (names->count + 1) * sizeof(tm_text));
    names->reads[names->count++] = tm_text_of(column);
}

void tm_writes(tm_contract *contract, const char *column, tm_type type) {
    struct tm_names *names = contract->writes_;
    names->writes = resize(names->writes, names->count * sizeof(struct field), (names->count + 1) * sizeof(struct field));
    names->writes[names->count++] = (struct field){tm_text_of(column), (uint8_t)type};
}

static struct {
    uint8_t failed;
    union {
        tm_text failure;
        struct {
            tm_list reads, writes;
            bool open_schema, keeps_state;
            uint8_t produces;
        } contract;
    } is;
} configured;

void *tm_run_configure(tm_configure_function configure, const char *json, uint32_t size) {
    struct tm_names reads = {0}, writes = {0};
    tm_settings settings = read_settings((tm_text){json, size}, "");
    tm_contract contract = {false, false, false, &reads, &writes};
    failure = (tm_text){NULL, 0};
    configure(&settings, &contract);
    refuse_unknown(&settings);
    memset(&configured, 0, sizeof configured);
    configured.failed = failure.data != NULL;
    if (configured.failed) {
        configured.is.failure = failure;
    } else {
        configured.is.contract.reads = (tm_list){reads.reads, reads.count};
        configured.is.contract.writes = (tm_list){writes.writes, writes.count};
        configured.is.contract.open_schema = contract.open_schema;
        configured.is.contract.keeps_state = contract.keeps_state;
        configured.is.contract.produces = contract.produces_metrics;
    }
    keep_all();
    return &configured;
}

// ---- Columns in ---------------------------------------------------------------------------------------------------------------

static const char *const TYPES[] = {"boolean", "int64", "float64", "timestamp", "utf8", "binary", "utf8", "utf8"};
enum { WORDS = 6, SLICES = 7 };

const tm_column *tm_find_column(const tm_batch *batch, const char *name) {
    for (uint32_t at = 0; at < batch->count; at++) {
        if (tm_equals(batch->columns[at].name, name)) return &batch->columns[at];
    }
    return NULL;
}

static const uint8_t *validity_of(const tm_column *column) { return column->has_validity ? column->validity.data : NULL; }

static bool mismatch(const tm_column *column, const char *wanted) {
    return tm_fail("column `%.*s` is %s, and %s is wanted here", TM_SHOW(column->name), TYPES[column->kind], wanted);
}

tm_texts tm_texts_of(const tm_batch *batch, const tm_column *column) {
    tm_texts texts = {.column = column, .rows = batch->rows};
    if (!column) return texts;
    if (column->kind != TM_UTF8 && column->kind != TM_BINARY && column->kind != WORDS) {
        mismatch(column, "text or bytes");
        return texts;
    }
    const bool words = column->kind == WORDS;
    const tm_list offsets = words ? column->values.dictionary.offsets : column->values.bytes.offsets;
    const tm_list data = words ? column->values.dictionary.data : column->values.bytes.data;
    texts.validity = validity_of(column);
    texts.indices = words ? column->values.dictionary.indices.data : NULL;
    texts.offsets = offsets.data;
    texts.data = data.data;
    texts.data_size = data.count;
    return texts;
}

static tm_ints whole_numbers(const tm_column *column, uint8_t kind) {
    if (!column || column->kind != kind) {
        if (column) mismatch(column, TYPES[kind]);
        return (tm_ints){NULL, NULL};
    }
    return (tm_ints){column->values.numbers.data, validity_of(column)};
}

tm_ints tm_ints_of(const tm_batch *batch, const tm_column *column) {
    (void)batch;
    return whole_numbers(column, column && column->kind == TM_TIMESTAMP ? TM_TIMESTAMP : TM_INT64);
}

tm_floats tm_floats_of(const tm_batch *batch, const tm_column *column) {
    if (!column || (column->kind != TM_FLOAT64 && column->kind != TM_INT64)) {
        if (column) mismatch(column, "float64 or int64");
        return (tm_floats){NULL, NULL};
    }
    if (column->kind == TM_FLOAT64) return (tm_floats){column->values.numbers.data, validity_of(column)};
    const int64_t *ints = column->values.numbers.data;
    double *floats = tm_alloc(batch->rows * sizeof(double));
    for (uint32_t row = 0; row < batch->rows; row++) floats[row] = (double)ints[row];
    return (tm_floats){floats, validity_of(column)};
}

tm_booleans tm_booleans_of(const tm_batch *batch, const tm_column *column) {
    (void)batch;
    if (!column || column->kind != TM_BOOLEAN) {
        if (column) mismatch(column, "boolean");
        return (tm_booleans){NULL, NULL};
    }
    return (tm_booleans){column->values.numbers.data, validity_of(column)};
}

tm_texts tm_read_texts(const tm_batch *batch, const char *name) { return tm_texts_of(batch, tm_find_column(batch, name)); }
tm_ints tm_read_ints(const tm_batch *batch, const char *name) { return whole_numbers(tm_find_column(batch, name), TM_INT64); }
tm_ints tm_read_timestamps(const tm_batch *batch, const char *name) { return whole_numbers(tm_find_column(batch, name), TM_TIMESTAMP); }
tm_floats tm_read_floats(const tm_batch *batch, const char *name) { return tm_floats_of(batch, tm_find_column(batch, name)); }
tm_booleans tm_read_booleans(const tm_batch *batch, const char *name) { return tm_booleans_of(batch, tm_find_column(batch, name)); }

// ---- Columns out --------------------------------------------------------------------------------------------------------------

typedef struct {
    uint32_t row;
    tm_text message;
} row_error;

enum { PARSES, KEEPS, ENRICHES };

struct tm_output {
    int world;
    uint32_t rows_in;
    tm_writer *first, **last;
    uint32_t columns;
    row_error *errors;
    uint32_t error_count, error_room;
    uint32_t *origin;
    uint32_t origin_count, origin_room;
    uint8_t *keep;
    tm_text state;
};

static uint32_t value_size(uint8_t kind) {
    switch (kind) {
    case TM_BOOLEAN: return 1;
    case TM_UTF8:
    case TM_BINARY:
    case WORDS: return 4;
    default: return 8; // numbers; a place and a length
    }
}

static tm_writer *add_writer(tm_output *output, const char *name, uint8_t kind) {
    tm_writer *writer = tm_alloc(sizeof *writer);
    memset(writer, 0, sizeof *writer);
    writer->name = utf8(tm_text_of(name));
    writer->kind = kind;
    writer->room = output->rows_in > 16 ? output->rows_in : 16;
    // Texts have one offset more than rows.
    writer->values.offsets = tm_alloc(((size_t)writer->room + 1) * value_size(kind));
    if (kind == TM_UTF8 || kind == TM_BINARY) writer->values.offsets[0] = 0;
    *output->last = writer;
    output->last = &writer->next;
    output->columns++;
    return writer;
}

tm_writer *tm_write_texts(tm_output *output, const char *name) { return add_writer(output, name, TM_UTF8); }
tm_writer *tm_write_binaries(tm_output *output, const char *name) { return add_writer(output, name, TM_BINARY); }
tm_writer *tm_write_ints(tm_output *output, const char *name) { return add_writer(output, name, TM_INT64); }
tm_writer *tm_write_floats(tm_output *output, const char *name) { return add_writer(output, name, TM_FLOAT64); }
tm_writer *tm_write_booleans(tm_output *output, const char *name) { return add_writer(output, name, TM_BOOLEAN); }
tm_writer *tm_write_timestamps(tm_output *output, const char *name) { return add_writer(output, name, TM_TIMESTAMP); }

tm_writer *tm_write_slices(tm_output *output, const char *name, const tm_texts *of) {
    tm_writer *writer = add_writer(output, name, SLICES);
    // Words cannot be cut: their text goes out as it is.
    const bool plain = of->column && !of->indices;
    writer->source = plain ? (tm_text){of->data, of->data_size} : (tm_text){NULL, 0};
    writer->of = plain ? of->column->name : tm_text_of("");
    return writer;
}

void tm_write_column(tm_output *output, const char *name, const tm_column *column) {
    tm_writer *writer = add_writer(output, name, column->kind);
    writer->ready = column;
}

void tm_grow(tm_writer *writer) {
    const size_t size = value_size(writer->kind), rows = writer->rows;
    if (writer->room > INT32_MAX / 16) __builtin_trap();
    writer->room *= 2;
    writer->values.offsets = resize(writer->values.offsets, (rows + 1) * size, ((size_t)writer->room + 1) * size);
    if (writer->validity) writer->validity = resize(writer->validity, rows, writer->room);
}

static void append(struct tm_bytes *bytes, tm_text text) {
    if (text.size > bytes->room - bytes->size) {
        if (text.size > (uint32_t)INT32_MAX / 2 - bytes->size) __builtin_trap();
        const uint32_t needed = bytes->size + text.size, twice = 2 * bytes->room;
        const uint32_t room = needed > twice ? (needed > 256 ? needed : 256) : twice;
        bytes->data = resize(bytes->data, bytes->size, room);
        bytes->room = room;
    }
    memcpy(bytes->data + bytes->size, text.data, text.size);
    bytes->size += text.size;
}

// Distinct texts by a hash: open addresses, half of them free at least.
struct tm_words {
    uint32_t count, room;
    uint32_t *offsets; // count + 1
    uint32_t *places;  // index + 1, or 0; twice as many as room
};

static uint32_t hash(tm_text text) {
    uint32_t hash = text.size * 0x9E3779B1u;
    while (text.size >= 4) {
        uint32_t block;
        memcpy(&block, text.data, 4);
        hash = (hash ^ block) * 0x85EBCA6Bu;
        hash ^= hash >> 15;
        text = tm_skip(text, 4);
    }
    for (uint32_t at = 0; at < text.size; at++) hash = (hash ^ (uint8_t)text.data[at]) * 0xC2B2AE35u;
    return hash ^ hash >> 16;
}

static tm_text word_at(const tm_writer *writer, uint32_t index) {
    const uint32_t *offsets = writer->words->offsets;
    return (tm_text){writer->bytes.data + offsets[index], offsets[index + 1] - offsets[index]};
}

// Where the text's index stands, or would.
static uint32_t *place_of(const tm_writer *writer, tm_text text) {
    const uint32_t mask = 2 * writer->words->room - 1;
    uint32_t at = hash(text) & mask;
    while (writer->words->places[at] && !tm_same(word_at(writer, writer->words->places[at] - 1), text)) at = (at + 1) & mask;
    return &writer->words->places[at];
}

static void more_words(tm_writer *writer) {
    struct tm_words *words = writer->words;
    if (!words) {
        words = writer->words = tm_alloc(sizeof *words);
        *words = (struct tm_words){0, 0, NULL, NULL};
    }
    const uint32_t before = words->room;
    words->room = before ? 4 * before : 64;
    words->offsets = resize(words->offsets, (before + 1) * sizeof(uint32_t), (words->room + 1) * sizeof(uint32_t));
    words->offsets[0] = 0;
    words->places = tm_alloc(2 * words->room * sizeof(uint32_t));
    memset(words->places, 0, 2 * words->room * sizeof(uint32_t));
    for (uint32_t index = 0; index < words->count; index++) *place_of(writer, word_at(writer, index)) = index + 1;
}

static uint32_t word_index(tm_writer *writer, tm_text text) {
    if (!writer->words || writer->words->count == writer->words->room) more_words(writer);
    uint32_t *place = place_of(writer, text);
    if (!*place && utf8_size(text) < text.size) {
        text = utf8(text);
        place = place_of(writer, text);
    }
    if (!*place) {
        append(&writer->bytes, text);
        writer->words->offsets[++writer->words->count] = writer->bytes.size;
        *place = writer->words->count;
    }
    return *place - 1;
}

void tm_put_elsewhere(tm_writer *writer, tm_text text) {
    if (!text.data) {
        tm_put_null(writer);
        return;
    }
    tm_begin_value(writer);
    const uint32_t row = writer->rows++;
    switch (writer->kind) {
    case TM_UTF8:
    case TM_BINARY:
        append(&writer->bytes, writer->kind == TM_UTF8 ? utf8(text) : text);
        writer->values.offsets[row + 1] = writer->bytes.size;
        return;
    case WORDS: {
        if (row && writer->words && writer->words->count) {
            const uint32_t last = writer->values.indices[row - 1];
            if (tm_same(word_at(writer, last), text)) {
                writer->values.indices[row] = last;
                return;
            }
        }
        writer->values.indices[row] = word_index(writer, text);
        return;
    }
    case SLICES:
        writer->values.spans[2 * row] = writer->source.size + writer->bytes.size;
        writer->values.spans[2 * row + 1] = text.size;
        append(&writer->bytes, text);
        return;
    default:
        writer->rows--;
        tm_wrong_put(writer, "a text");
    }
}

tm_writer *tm_write_words(tm_output *output, const char *name) { return add_writer(output, name, WORDS); }

void tm_wrong_put(const tm_writer *writer, const char *what) {
    tm_fail("%s was put into column `%.*s`, which is %s", what, TM_SHOW(writer->name), TYPES[writer->kind]);
}

void tm_put_null(tm_writer *writer) {
    if (!writer->validity) {
        writer->validity = tm_alloc(writer->room);
        memset(writer->validity, 1, writer->rows);
    }
    tm_begin_value(writer);
    const uint32_t row = writer->rows++;
    writer->validity[row] = 0;
    switch (writer->kind) {
    case TM_BOOLEAN: writer->values.booleans[row] = 0; return;
    case TM_UTF8:
    case TM_BINARY: writer->values.offsets[row + 1] = writer->bytes.size; return;
    case WORDS: writer->values.indices[row] = row ? writer->values.indices[row - 1] : 0; return;
    default: writer->values.ints[row] = 0; return;
    }
}

// Takes back the values of a row that turned out to be an error, or adds a null for it.
static void cut(tm_writer *writer, uint32_t rows) {
    if (writer->ready || writer->rows <= rows) return;
    writer->rows = rows;
    if (writer->kind == TM_UTF8 || writer->kind == TM_BINARY) writer->bytes.size = writer->values.offsets[rows];
}

static uint32_t rows_out(const tm_output *output) {
    if (output->world != PARSES) return output->rows_in;
    return output->origin ? output->origin_count : output->rows_in - output->error_count;
}

void tm_error(tm_output *output, uint32_t row, const char *format, ...) {
    if (output->error_count && output->errors[output->error_count - 1].row == row) return;
    va_list arguments;
    va_start(arguments, format);
    const tm_text message = message_of(format, arguments);
    va_end(arguments);
    const bool in_order = !output->error_count || output->errors[output->error_count - 1].row < row;
    if (in_order && row < output->rows_in) {
        const uint32_t before = output->world == ENRICHES ? row : output->origin ? output->origin_count : row - output->error_count;
        for (tm_writer *writer = output->first; writer; writer = writer->next) {
            cut(writer, before);
            if (output->world == ENRICHES && !writer->ready && writer->rows == before) tm_put_null(writer);
        }
    }
    if (output->error_count == output->error_room) {
        const uint32_t room = output->error_room ? 2 * output->error_room : 16;
        output->errors = resize(output->errors, output->error_room * sizeof(row_error), room * sizeof(row_error));
        output->error_room = room;
    }
    output->errors[output->error_count++] = (row_error){row, message};
}

void tm_origin(tm_output *output, uint32_t row) {
    if (output->origin_count == output->origin_room) {
        const uint32_t room = output->origin_room ? 2 * output->origin_room : output->rows_in + 16;
        output->origin = resize(output->origin, output->origin_room * sizeof(uint32_t), room * sizeof(uint32_t));
        output->origin_room = room;
    }
    output->origin[output->origin_count++] = row;
}

void tm_write_state(tm_output *output, tm_text state) { output->state = tm_copy(state); }

void tm_drop(tm_output *output, uint32_t row) {
    if (output->keep && row < output->rows_in) output->keep[row] = 0;
}

uint8_t *tm_mask(tm_output *output) { return output->keep; }

static tm_column finished(const tm_writer *writer) {
    tm_column column;
    if (writer->ready) {
        column = *writer->ready;
        column.name = writer->name;
        return column;
    }
    memset(&column, 0, sizeof column);
    column.name = writer->name;
    column.kind = writer->kind;
    column.has_validity = writer->validity != NULL;
    column.validity = (tm_list){writer->validity, writer->rows};
    const tm_list bytes = {writer->bytes.data, writer->bytes.size};
    static const uint32_t none[2] = {0, 0};
    switch (writer->kind) {
    case TM_UTF8:
    case TM_BINARY:
        column.values.bytes.offsets = (tm_list){writer->values.offsets, writer->rows + 1};
        column.values.bytes.data = bytes;
        break;
    case WORDS: {
        // Where every row is null there is no word, and indices must point at one.
        const struct tm_words *words = writer->words;
        column.values.dictionary.indices = (tm_list){writer->values.indices, writer->rows};
        column.values.dictionary.offsets = words ? (tm_list){words->offsets, words->count + 1} : (tm_list){none, 2};
        column.values.dictionary.data = bytes;
        break;
    }
    case SLICES:
        column.values.slices.of = writer->of;
        column.values.slices.spans = (tm_list){writer->values.spans, 2 * writer->rows};
        column.values.slices.extra = bytes;
        break;
    default: column.values.numbers = (tm_list){writer->values.ints, writer->rows};
    }
    return column;
}

// The columns as they cross, if each is as long as there are rows.
static tm_list finish_columns(const tm_output *output) {
    const uint32_t rows = rows_out(output);
    tm_column *columns = tm_alloc((output->columns + 1) * sizeof *columns);
    uint32_t count = 0;
    for (const tm_writer *writer = output->first; writer; writer = writer->next) {
        if (!writer->ready && writer->rows != rows) {
            tm_fail("column `%.*s` has %u rows where %u come out; put a value, or tm_put_null, for every row", TM_SHOW(writer->name),
                    (unsigned)writer->rows, (unsigned)rows);
        }
        columns[count++] = finished(writer);
    }
    return (tm_list){columns, count};
}

// ---- The calls of the host ----------------------------------------------------------------------------------------------------

typedef struct {
    uint8_t some;
    tm_list list;
} optional_list;

static struct {
    uint8_t failed;
    union {
        tm_text failure;
        struct {
            uint32_t rows;
            tm_list columns;
            optional_list origin;
            tm_list errors;
            optional_list state;
        } parsed;
        struct {
            tm_list keep, errors;
            optional_list state;
        } kept;
        struct {
            tm_list columns, errors;
            optional_list state;
        } enriched;
        tm_proposal proposal;
    } is;
} answer;

static void *failed(void) {
    answer.failed = 1;
    answer.is.failure = failure;
    return &answer;
}

static void run(tm_output *output, int world, tm_rows_function function, const tm_batch *input, const tm_context *context) {
    failure = (tm_text){NULL, 0};
    memset(&answer, 0, sizeof answer);
    memset(output, 0, sizeof *output);
    output->world = world;
    output->rows_in = input->rows;
    output->last = &output->first;
    if (world == KEEPS) {
        output->keep = tm_alloc(input->rows);
        memset(output->keep, 1, input->rows);
    }
    function(input, context, output);
}

static optional_list state_of(const tm_output *output) {
    return (optional_list){output->state.data != NULL, {output->state.data, output->state.size}};
}

static tm_list errors_of(const tm_output *output) { return (tm_list){output->errors, output->error_count}; }

void *tm_run_parse(tm_rows_function parse, const tm_batch *input, const tm_context *context) {
    tm_output output;
    run(&output, PARSES, parse, input, context);
    const tm_list columns = finish_columns(&output);
    if (failure.data) return failed();
    answer.is.parsed.rows = rows_out(&output);
    answer.is.parsed.columns = columns;
    answer.is.parsed.origin = (optional_list){output.origin != NULL, {output.origin, output.origin_count}};
    answer.is.parsed.errors = errors_of(&output);
    answer.is.parsed.state = state_of(&output);
    return &answer;
}

void *tm_run_keep(tm_rows_function keep, const tm_batch *input, const tm_context *context) {
    tm_output output;
    run(&output, KEEPS, keep, input, context);
    if (failure.data) return failed();
    answer.is.kept.keep = (tm_list){output.keep, input->rows};
    answer.is.kept.errors = errors_of(&output);
    answer.is.kept.state = state_of(&output);
    return &answer;
}

void *tm_run_enrich(tm_rows_function enrich, const tm_batch *input, const tm_context *context) {
    tm_output output;
    run(&output, ENRICHES, enrich, input, context);
    const tm_list columns = finish_columns(&output);
    if (failure.data) return failed();
    answer.is.enriched.columns = columns;
    answer.is.enriched.errors = errors_of(&output);
    answer.is.enriched.state = state_of(&output);
    return &answer;
}

void *tm_run_decide(tm_decide_function decide, const tm_request *request) {
    failure = (tm_text){NULL, 0};
    memset(&answer, 0, sizeof answer);
    tm_proposal proposal = {request->workload.replicas, tm_text_of(""), tm_text_of("")};
    decide(request, &proposal);
    if (failure.data) return failed();
    answer.is.proposal = proposal;
    return &answer;
}

// ---- Autoscalers --------------------------------------------------------------------------------------------------------------

const tm_signal *tm_find_signal(const tm_request *request, const char *name) {
    for (uint32_t at = 0; at < request->signal_count; at++) {
        if (tm_equals(request->signals[at].name, name)) return &request->signals[at];
    }
    return NULL;
}

bool tm_signal_value(const tm_signal *signal, double *value) {
    const tm_column *only = tm_find_column(&signal->table, "value");
    if (!signal->table.rows) return false;
    for (uint32_t at = 0; !only && at < signal->table.count; at++) {
        const tm_column *column = &signal->table.columns[at];
        if (column->kind == TM_INT64 || column->kind == TM_FLOAT64) only = column;
    }
    if (!only) return false;
    const tm_floats floats = tm_floats_of(&signal->table, only);
    return tm_float_at(&floats, 0, value);
}

void tm_propose(tm_proposal *proposal, uint32_t replicas, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    proposal->replicas = replicas;
    proposal->reason = message_of(format, arguments);
    va_end(arguments);
}

void tm_propose_state(tm_proposal *proposal, tm_text state) { proposal->state = tm_copy(state); }

// ---- Lookup tables ------------------------------------------------------------------------------------------------------------

typedef struct {
    uint8_t failed;
    tm_list is; // the failure's text, or what was asked for
} host_answer;

IMPORT("tables", "columns") void host_columns(const char *table, uint32_t size, host_answer *answer);
IMPORT("tables", "lookup")
void host_lookup(const char *table, uint32_t table_size, const char *key, uint32_t key_size, const void *offsets, uint32_t offset_count,
                 const void *data, uint32_t data_size, const tm_text *want, uint32_t want_count, host_answer *answer);
IMPORT("tables", "lookup-network")
void host_lookup_network(const char *table, uint32_t table_size, const char *key, uint32_t key_size, const void *offsets,
                         uint32_t offset_count, const void *data, uint32_t data_size, const tm_text *want, uint32_t want_count,
                         host_answer *answer);

uint32_t tm_table_columns(const char *table, const tm_text **names) {
    host_answer columns;
    host_columns(table, (uint32_t)strlen(table), &columns);
    *names = columns.failed ? NULL : columns.is.data;
    if (!columns.failed) return columns.is.count;
    return (uint32_t)tm_fail("%.*s", (int)columns.is.count, (const char *)columns.is.data);
}

typedef void (*host_search)(const char *, uint32_t, const char *, uint32_t, const void *, uint32_t, const void *, uint32_t, const tm_text *,
                            uint32_t, host_answer *);

static tm_batch search(host_search search, const char *table, const char *key, const tm_texts *keys, const char *const *want, uint32_t count) {
    tm_text *names = tm_alloc(count * sizeof *names);
    for (uint32_t at = 0; at < count; at++) names[at] = tm_text_of(want[at]);
    const uint32_t *offsets = keys->offsets;
    struct tm_bytes bytes = {(char *)keys->data, keys->data_size, 0};
    if (!offsets || keys->indices) {
        uint32_t *made = tm_alloc((keys->rows + 1) * sizeof *made);
        bytes = (struct tm_bytes){NULL, 0, 0};
        made[0] = 0;
        for (uint32_t row = 0; row < keys->rows; row++) {
            const tm_text text = tm_text_at(keys, row);
            if (text.data) append(&bytes, text);
            made[row + 1] = bytes.size;
        }
        offsets = made;
    }
    host_answer found;
    search(table, (uint32_t)strlen(table), key, (uint32_t)strlen(key), offsets, keys->rows + 1, bytes.data, bytes.size, names, count, &found);
    if (found.failed) {
        tm_fail("%.*s", (int)found.is.count, (const char *)found.is.data);
        return (tm_batch){keys->rows, NULL, 0};
    }
    tm_column *columns = (tm_column *)found.is.data;
    // A null key finds nothing, whatever stands in its slot.
    for (uint32_t at = 0; at < found.is.count && (keys->validity || !keys->offsets); at++) {
        uint8_t *validity = tm_alloc(keys->rows);
        const uint8_t *were = validity_of(&columns[at]);
        for (uint32_t row = 0; row < keys->rows; row++) validity[row] = tm_text_at(keys, row).data && (!were || were[row]);
        columns[at].has_validity = true;
        columns[at].validity = (tm_list){validity, keys->rows};
    }
    return (tm_batch){keys->rows, columns, found.is.count};
}

tm_batch tm_lookup(const char *table, const char *key, const tm_texts *keys, const char *const *want, uint32_t count) {
    return search(host_lookup, table, key, keys, want, count);
}

tm_batch tm_lookup_network(const char *table, const char *key, const tm_texts *addresses, const char *const *want, uint32_t count) {
    return search(host_lookup_network, table, key, addresses, want, count);
}
