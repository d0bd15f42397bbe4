// Lines such as `2026-01-31T12:00:00Z WARN checkout took 812 ms` as columns.
//
//     body ─► timestamp · level · message
//
// A plugin is handed a batch of rows as columns and hands columns back. It sees nothing else: no files, no network, no clock.
#include "tidemill.hpp"

using namespace tidemill;

// What stands after a line's time, if the line names its level.
constexpr const char *LEVELS[] = {"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"};

class Lines {
    std::optional<std::string_view> default_level;

    // The level that the line names, which is cut off; else the one in the settings.
    std::optional<std::string_view> take_level(std::string_view &line) const {
        std::string_view rest = line;
        const auto word = take_until(rest, ' ');
        for (const char *level : LEVELS) {
            if (word != level) continue;
            line = rest;
            return word;
        }
        return default_level;
    }

  public:
    // Checks the settings, and says what is read and what is written. A setting that is not asked for here is refused by name.
    Lines(Settings &settings, Contract &contract) {
        if (settings.has("default_level")) default_level = LEVELS[settings.choice("default_level", LEVELS)];
        contract.reads("body").writes("timestamp", Type::timestamp).writes("level", Type::utf8).writes("message", Type::utf8);
    }

    void parse(const Batch &input, const Context &, Output &output) {
        const Texts bodies = input.texts("body");
        auto timestamps = output.timestamps("timestamp");
        auto levels = output.words("level");              // text with few distinct values
        auto messages = output.slices("message", bodies); // text cut out of the body
        for (uint32_t row = 0; row < input.rows(); row++) {
            std::string_view line = bodies[row].value_or("");
            const auto timestamp = parse_timestamp(take_until(line, ' ').value_or(""));
            if (!timestamp) {
                // The row goes to `tidemill.dead_letters` with this reason; the others go on.
                output.error(row, "a time, a space and a message should stand here");
                continue;
            }
            timestamps.put(timestamp);
            levels.put(take_level(line));
            messages.put(line);
        }
    }
};

TIDEMILL_PARSER(Lines, "{{name}}", "0.1.0", "Lines with a time, a level and a message")
