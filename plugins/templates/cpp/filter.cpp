// Drops events whose level is below the least wanted.
//
//     level ─► keep or drop
//
// A plugin is handed a batch of rows as columns and answers for each row. It sees nothing else: no files, no network, no clock.
#include "tidemill.hpp"

#include <strings.h>

using namespace tidemill;

// From the least to the most important.
constexpr std::string_view LEVELS[] = {"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"};

// A level's place, if it is one.
static std::optional<int> rank(std::string_view level) {
    int place = 0;
    for (const std::string_view known : LEVELS) {
        if (level.size() == known.size() && strncasecmp(level.data(), known.data(), known.size()) == 0) return place;
        place++;
    }
    return std::nullopt;
}

class Least {
    int least;

  public:
    // Checks the settings, and says what is read. A setting that is not asked for here is refused by name.
    Least(Settings &settings, Contract &contract) {
        settings.require("least");
        const std::string level = settings.text("least");
        if (!rank(level)) fail("`least` is `", level, "`; write one of TRACE, DEBUG, INFO, WARN, ERROR, FATAL");
        least = rank(level).value_or(0);
        contract.reads("level");
    }

    void keep(const Batch &input, const Context &, Output &output) {
        const Texts levels = input.texts("level");
        for (uint32_t row = 0; row < input.rows(); row++) {
            // An event without a level, or with another word as its level, is kept: dropping is for what is known.
            if (rank(levels[row].value_or("")).value_or(least) < least) output.drop(row);
        }
    }
};

TIDEMILL_FILTER(Least, "{{name}}", "0.1.0", "Drops events whose level is below the least wanted")
