// Web server access logs: the `common` and `combined` formats of nginx and Apache.
//
//     client identity user [time] "request" status bytes  "referer" "user agent"  more…
//     └──────────────── common ───────────────────────┘
//     └──────────────── combined ───────────────────────────────────────────────┘
//
// line.cpp takes a line apart without copying, this file puts the parts into columns. Bytes that are not UTF-8 show as U+FFFD.
#include "line.hpp"

using namespace tidemill;

class AccessLog {
    Format format;
    Dates dates;

  public:
    AccessLog(Settings &settings, Contract &contract) {
        constexpr const char *formats[] = {"auto", "common", "combined"};
        format = static_cast<Format>(settings.choice("format", formats));
        contract.reads("body").writes("timestamp", Type::timestamp).writes("status", Type::int64).writes("bytes", Type::int64);
        for (const Text name : {"client", "user", "method", "path", "protocol", "request"}) contract.writes(name, Type::utf8);
        if (format != Format::common) contract.writes("referer", Type::utf8).writes("user_agent", Type::utf8);
    }

    void parse(const Batch &input, const Context &, Output &output) {
        const Texts bodies = input.texts("body");
        auto timestamp = output.timestamps("timestamp");
        auto status = output.ints("status"), bytes = output.ints("bytes");
        auto client = output.slices("client", bodies), path = output.slices("path", bodies), request = output.slices("request", bodies);
        auto user = output.words("user"), method = output.words("method"), protocol = output.words("protocol");
        std::optional<TextWriter> referer, user_agent;
        if (format != Format::common) referer = output.slices("referer", bodies), user_agent = output.slices("user_agent", bodies);

        std::string scratch;
        // `-` stands for nothing.
        const auto put_quoted = [&](TextWriter &column, const std::optional<Quoted> &field) {
            if (!field || field->raw == "-") column.put_null();
            else column.put(field->resolved(scratch));
        };
        for (uint32_t row = 0; row < input.rows(); row++) {
            const auto body = bodies[row];
            if (!body) {
                output.error(row, "there is no body to parse");
                continue;
            }
            Line line;
            Reader reader(*body);
            if (!reader.read(format, dates, line)) {
                output.error(row, reader.error);
                continue;
            }
            timestamp.put(line.timestamp);
            client.put(line.client);
            user.put(line.user);
            if (const auto parts = split_request(line.request)) {
                method.put(parts->method);
                path.put(parts->path.resolved(scratch));
                protocol.put(parts->protocol);
                request.put_null();
            } else {
                method.put_null();
                path.put_null();
                protocol.put_null();
                put_quoted(request, line.request);
            }
            status.put(line.status);
            bytes.put(line.bytes);
            if (!referer) continue;
            put_quoted(*referer, line.referer);
            put_quoted(*user_agent, line.user_agent);
        }
    }
};

TIDEMILL_PARSER(AccessLog, "access-log-cpp", "0.1.0", "Access logs of nginx and Apache, in C++")
