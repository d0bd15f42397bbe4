// `GET /cart 200 12ms` becomes two metrics: a request counted, and how long it took.
//
// Shows a parser that makes several events, of another kind, out of one: `produces_metrics` and `origin`.
#include "tidemill.hpp"

using namespace tidemill;

struct LogToMetric {
    LogToMetric(Settings &, Contract &contract) {
        contract.reads("body").writes("name", Type::utf8).writes("kind", Type::utf8).writes("value", Type::float64);
        contract.writes("labels.method", Type::utf8).writes("labels.status", Type::utf8).produces_metrics();
    }

    void parse(const Batch &input, const Context &, Output &output) {
        const Texts bodies = input.texts("body");
        auto name = output.words("name"), kind = output.words("kind");
        auto method = output.words("labels.method"), status = output.words("labels.status");
        auto value = output.floats("value");
        for (uint32_t row = 0; row < input.rows(); row++) {
            const std::string_view body = bodies[row].value_or("");
            std::string_view rest = body;
            const auto verb = take_until(rest, ' '), path = take_until(rest, ' '), code = take_until(rest, ' ');
            const bool timed = path && code && rest.size() >= 2 && rest.substr(rest.size() - 2) == "ms";
            const auto milliseconds = timed ? parse_float(rest.substr(0, rest.size() - 2)) : std::nullopt;
            if (!milliseconds) {
                output.error(row, "not `METHOD PATH STATUS DURATIONms`: `", body, "`");
                continue;
            }
            const auto put = [&](std::string_view metric, std::string_view is, double measured) {
                output.origin(row);
                name.put(metric);
                kind.put(is);
                value.put(measured);
                method.put(verb);
                status.put(code);
            };
            put("requests", "counter", 1);
            put("request_seconds", "gauge", *milliseconds / 1000);
        }
    }
};

TIDEMILL_PARSER(LogToMetric, "log-to-metric-cpp", "0.1.0", "Requests counted and timed, in C++")
