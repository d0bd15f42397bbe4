// Web server access logs: the `common` and `combined` formats of nginx and Apache.
//
//     client identity user [time] "request" status bytes  "referer" "user agent"  more…
//     └──────────────── common ───────────────────────┘
//     └──────────────── combined ───────────────────────────────────────────────┘
//
// What is in a line is in columns.c; this file takes lines apart, without copying. A line is a row or an error that says at which
// byte it stopped making sense. Bytes that are not UTF-8 show as U+FFFD.
#include "access_log.h"

typedef struct {
    tm_text line, rest;
} reader;

static const char *const FORMATS[] = {"auto", "common", "combined"};
enum { AUTO, COMMON, COMBINED };
static uint32_t format;

static void configure(tm_settings *settings, tm_contract *contract) {
    format = tm_setting_choice(settings, "format", FORMATS, 3);
    tm_reads(contract, "body");
    tm_writes(contract, "timestamp", TM_TIMESTAMP);
    static const char *const texts[] = {"client", "user", "method", "path", "protocol", "request", "referer", "user_agent"};
    for (uint32_t at = 0; at < (format == COMMON ? 6 : 8); at++) tm_writes(contract, texts[at], TM_UTF8);
    tm_writes(contract, "status", TM_INT64);
    tm_writes(contract, "bytes", TM_INT64);
}

static unsigned place(const reader *reader) { return reader->line.size - reader->rest.size + 1; }

// An error that says what should stand where the line stopped making sense.
static tm_text expected(const reader *reader, const char *what) {
    if (!reader->rest.size) return tm_format("byte %u: the line ends where %s should stand", place(reader), what);
    return tm_format("byte %u: %s should stand here, not `%.*s`", place(reader), what, TM_SHOW(tm_first(reader->rest, 24)));
}

static bool read_user(reader *reader, tm_text identity, line *line) {
    if (tm_take(&reader->rest, "- [")) return true;
    tm_text user = reader->rest; // names may have spaces: up to ` [`
    uint32_t at = 0;
    do at += tm_find(tm_skip(user, at), '[') + 1;
    while (at <= user.size && (at < 2 || user.data[at - 2] != ' '));
    if (at > user.size) {
        line->error = expected(reader, "the user (usually `-`) and a time in brackets");
        return false;
    }
    if (!tm_equals(identity, "-") && tm_starts_with(user, "- ")) {
        const tm_text host = tm_first(reader->line, tm_find(reader->line, ' '));
        line->error = tm_format("byte 1: the line seems to begin with a virtual host, `%.*s`; this format begins with the client", TM_SHOW(host));
        return false;
    }
    line->user = tm_first(user, at - 2);
    reader->rest = tm_skip(user, at);
    return true;
}

// A field in double quotes after a space, escapes not resolved yet; the last one may have been cut off.
static bool read_quoted(reader *reader, const char *what, bool is_last, quoted *field, line *line) {
    tm_text rest = reader->rest;
    if (!tm_take(&rest, " \"")) {
        line->error = expected(reader, tm_format("%s in double quotes", what).data);
        return false;
    }
    uint32_t at = tm_find_either(rest, '"', '\\');
    field->has_escapes = at < rest.size && rest.data[at] == '\\';
    while (at < rest.size && rest.data[at] == '\\') {
        at += 2;
        at += at < rest.size ? tm_find_either(tm_skip(rest, at), '"', '\\') : 0;
    }
    if (at >= rest.size && !is_last) {
        line->error = tm_format("byte %u: %s has no closing quote; was the line cut off?", place(reader) + 1, what);
        return false;
    }
    field->raw = tm_first(rest, at);
    reader->rest = tm_skip(rest, at + 1);
    return true;
}

// A number or `-` after a space; at most 18 digits, which 64 bits hold for sure.
static bool read_number(reader *reader, const char *what, number *number, line *line) {
    if (!tm_take(&reader->rest, " ")) {
        line->error = expected(reader, what);
        return false;
    }
    const tm_text word = tm_first(reader->rest, tm_find(reader->rest, ' '));
    const bool has_return = word.size && word.data[word.size - 1] == '\r';
    const tm_text digits = tm_first(word, word.size - has_return);
    number->is_null = tm_equals(digits, "-");
    number->value = 0;
    bool all_digits = digits.size > 0 && digits.size <= 18;
    for (uint32_t at = 0; at < digits.size && all_digits; at++) {
        all_digits = digits.data[at] >= '0' && digits.data[at] <= '9';
        number->value = number->value * 10 + (digits.data[at] - '0');
    }
    if (!all_digits && !number->is_null) {
        line->error = expected(reader, tm_format("%s, a number or `-`,", what).data);
        return false;
    }
    reader->rest = tm_skip(reader->rest, word.size);
    return true;
}

// The line's fields; false with `line->error` if it has others.
static bool read_line(tm_text text, line *line) {
    reader reader = {text, text};
    line->client = tm_take_until(&reader.rest, ' ');
    if (!line->client.size) {
        reader.rest = text;
        line->error = expected(&reader, "the client's address");
        return false;
    }
    const tm_text before = reader.rest, identity = tm_take_until(&reader.rest, ' ');
    if (!identity.size) {
        reader.rest = before;
        line->error = expected(&reader, "the identity (usually `-`)");
        return false;
    }
    if (!read_user(&reader, identity, line)) return false;
    const unsigned at = place(&reader);
    const tm_text time = tm_take_until(&reader.rest, ']');
    if (!time.data) {
        line->error = expected(&reader, "a time that ends with `]`");
        return false;
    }
    tm_text why;
    if (!read_date(time, &line->timestamp, &why)) {
        line->error = tm_format("byte %u: %.*s", at, TM_SHOW(why));
        return false;
    }
    if (!read_quoted(&reader, "the request", false, &line->request, line) || !read_number(&reader, "the status", &line->status, line) ||
        !read_number(&reader, "the number of bytes", &line->bytes, line)) {
        return false;
    }
    if (format == COMMON || (format == AUTO && !tm_starts_with(reader.rest, " \""))) return true;
    return read_quoted(&reader, "the referer", false, &line->referer, line) &&
           read_quoted(&reader, "the user agent", true, &line->user_agent, line);
}

static void parse(const tm_batch *input, const tm_context *context, tm_output *output) {
    const tm_texts bodies = tm_read_texts(input, "body");
    columns columns = start_columns(output, &bodies, format != COMMON);
    for (uint32_t row = 0; row < input->rows; row++) {
        const tm_text body = tm_text_at(&bodies, row);
        line line = {0};
        if (!body.data) tm_error(output, row, "there is no body to parse");
        else if (read_line(body, &line)) put_line(&columns, &line);
        else tm_error(output, row, "%.*s", TM_SHOW(line.error));
    }
}

TM_PARSER("access-log-c", "0.1.0", "Access logs of nginx and Apache, in C", configure, parse)
