// `17/May/2015:10:05:03 +0000` as nanoseconds since 1970.
//
// Lines come in order, so a day and its offset are worked out once and remembered for the lines after.
#include "access_log.h"

#include <strings.h>

enum { DAY_SIZE = 11, OFFSET_AT = 20, SIZE = 26 };

static char day[DAY_SIZE], offset[SIZE - OFFSET_AT];
static int64_t day_began; // seconds since 1970, in UTC

static bool wrong(tm_text text, tm_text *why, const char *reason) {
    *why = tm_format("`%.*s` is not a time: %s", TM_SHOW(tm_first(text, 40)), reason);
    return false;
}

// Two digits, or -1.
static int64_t two(const char *digits) {
    const unsigned tens = (unsigned)(digits[0] - '0'), ones = (unsigned)(digits[1] - '0');
    return tens <= 9 && ones <= 9 ? tens * 10 + ones : -1;
}

static bool start_day(tm_text text, tm_text *why) {
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const char *at = text.data;
    int64_t month = 0, days = 0;
    while (month < 12 && strncasecmp(at + 3, months + 3 * month, 3) != 0) month++;
    if (month == 12) return wrong(text, why, tm_format("`%.3s` is not a month from Jan to Dec", at + 3).data);
    const int64_t of_month = two(at), century = two(at + 7), of_century = two(at + 9);
    if (at[2] != '/' || at[6] != '/' || century < 0 || of_century < 0 || !tm_days(century * 100 + of_century, month + 1, of_month, &days)) {
        return wrong(text, why, "there is no such day");
    }
    const int64_t hours = two(at + 22), minutes = two(at + 24);
    if (at[20] != ' ' || (at[21] != '+' && at[21] != '-') || hours < 0 || hours > 23 || minutes < 0 || minutes > 59) {
        return wrong(text, why, "an offset like +0100 comes last");
    }
    memcpy(day, at, sizeof day);
    memcpy(offset, at + OFFSET_AT, sizeof offset);
    day_began = days * 86400 - (at[21] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

bool read_date(tm_text text, int64_t *nanoseconds, tm_text *why) {
    if (text.size != SIZE) return wrong(text, why, "it is written like `17/May/2015:10:05:03 +0000`");
    const char *at = text.data;
    const bool same_day = memcmp(at, day, sizeof day) == 0 && memcmp(at + OFFSET_AT, offset, sizeof offset) == 0;
    if (!same_day && !start_day(text, why)) return false;
    const int64_t hour = two(at + 12), minute = two(at + 15), second = two(at + 18);
    const bool colons = at[11] == ':' && at[14] == ':' && at[17] == ':';
    if (!colons || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) {
        return wrong(text, why, "there is no such time of day");
    }
    if (__builtin_mul_overflow(day_began + hour * 3600 + minute * 60 + second, 1000000000, nanoseconds)) {
        return wrong(text, why, "it is too far from 1970");
    }
    return true;
}
