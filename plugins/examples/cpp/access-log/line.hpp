// One line taken apart into views of itself; an error names the byte (counted from 1) where it stopped being what was expected there.
#pragma once

#include "tidemill.hpp"

using Text = std::string_view;

enum class Format { automatic, common, combined };

// What stands between quotes, escapes not resolved yet.
struct Quoted {
    Text raw;
    bool has_escapes = false;

    // The value; `scratch` holds it where there is an escape in it.
    Text resolved(std::string &scratch) const;
};

// A request's method, path and protocol; HTTP/0.9 has none.
struct RequestLine {
    Text method;
    Quoted path;
    std::optional<Text> protocol;
};

// `GET /path HTTP/1.1`, or nothing if it is not like that. A path may have spaces.
std::optional<RequestLine> split_request(const Quoted &request);

// `-` is already nothing, except in quoted fields.
struct Line {
    Text client;
    std::optional<Text> user;
    int64_t timestamp = 0;
    Quoted request;
    std::optional<int64_t> status, bytes;
    std::optional<Quoted> referer, user_agent;
};

// `17/May/2015:10:05:03 +0000` as nanoseconds since 1970. Lines come in order: a day and its offset are worked out once.
class Dates {
  public:
    // Empty if it is no time; then `why` says so.
    std::optional<int64_t> parse(Text text, std::string &why);

  private:
    bool start_day(Text text, std::string &why);

    std::string day, offset;
    int64_t day_began = 0; // seconds since 1970, in UTC
};

class Reader {
  public:
    explicit Reader(Text line) : line(line), rest(line) {}

    // Whether the line is one; else `error` says what is wrong with it.
    bool read(Format format, Dates &dates, Line &into);

    std::string error;

  private:
    bool expected(Text what);
    bool word(Text what, Text &into);
    bool user(Text identity, std::optional<Text> &into);
    bool quoted(Text what, bool is_last, Quoted &into);
    bool number(Text what, std::optional<int64_t> &into);
    size_t place() const { return line.size() - rest.size() + 1; }

    Text line, rest;
};
