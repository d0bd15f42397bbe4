// The class of an HTTP status beside it: 404 is `4xx`.
//
//     status ─► status_class
//
// A plugin is handed a batch of rows as columns and hands columns back. It sees nothing else: no files, no network, no clock.
#include "tidemill.hpp"

using namespace tidemill;

constexpr std::string_view CLASSES[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};

class Classes {
    std::string field;

  public:
    // Checks the settings, and says what is read and what is written. A setting that is not asked for here is refused by name.
    Classes(Settings &settings, Contract &contract) : field(settings.text("field", "status")) {
        if (field.empty()) fail("`field` is empty; name the column with the status");
        contract.reads(field).writes("status_class", Type::utf8);
    }

    void enrich(const Batch &input, const Context &, Output &output) {
        const Ints statuses = input.ints(field.c_str());
        auto classes = output.words("status_class"); // text with few distinct values
        // A column that is made is as long as the input: a value or a null for each row.
        for (uint32_t row = 0; row < input.rows(); row++) {
            const auto status = statuses[row];
            if (!status) {
                classes.put_null();
            } else if (*status >= 100 && *status <= 599) {
                classes.put(CLASSES[*status / 100 - 1]);
            } else {
                // The row goes to `tidemill.dead_letters` with this reason; the others go on.
                output.error(row, "`", field, "` is ", *status, ", which is no HTTP status");
            }
        }
    }
};

TIDEMILL_ENRICHER(Classes, "{{name}}", "0.1.0", "The class of an HTTP status: 2xx, 4xx, 5xx")
