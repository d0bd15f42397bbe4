// Who owns the network that a client's address is in: a lookup table with columns `network` and `owner`.
//
// Shows an enricher that asks the host for a whole column at once.
#include "tidemill.hpp"

#include <algorithm>

using namespace tidemill;

class Owner {
    std::string table;

  public:
    Owner(Settings &settings, Contract &contract) : table(settings.text("table", "networks")) {
        const auto columns = table_columns(table);
        std::string list;
        for (const auto &column : columns) list += text(list.empty() ? "" : ", ", "`", column, "`");
        const bool has_owner = std::find(columns.begin(), columns.end(), "owner") != columns.end();
        if (!has_owner) fail("`table`: table `", table, "` has no column `owner`; it has ", list);
        contract.reads("client").writes("owner", Type::utf8);
    }

    void enrich(const Batch &input, const Context &, Output &output) {
        const Batch found = lookup_network(table, "network", input.texts("client"), {"owner"});
        if (found.count()) output.column("owner", found, 0);
    }
};

TIDEMILL_ENRICHER(Owner, "owner-cpp", "0.1.0", "Who owns the network of a client, in C++")
