// What a line of an access log has, and the files that know its parts.
#ifndef ACCESS_LOG_H
#define ACCESS_LOG_H

#include "tidemill.h"

// What stands between quotes, escapes not resolved yet. `raw.data` is NULL where the line has no such field.
typedef struct {
    tm_text raw;
    bool has_escapes;
} quoted;

typedef struct {
    int64_t value;
    bool is_null;
} number;

typedef struct {
    tm_text client, user;
    int64_t timestamp;
    quoted request;
    number status, bytes;
    quoted referer, user_agent;
    tm_text error;
} line;

typedef struct {
    tm_writer *timestamp, *client, *user, *method, *path, *protocol, *request, *status, *bytes, *referer, *user_agent;
} columns;

// date.c: `17/May/2015:10:05:03 +0000` as nanoseconds since 1970, or why it is no time.
bool read_date(tm_text text, int64_t *nanoseconds, tm_text *why);

// columns.c
columns start_columns(tm_output *output, const tm_texts *bodies, bool combined);
void put_line(columns *columns, const line *line);

#endif
