// Tidemill plugins in C++: values in, values out; over tidemill.h, whose memory and checks stand behind this.
//
//     struct Lines {
//         Lines(Settings &settings, Contract &contract);                                    // checks settings; says what is read and made
//         void parse(const Batch &input, const Context &context, Output &output);           // or keep, enrich, decide
//     };
//     TIDEMILL_PARSER(Lines, "lines", "0.1.0", "what it does")
//
// Always: a value is a std::optional, empty where it is null; texts are std::string_view into what the call was handed.
// Never:  an exception: they are not there. `fail` and `output.error` say what is wrong; memory that runs out is a trap.
#ifndef TIDEMILL_HPP
#define TIDEMILL_HPP

#include "tidemill.h"

#include <cstdio>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace tidemill {

// ---- Text --------------------------------------------------------------------------------------------------------------------

inline std::string_view view(tm_text text) { return {text.data, text.size}; }
inline tm_text text_of(std::string_view text) { return {text.data() ? text.data() : "", static_cast<uint32_t>(text.size())}; }

inline void append(std::string &to, std::string_view part) { to += part; }
inline void append(std::string &to, tm_text part) { to += view(part); }
inline void append(std::string &to, double part) {
    char shown[32];
    to.append(shown, static_cast<size_t>(std::snprintf(shown, sizeof shown, "%.10g", part)));
}
template <typename Integer, std::enable_if_t<std::is_integral_v<Integer>, int> = 0> void append(std::string &to, Integer part) {
    to += std::to_string(part);
}

// Texts and numbers, one after the other.
template <typename... Parts> std::string text(const Parts &...parts) {
    std::string made;
    (append(made, parts), ...);
    return made;
}

// Where `byte` first stands; the text's size if nowhere. 16 bytes at a time.
inline size_t find(std::string_view text, char byte) { return tm_find({text.data(), static_cast<uint32_t>(text.size())}, byte); }
inline size_t find_either(std::string_view text, char byte, char other) {
    return tm_find_either({text.data(), static_cast<uint32_t>(text.size())}, byte, other);
}

// Cuts off `rest` up to `byte`, and the byte too; empty, and nothing cut off, if the byte is not there.
inline std::optional<std::string_view> take_until(std::string_view &rest, char byte) {
    const size_t end = find(rest, byte);
    if (end == rest.size()) return std::nullopt;
    const std::string_view word = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    return word;
}

// Whether `rest` begins with `start`; if so, it is cut off.
inline bool take(std::string_view &rest, std::string_view start) {
    if (rest.substr(0, start.size()) != start) return false;
    rest.remove_prefix(start.size());
    return true;
}

inline std::optional<int64_t> parse_int(std::string_view text) {
    int64_t value;
    return tm_parse_int(text_of(text), &value) ? std::optional(value) : std::nullopt;
}
inline std::optional<double> parse_float(std::string_view text) {
    double value;
    return tm_parse_float(text_of(text), &value) ? std::optional(value) : std::nullopt;
}
// `2015-05-17T10:05:03.25Z` as nanoseconds since 1970.
inline std::optional<int64_t> parse_timestamp(std::string_view text) {
    int64_t value;
    return tm_parse_timestamp(text_of(text), &value) ? std::optional(value) : std::nullopt;
}
// Days since 1970-01-01 of a date, if there is such a day.
inline std::optional<int64_t> days(int64_t year, int64_t month, int64_t day) {
    int64_t value;
    return tm_days(year, month, day, &value) ? std::optional(value) : std::nullopt;
}

// The whole call fails with this message, put together as by `text`.
template <typename... Parts> void fail(const Parts &...parts) { tm_fail("%s", text(parts...).c_str()); }

enum class Level { trace, debug, info, warn, error };
// A line in `tidemill.logs`. Not for data.
template <typename... Parts> void log(Level level, const Parts &...parts) { tm_log(static_cast<int>(level), "%s", text(parts...).c_str()); }

// A name with a zero behind it that lives as long as the call, in `configure` as long as the plugin.
inline const char *lasting(std::string_view name) {
    char *copy = static_cast<char *>(tm_alloc(name.size() + 1));
    memcpy(copy, name.data(), name.size());
    copy[name.size()] = 0;
    return copy;
}

// ---- Settings and contract ----------------------------------------------------------------------------------------------------

// The stage's `settings` table. A key that the constructor asks nobody for is refused, with the names of those it asks for.
class Settings {
  public:
    explicit Settings(tm_settings *settings) : settings(settings) {}

    bool has(const char *key) { return tm_has_setting(settings, key); }
    // Without it the configuration fails.
    void require(const char *key) { tm_require(settings, key); }
    std::string text(const char *key, const char *otherwise = "") { return std::string(view(tm_setting_text(settings, key, otherwise))); }
    int64_t integer(const char *key, int64_t otherwise = 0) { return tm_setting_int(settings, key, otherwise); }
    double number(const char *key, double otherwise = 0) { return tm_setting_float(settings, key, otherwise); }
    bool boolean(const char *key, bool otherwise = false) { return tm_setting_boolean(settings, key, otherwise); }
    // One of these words, by its place; the first where nothing is set.
    template <size_t count> size_t choice(const char *key, const char *const (&words)[count]) {
        return tm_setting_choice(settings, key, words, count);
    }
    std::vector<std::string> texts(const char *key) {
        const tm_text *list;
        const uint32_t count = tm_setting_texts(settings, key, &list);
        std::vector<std::string> texts;
        for (uint32_t at = 0; at < count; at++) texts.emplace_back(view(list[at]));
        return texts;
    }

  private:
    tm_settings *settings;
};

enum class Type { boolean, int64, float64, timestamp, utf8, binary };

// What a configured plugin reads and makes.
class Contract {
  public:
    explicit Contract(tm_contract *contract) : contract(contract) {}

    // A column to hand over. `labels.job` is one label of a metric, `labels.*` every label, `*` every column.
    Contract &reads(std::string_view column) { return tm_reads(contract, lasting(column)), *this; }
    // A column the plugin makes or replaces.
    Contract &writes(std::string_view column, Type type) {
        return tm_writes(contract, lasting(column), static_cast<tm_type>(type)), *this;
    }
    // Columns beyond `writes` may appear, named by the events.
    Contract &open_schema() { return contract->open_schema = true, *this; }
    // The context's state is what the call before handed to `output.state`.
    Contract &keeps_state() { return contract->keeps_state = true, *this; }
    // What comes out of this parser is metrics: name, kind, value, labels.*, timestamp.
    Contract &produces_metrics() { return contract->produces_metrics = true, *this; }

  private:
    tm_contract *contract;
};

// ---- Columns in ---------------------------------------------------------------------------------------------------------------

// Values of one column, row by row: `column[row]`, or `for (auto value : column)`.
template <typename Value, typename Raw, bool (*at)(const Raw &, uint32_t, Value &)> class Column {
  public:
    Column(Raw raw, uint32_t rows) : raw(raw), rows(rows) {}

    std::optional<Value> operator[](uint32_t row) const {
        Value value{};
        return at(raw, row, value) ? std::optional<Value>(value) : std::nullopt;
    }
    uint32_t size() const { return rows; }

    struct Iterator {
        const Column *column;
        uint32_t row;
        std::optional<Value> operator*() const { return (*column)[row]; }
        Iterator &operator++() { return row++, *this; }
        bool operator!=(const Iterator &other) const { return row != other.row; }
    };
    Iterator begin() const { return {this, 0}; }
    Iterator end() const { return {this, rows}; }

    // As the functions of tidemill.h take it.
    const Raw raw;

  private:
    uint32_t rows;
};

inline bool text_at(const tm_texts &texts, uint32_t row, std::string_view &value) {
    const tm_text text = tm_text_at(&texts, row);
    value = view(text);
    return text.data != nullptr;
}
inline bool int_at(const tm_ints &ints, uint32_t row, int64_t &value) { return tm_int_at(&ints, row, &value); }
inline bool float_at(const tm_floats &floats, uint32_t row, double &value) { return tm_float_at(&floats, row, &value); }
inline bool boolean_at(const tm_booleans &booleans, uint32_t row, bool &value) { return tm_boolean_at(&booleans, row, &value); }

using Texts = Column<std::string_view, tm_texts, text_at>;
using Ints = Column<int64_t, tm_ints, int_at>;
using Floats = Column<double, tm_floats, float_at>;
using Booleans = Column<bool, tm_booleans, boolean_at>;

// Columns of equal length. A column that no event has reads as null; one of another type fails the call, with both named.
class Batch {
  public:
    explicit Batch(tm_batch batch) : raw(batch) {}

    uint32_t rows() const { return raw.rows; }
    // Text, or bytes.
    Texts texts(const char *name) const { return {tm_read_texts(&raw, name), raw.rows}; }
    Ints ints(const char *name) const { return {tm_read_ints(&raw, name), raw.rows}; }
    Ints timestamps(const char *name) const { return {tm_read_timestamps(&raw, name), raw.rows}; }
    // float64, and int64 converted.
    Floats floats(const char *name) const { return {tm_read_floats(&raw, name), raw.rows}; }
    Booleans booleans(const char *name) const { return {tm_read_booleans(&raw, name), raw.rows}; }

    // Whatever columns there are, as with `labels.*`.
    uint32_t count() const { return raw.count; }
    std::string_view name(uint32_t column) const { return view(raw.columns[column].name); }
    Type type(uint32_t column) const { return static_cast<Type>(tm_type_of(&raw.columns[column])); }
    Texts texts(uint32_t column) const { return {tm_texts_of(&raw, &raw.columns[column]), raw.rows}; }
    Ints ints(uint32_t column) const { return {tm_ints_of(&raw, &raw.columns[column]), raw.rows}; }
    Floats floats(uint32_t column) const { return {tm_floats_of(&raw, &raw.columns[column]), raw.rows}; }
    Booleans booleans(uint32_t column) const { return {tm_booleans_of(&raw, &raw.columns[column]), raw.rows}; }

    const tm_batch raw;
};

// Beside the rows of a call.
struct Context {
    // Nanoseconds, where the pipeline grants the clock.
    std::optional<int64_t> now;
    // Empty before any was handed on.
    std::optional<std::string_view> state;
};

// ---- Columns out --------------------------------------------------------------------------------------------------------------

// A column that is being written: one value a row that comes out, in order.
template <typename Value, void (*write)(tm_writer *, Value)> class Writer {
  public:
    explicit Writer(tm_writer *writer) : writer(writer) {}
    void put(Value value) { write(writer, value); }
    void put(std::optional<Value> value) { value ? write(writer, *value) : tm_put_null(writer); }
    void put(std::nullopt_t) { tm_put_null(writer); }
    void put_null() { tm_put_null(writer); }

  private:
    tm_writer *writer;
};

inline void put_text(tm_writer *writer, std::string_view value) { tm_put_text(writer, text_of(value)); }
inline void put_int(tm_writer *writer, int64_t value) { tm_put_int(writer, value); }
inline void put_float(tm_writer *writer, double value) { tm_put_float(writer, value); }
inline void put_boolean(tm_writer *writer, bool value) { tm_put_boolean(writer, value); }

using TextWriter = Writer<std::string_view, put_text>;
using IntWriter = Writer<int64_t, put_int>;
using FloatWriter = Writer<double, put_float>;
using BooleanWriter = Writer<bool, put_boolean>;

// The answer of a call.
class Output {
  public:
    explicit Output(tm_output *output) : output(output) {}

    TextWriter texts(std::string_view name) { return TextWriter(tm_write_texts(output, lasting(name))); }
    // Text with few distinct values: a method, a level, a host.
    TextWriter words(std::string_view name) { return TextWriter(tm_write_words(output, lasting(name))); }
    // Text cut out of a column: only where it stands goes out. Quickest for a parser. Other texts go as they are.
    TextWriter slices(std::string_view name, const Texts &of) { return TextWriter(tm_write_slices(output, lasting(name), &of.raw)); }
    TextWriter binaries(std::string_view name) { return TextWriter(tm_write_binaries(output, lasting(name))); }
    IntWriter ints(std::string_view name) { return IntWriter(tm_write_ints(output, lasting(name))); }
    IntWriter timestamps(std::string_view name) { return IntWriter(tm_write_timestamps(output, lasting(name))); }
    FloatWriter floats(std::string_view name) { return FloatWriter(tm_write_floats(output, lasting(name))); }
    BooleanWriter booleans(std::string_view name) { return BooleanWriter(tm_write_booleans(output, lasting(name))); }
    // A column as it came, of the input or of a lookup, under a name.
    void column(std::string_view name, const Batch &from, uint32_t column) {
        tm_write_column(output, lasting(name), &from.raw.columns[column]);
    }

    // This row becomes a dead letter with this message, put together as by `text`. Values already put for it are taken back.
    template <typename... Parts> void error(uint32_t row, const Parts &...parts) { tm_error(output, row, "%s", text(parts...).c_str()); }
    // A parser's next row comes from this one. Said for each row that comes out, there may be more or fewer than came in.
    void origin(uint32_t row) { tm_origin(output, row); }
    // What the next call gets, if the contract says `keeps_state`.
    void state(std::string_view state) { tm_write_state(output, text_of(state)); }
    // A filter keeps every row but these.
    void drop(uint32_t row) { tm_drop(output, row); }
    // One byte a row, 1 keeps it: for a tight loop.
    uint8_t *mask() { return tm_mask(output); }

  private:
    tm_output *output;
};

// ---- Lookup tables ------------------------------------------------------------------------------------------------------------

// The names of a table's columns. No such table: the call fails.
inline std::vector<std::string> table_columns(const std::string &table) {
    const tm_text *names;
    const uint32_t count = tm_table_columns(table.c_str(), &names);
    std::vector<std::string> columns;
    for (uint32_t at = 0; at < count; at++) columns.emplace_back(view(names[at]));
    return columns;
}

// For each key the row whose column `key` equals it: the columns `want`, null where there is none.
inline Batch lookup(const std::string &table, const std::string &key, const Texts &keys, const std::vector<std::string> &want) {
    std::vector<const char *> names;
    for (const std::string &name : want) names.push_back(name.c_str());
    return Batch(tm_lookup(table.c_str(), key.c_str(), &keys.raw, names.data(), static_cast<uint32_t>(names.size())));
}

// The same by addresses, where column `key` has networks like `10.0.0.0/8`; of several the narrowest.
inline Batch lookup_network(const std::string &table, const std::string &key, const Texts &addresses, const std::vector<std::string> &want) {
    std::vector<const char *> names;
    for (const std::string &name : want) names.push_back(name.c_str());
    return Batch(tm_lookup_network(table.c_str(), key.c_str(), &addresses.raw, names.data(), static_cast<uint32_t>(names.size())));
}

// ---- Autoscalers --------------------------------------------------------------------------------------------------------------

enum class Freshness { fresh, stale, missing, failed };

// The latest answer of one of the scaler's queries.
class Signal {
  public:
    explicit Signal(const tm_signal *signal) : signal(signal) {}
    std::string_view name() const { return view(signal->name); }
    Freshness freshness() const { return static_cast<Freshness>(signal->freshness); }
    bool is_fresh() const { return freshness() == Freshness::fresh; }
    // Empty when missing or failed.
    Batch table() const { return Batch(signal->table); }
    // The first row's `value`, or its only number.
    std::optional<double> value() const {
        double value;
        return tm_signal_value(signal, &value) ? std::optional(value) : std::nullopt;
    }
    // Why it is not fresh.
    std::string_view message() const { return view(signal->message); }
    // How far the sources behind it had come, in nanoseconds.
    std::optional<int64_t> caught_up_at() const { return signal->has_caught_up_at ? std::optional(signal->caught_up_at) : std::nullopt; }

  private:
    const tm_signal *signal;
};

// A list as the host handed it over, for `for`.
template <typename Item> struct List {
    const Item *items;
    uint32_t count;
    const Item *begin() const { return items; }
    const Item *end() const { return items + count; }
    uint32_t size() const { return count; }
};

// One tick of a scaler. What it lists are the records of tidemill.h; `view` makes a std::string_view of their texts.
class Request {
  public:
    explicit Request(const tm_request *request) : raw(*request) {}
    // Nanoseconds.
    int64_t now() const { return raw.now; }
    std::string_view workload() const { return view(raw.workload.name); }
    uint32_t replicas() const { return raw.workload.replicas; }
    uint32_t ready() const { return raw.workload.ready; }
    uint32_t min() const { return raw.workload.min; }
    uint32_t max() const { return raw.workload.max; }
    List<tm_replica> members() const { return {raw.workload.members, raw.workload.member_count}; }
    std::optional<Signal> signal(const char *name) const {
        const tm_signal *found = tm_find_signal(&raw, name);
        return found ? std::optional(Signal(found)) : std::nullopt;
    }
    std::vector<Signal> signals() const {
        std::vector<Signal> signals;
        for (uint32_t at = 0; at < raw.signal_count; at++) signals.emplace_back(raw.signals + at);
        return signals;
    }
    // Newest last.
    List<tm_decision> decisions() const { return {raw.decisions, raw.decision_count}; }
    // What other deciders propose in this tick.
    List<tm_advice> advice() const { return {raw.advice, raw.advice_count}; }
    // What the last tick handed back; empty at first.
    std::string_view state() const { return view(raw.state); }

    const tm_request raw;
};

// How many replicas, and why, with the figures; and what the next tick gets.
struct Proposal {
    uint32_t replicas = 0;
    std::string reason;
    std::string state;
};

// ---- Exports ------------------------------------------------------------------------------------------------------------------

// The one plugin that this program is. Made by `configure`, lives as long as the instance.
template <typename Plugin> Plugin *instance = nullptr;

template <typename Plugin> void configure(tm_settings *settings, tm_contract *contract) {
    Settings read(settings);
    Contract says(contract);
    instance<Plugin> = new Plugin(read, says);
}

template <typename Plugin, void (Plugin::*function)(const Batch &, const Context &, Output &)>
void run(const tm_batch *input, const tm_context *context, tm_output *output) {
    const Context beside{context->has_now ? std::optional(context->now) : std::nullopt,
                         context->state.data ? std::optional(view(context->state)) : std::nullopt};
    Output answer(output);
    (instance<Plugin>->*function)(Batch(*input), beside, answer);
}

template <typename Plugin> void decide(const tm_request *request, tm_proposal *proposal) {
    const Proposal made = instance<Plugin>->decide(Request(request));
    tm_propose(proposal, made.replicas, "%s", made.reason.c_str());
    tm_propose_state(proposal, text_of(made.state));
}

} // namespace tidemill

// Makes a type the plugin that this program is. The last three are texts between quotes.
#define TIDEMILL_PARSER(Plugin, name, version, about)                                                                             \
    TM_PARSER(name, version, about, tidemill::configure<Plugin>, (tidemill::run<Plugin, &Plugin::parse>))
#define TIDEMILL_FILTER(Plugin, name, version, about)                                                                             \
    TM_FILTER(name, version, about, tidemill::configure<Plugin>, (tidemill::run<Plugin, &Plugin::keep>))
#define TIDEMILL_ENRICHER(Plugin, name, version, about)                                                                           \
    TM_ENRICHER(name, version, about, tidemill::configure<Plugin>, (tidemill::run<Plugin, &Plugin::enrich>))
#define TIDEMILL_AUTOSCALER(Plugin, name, version, about)                                                                         \
    TM_AUTOSCALER(name, version, about, tidemill::configure<Plugin>, tidemill::decide<Plugin>)

#endif
