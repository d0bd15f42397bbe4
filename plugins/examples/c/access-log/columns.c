// A line's fields into columns: requests taken apart, escapes of nginx (`\x22`) and Apache (`\"`, `\\`, `\n`) resolved.
#include "access_log.h"

static bool is_letter(char byte) { return (unsigned)((byte | 32) - 'a') < 26; }
static bool is_digit(char byte) { return (unsigned)(byte - '0') < 10; }

static int hex(char digit) {
    if (is_digit(digit)) return digit - '0';
    return (unsigned)((digit | 32) - 'a') < 6 ? (digit | 32) - 'a' + 10 : -1;
}

// The byte that the text, which begins with `\`, stands for, cut off. What is not a known escape stays as it is written.
static char take_escape(tm_text *rest) {
    const char *at = rest->data;
    uint32_t size = 1;
    char byte = '\\';
    if (rest->size >= 4 && (at[1] | 32) == 'x' && hex(at[2]) >= 0 && hex(at[3]) >= 0) {
        byte = (char)(hex(at[2]) << 4 | hex(at[3]));
        size = 4;
    } else if (rest->size >= 2 && at[1]) {
        static const char names[] = "nrtbvf\"\\", bytes[] = "\n\r\t\b\v\f\"\\";
        const char *name = strchr(names, at[1]);
        if (name) byte = bytes[name - names], size = 2;
    }
    *rest = tm_skip(*rest, size);
    return byte;
}

// The text without its escapes.
static tm_text resolved(tm_text raw) {
    char *text = tm_alloc(raw.size), *to = text;
    while (true) {
        const tm_text plain = tm_first(raw, tm_find(raw, '\\'));
        memcpy(to, plain.data, plain.size);
        to += plain.size;
        raw = tm_skip(raw, plain.size);
        if (!raw.size) return (tm_text){text, (uint32_t)(to - text)};
        *to++ = take_escape(&raw);
    }
}

// `-` stands for nothing.
static void put_quoted(tm_writer *writer, quoted field) {
    if (!field.raw.data || tm_equals(field.raw, "-")) tm_put_null(writer);
    else tm_put_text(writer, field.has_escapes ? resolved(field.raw) : field.raw);
}

// Letters with `-` or `_`, as in `GET` and `VERSION-CONTROL`.
static bool is_method(tm_text word) {
    for (uint32_t at = 0; at < word.size; at++) {
        if (!is_letter(word.data[at]) && word.data[at] != '-' && word.data[at] != '_') return false;
    }
    return word.size >= 1 && word.size <= 32;
}

// Letters, a slash, a version.
static bool is_protocol(tm_text word) {
    if (tm_equals(word, "HTTP/1.1") || tm_equals(word, "HTTP/2.0") || tm_equals(word, "HTTP/1.0")) return true;
    tm_text version = word;
    const tm_text name = tm_take_until(&version, '/');
    if (name.size < 1 || name.size > 16 || version.size < 1 || version.size > 8) return false;
    for (uint32_t at = 0; at < name.size; at++) {
        if (!is_letter(name.data[at])) return false;
    }
    for (uint32_t at = 0; at < version.size; at++) {
        if (!is_digit(version.data[at]) && version.data[at] != '.') return false;
    }
    return true;
}

// `GET /path HTTP/1.1`. A path may have spaces; HTTP/0.9 has no protocol. False if it is not like that.
static bool split_request(tm_text raw, tm_text *method, tm_text *path, tm_text *protocol) {
    *path = raw;
    *method = tm_take_until(path, ' ');
    if (!method->data || !is_method(*method)) return false;
    uint32_t end = path->size;
    while (end > 0 && path->data[end - 1] != ' ') end--;
    *protocol = (tm_text){NULL, 0};
    if (!end) return tm_starts_with(*path, "/");
    *protocol = tm_skip(*path, end);
    *path = tm_first(*path, end - 1);
    return path->size > 0 && is_protocol(*protocol);
}

columns start_columns(tm_output *output, const tm_texts *bodies, bool combined) {
    return (columns){
        .timestamp = tm_write_timestamps(output, "timestamp"),
        .client = tm_write_slices(output, "client", bodies),
        .user = tm_write_words(output, "user"),
        .method = tm_write_words(output, "method"),
        .path = tm_write_slices(output, "path", bodies),
        .protocol = tm_write_words(output, "protocol"),
        .request = tm_write_slices(output, "request", bodies),
        .status = tm_write_ints(output, "status"),
        .bytes = tm_write_ints(output, "bytes"),
        .referer = combined ? tm_write_slices(output, "referer", bodies) : NULL,
        .user_agent = combined ? tm_write_slices(output, "user_agent", bodies) : NULL,
    };
}

static void put_number(tm_writer *writer, number number) {
    if (number.is_null) tm_put_null(writer);
    else tm_put_int(writer, number.value);
}

void put_line(columns *columns, const line *line) {
    tm_put_int(columns->timestamp, line->timestamp);
    tm_put_text(columns->client, line->client);
    tm_put_text(columns->user, tm_equals(line->user, "-") ? (tm_text){NULL, 0} : line->user);
    tm_text method, path, protocol;
    if (split_request(line->request.raw, &method, &path, &protocol)) {
        tm_put_text(columns->method, method);
        tm_put_text(columns->path, line->request.has_escapes ? resolved(path) : path);
        tm_put_text(columns->protocol, protocol);
        tm_put_null(columns->request);
    } else {
        tm_put_null(columns->method);
        tm_put_null(columns->path);
        tm_put_null(columns->protocol);
        put_quoted(columns->request, line->request);
    }
    put_number(columns->status, line->status);
    put_number(columns->bytes, line->bytes);
    if (!columns->referer) return;
    put_quoted(columns->referer, line->referer);
    put_quoted(columns->user_agent, line->user_agent);
}
