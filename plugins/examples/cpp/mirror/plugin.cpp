// Columns named in the settings once more, as `mirrored.<name>`.
//
// Shows how a plugin reads columns that it does not know, and writes columns that the events name: `open_schema`.
#include "tidemill.hpp"

using namespace tidemill;

template <typename Column, typename Writer> void mirror(const Column &from, Writer to) {
    for (const auto value : from) to.put(value);
}

struct Mirror {
    Mirror(Settings &settings, Contract &contract) {
        for (const auto &column : settings.texts("columns")) contract.reads(column);
        contract.open_schema();
    }

    void enrich(const Batch &input, const Context &, Output &output) {
        for (uint32_t column = 0; column < input.count(); column++) {
            const std::string name = text("mirrored.", input.name(column));
            switch (input.type(column)) {
            case Type::utf8: mirror(input.texts(column), output.texts(name)); break;
            case Type::binary: mirror(input.texts(column), output.binaries(name)); break;
            case Type::int64: mirror(input.ints(column), output.ints(name)); break;
            case Type::timestamp: mirror(input.ints(column), output.timestamps(name)); break;
            case Type::float64: mirror(input.floats(column), output.floats(name)); break;
            case Type::boolean: mirror(input.booleans(column), output.booleans(name)); break;
            }
        }
    }
};

TIDEMILL_ENRICHER(Mirror, "mirror-cpp", "0.1.0", "Columns once more, in C++")
