#include "line.hpp"

#include <algorithm>
#include <strings.h>

using namespace tidemill;

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }
static bool is_letter(char byte) { return (byte | 32) >= 'a' && (byte | 32) <= 'z'; }

bool Reader::read(Format format, Dates &dates, Line &into) {
    Text identity;
    if (!word("the client's address", into.client) || !word("the identity (usually `-`)", identity)) return false;
    if (!user(identity, into.user)) return false;
    const size_t at = place();
    const auto time = take_until(rest, ']');
    if (!time) return expected("a time that ends with `]`");
    std::string why;
    const auto timestamp = dates.parse(*time, why);
    if (!timestamp) {
        error = text("byte ", at, ": ", why);
        return false;
    }
    into.timestamp = *timestamp;
    if (!quoted("the request", false, into.request) || !number("the status", into.status)) return false;
    if (!number("the number of bytes", into.bytes)) return false;
    if (format == Format::common || (format == Format::automatic && rest.substr(0, 2) != " \"")) return true;
    return quoted("the referer", false, into.referer.emplace()) && quoted("the user agent", true, into.user_agent.emplace());
}

bool Reader::expected(Text what) {
    error = rest.empty() ? text("byte ", place(), ": the line ends where ", what, " should stand")
                         : text("byte ", place(), ": ", what, " should stand here, not `", rest.substr(0, 24), "`");
    return false;
}

// Up to the next space.
bool Reader::word(Text what, Text &into) {
    const size_t end = find(rest, ' ');
    if (end == 0 || end == rest.size()) return expected(what);
    into = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    return true;
}

// Up to ` [`; names may have spaces.
bool Reader::user(Text identity, std::optional<Text> &into) {
    if (take(rest, "- [")) return true;
    const size_t end = rest.find(" [");
    if (end == Text::npos) return expected("the user (usually `-`) and a time in brackets");
    if (identity != "-" && rest.substr(0, 2) == "- ") {
        const Text host = line.substr(0, find(line, ' '));
        error = text("byte 1: the line seems to begin with a virtual host, `", host, "`; this format begins with the client");
        return false;
    }
    if (const Text name = rest.substr(0, end); name != "-") into = name;
    rest.remove_prefix(end + 2);
    return true;
}

// In double quotes after a space. The last field may have been cut off: what is left of it is the value.
bool Reader::quoted(Text what, bool is_last, Quoted &into) {
    Text after = rest;
    if (!take(after, " \"")) return expected(text(what, " in double quotes"));
    size_t end = find_either(after, '"', '\\');
    into.has_escapes = end < after.size() && after[end] == '\\';
    while (end < after.size() && after[end] == '\\') {
        end = std::min(end + 2, after.size());
        end += find_either(after.substr(end), '"', '\\');
    }
    if (end >= after.size() && !is_last) {
        error = text("byte ", place() + 1, ": ", what, " has no closing quote; was the line cut off?");
        return false;
    }
    into.raw = after.substr(0, end);
    rest = after.substr(std::min(end + 1, after.size()));
    return true;
}

// A number or `-` after a space; at most 18 digits, which 64 bits hold for sure.
bool Reader::number(Text what, std::optional<int64_t> &into) {
    if (!take(rest, " ")) return expected(what);
    const size_t end = find(rest, ' ');
    Text digits = rest.substr(0, end);
    if (!digits.empty() && digits.back() == '\r') digits.remove_suffix(1);
    if (digits != "-") {
        int64_t value = 0;
        bool all_digits = !digits.empty() && digits.size() <= 18;
        for (const char digit : digits) {
            all_digits = all_digits && is_digit(digit);
            if (all_digits) value = value * 10 + (digit - '0');
        }
        if (!all_digits) return expected(text(what, ", a number or `-`,"));
        into = value;
    }
    rest.remove_prefix(end);
    return true;
}

// Two digits, or -1.
static int64_t two(Text text, size_t at) {
    return is_digit(text[at]) && is_digit(text[at + 1]) ? (text[at] - '0') * 10 + (text[at + 1] - '0') : -1;
}

static std::string no_time(Text text, Text why) { return tidemill::text("`", text.substr(0, 40), "` is not a time: ", why); }

std::optional<int64_t> Dates::parse(Text text, std::string &why) {
    if (text.size() != Text("17/May/2015:10:05:03 +0000").size()) {
        why = no_time(text, "it is written like `17/May/2015:10:05:03 +0000`");
        return std::nullopt;
    }
    if ((text.substr(0, 11) != day || text.substr(20) != offset) && !start_day(text, why)) return std::nullopt;
    const int64_t hour = two(text, 12), minute = two(text, 15), second = two(text, 18);
    const bool colons = text[11] == ':' && text[14] == ':' && text[17] == ':';
    if (!colons || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) {
        why = no_time(text, "there is no such time of day");
        return std::nullopt;
    }
    int64_t nanoseconds;
    if (__builtin_mul_overflow(day_began + hour * 3600 + minute * 60 + second, 1000000000, &nanoseconds)) {
        why = no_time(text, "it is too far from 1970");
        return std::nullopt;
    }
    return nanoseconds;
}

bool Dates::start_day(Text text, std::string &why) {
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t month = 0;
    while (month < 12 && strncasecmp(text.data() + 3, months + 3 * month, 3) != 0) month++;
    if (month == 12) {
        why = no_time(text, tidemill::text("`", text.substr(3, 3), "` is not a month from Jan to Dec"));
        return false;
    }
    const int64_t century = two(text, 7), of_century = two(text, 9);
    const auto days = tidemill::days(century * 100 + of_century, month + 1, two(text, 0));
    if (text[2] != '/' || text[6] != '/' || century < 0 || of_century < 0 || !days) {
        why = no_time(text, "there is no such day");
        return false;
    }
    const int64_t hours = two(text, 22), minutes = two(text, 24);
    if (text[20] != ' ' || (text[21] != '+' && text[21] != '-') || hours < 0 || hours > 23 || minutes < 0 || minutes > 59) {
        why = no_time(text, "an offset like +0100 comes last");
        return false;
    }
    day = text.substr(0, 11);
    offset = text.substr(20);
    day_began = *days * 86400 - (text[21] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

// Letters with `-` or `_`, as in `GET` and `VERSION-CONTROL`.
static bool is_method(Text word) {
    const auto fits = [](char byte) { return is_letter(byte) || byte == '-' || byte == '_'; };
    return !word.empty() && word.size() <= 32 && std::all_of(word.begin(), word.end(), fits);
}

// Letters, a slash, a version.
static bool is_protocol(Text word) {
    if (word == "HTTP/1.1" || word == "HTTP/2.0" || word == "HTTP/1.0") return true;
    const size_t slash = find(word, '/');
    if (slash < 1 || slash > 16 || slash == word.size()) return false;
    const Text name = word.substr(0, slash), version = word.substr(slash + 1);
    const auto in_version = [](char byte) { return is_digit(byte) || byte == '.'; };
    return std::all_of(name.begin(), name.end(), is_letter) && !version.empty() && version.size() <= 8 &&
           std::all_of(version.begin(), version.end(), in_version);
}

std::optional<RequestLine> split_request(const Quoted &request) {
    Text rest = request.raw;
    const auto method = take_until(rest, ' ');
    if (!method || !is_method(*method)) return std::nullopt;
    const size_t end = rest.rfind(' ');
    if (end == Text::npos) {
        if (rest.empty() || rest[0] != '/') return std::nullopt;
        return RequestLine{*method, {rest, request.has_escapes}, std::nullopt};
    }
    if (end == 0 || !is_protocol(rest.substr(end + 1))) return std::nullopt;
    return RequestLine{*method, {rest.substr(0, end), request.has_escapes}, rest.substr(end + 1)};
}

static int hex(char digit) {
    if (is_digit(digit)) return digit - '0';
    return (digit | 32) >= 'a' && (digit | 32) <= 'f' ? (digit | 32) - 'a' + 10 : -1;
}

// The byte that the text, which begins with `\`, stands for, cut off. What is not a known escape stays as it is written.
static char take_escape(Text &rest) {
    constexpr Text names = "nrtbvf\"\\", bytes = "\n\r\t\b\v\f\"\\";
    size_t size = 1;
    char byte = '\\';
    if (rest.size() >= 4 && (rest[1] | 32) == 'x' && hex(rest[2]) >= 0 && hex(rest[3]) >= 0) {
        byte = static_cast<char>(hex(rest[2]) << 4 | hex(rest[3]));
        size = 4;
    } else if (rest.size() >= 2 && names.find(rest[1]) != Text::npos) {
        byte = bytes[names.find(rest[1])];
        size = 2;
    }
    rest.remove_prefix(size);
    return byte;
}

Text Quoted::resolved(std::string &scratch) const {
    if (!has_escapes) return raw;
    scratch.clear();
    for (Text rest = raw;;) {
        const Text plain = rest.substr(0, find(rest, '\\'));
        scratch += plain;
        rest.remove_prefix(plain.size());
        if (rest.empty()) return scratch;
        scratch += take_escape(rest);
    }
}
