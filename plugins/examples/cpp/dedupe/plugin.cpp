// Drops a line that is the same as the one before it, also across batches: the last line is the state.
#include "tidemill.hpp"

using namespace tidemill;

struct Dedupe {
    Dedupe(Settings &, Contract &contract) { contract.reads("body").keeps_state(); }

    void keep(const Batch &input, const Context &context, Output &output) {
        const Texts bodies = input.texts("body");
        auto last = context.state;
        for (uint32_t row = 0; row < input.rows(); row++) {
            const auto body = bodies[row];
            if (body && body == last) output.drop(row);
            last = body;
        }
        output.state(last.value_or(""));
    }
};

TIDEMILL_FILTER(Dedupe, "dedupe-cpp", "0.1.0", "Drops a line that is the same as the one before it, in C++")
