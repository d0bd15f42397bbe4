// `GET /cart 200 12ms` becomes two metrics: a request counted, and how long it took.
//
// Shows a parser that makes several events, of another kind, out of one: `produces_metrics` and `tm_origin`.
#include "tidemill.h"

typedef struct {
    tm_text method, status;
    double milliseconds;
} request;

typedef struct {
    tm_writer *name, *kind, *value, *method, *status;
} metrics;

static void configure(tm_settings *settings, tm_contract *contract) {
    tm_reads(contract, "body");
    tm_writes(contract, "name", TM_UTF8);
    tm_writes(contract, "kind", TM_UTF8);
    tm_writes(contract, "value", TM_FLOAT64);
    tm_writes(contract, "labels.method", TM_UTF8);
    tm_writes(contract, "labels.status", TM_UTF8);
    contract->produces_metrics = true;
}

static bool read_request(tm_text line, request *request) {
    request->method = tm_take_until(&line, ' ');
    const tm_text path = tm_take_until(&line, ' ');
    request->status = tm_take_until(&line, ' ');
    if (!path.data || !request->status.data || line.size < 2 || !tm_equals(tm_skip(line, line.size - 2), "ms")) return false;
    return tm_parse_float(tm_first(line, line.size - 2), &request->milliseconds);
}

static void put(tm_output *output, metrics *metrics, uint32_t row, const char *name, const char *kind, double value, const request *of) {
    tm_origin(output, row);
    tm_put_text(metrics->name, tm_text_of(name));
    tm_put_text(metrics->kind, tm_text_of(kind));
    tm_put_float(metrics->value, value);
    tm_put_text(metrics->method, of->method);
    tm_put_text(metrics->status, of->status);
}

static void parse(const tm_batch *input, const tm_context *context, tm_output *output) {
    const tm_texts bodies = tm_read_texts(input, "body");
    metrics metrics = {
        .name = tm_write_words(output, "name"),
        .kind = tm_write_words(output, "kind"),
        .value = tm_write_floats(output, "value"),
        .method = tm_write_words(output, "labels.method"),
        .status = tm_write_words(output, "labels.status"),
    };
    for (uint32_t row = 0; row < input->rows; row++) {
        const tm_text body = tm_text_at(&bodies, row);
        request request;
        if (!body.data || !read_request(body, &request)) {
            tm_error(output, row, "not `METHOD PATH STATUS DURATIONms`: `%.*s`", TM_SHOW(body));
            continue;
        }
        put(output, &metrics, row, "requests", "counter", 1, &request);
        put(output, &metrics, row, "request_seconds", "gauge", request.milliseconds / 1000, &request);
    }
}

TM_PARSER("log-to-metric-c", "0.1.0", "Requests counted and timed, in C", configure, parse)
