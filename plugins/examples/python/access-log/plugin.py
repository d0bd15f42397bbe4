"""Web server access logs in the combined format of nginx and Apache, a batch at a time.

    client identity user [time] "request" status bytes "referer" "user agent"  more...
"""

import re
from datetime import datetime, timedelta, timezone

from tidemill import Contract, Error, nanoseconds

NAME = "access-log-python"
VERSION = "0.1.0"
ABOUT = "nginx and Apache access logs, in Python"

TEXTS = ("client", "user", "method", "path", "protocol", "request")
WRITES = dict.fromkeys(("timestamp", *TEXTS, "status", "bytes", "referer", "user_agent"), "utf8")
WRITES |= {"timestamp": "timestamp", "status": "int64", "bytes": "int64"}

QUOTED = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
LINE = re.compile(rf'(\S+) \S+ (.+?) \[([^\]]+)\] {QUOTED} (\d{{1,18}}|-) (\d{{1,18}}|-) {QUOTED} "([^"\\]*(?:\\.[^"\\]*)*)')
REQUEST = re.compile(r"([A-Za-z_-]{1,32}) (?:(.+) ([A-Za-z]{1,16}/[\d.]{1,8})|(/\S*))")
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([\"\\nrtbvf]))", re.IGNORECASE)
LETTERS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "v": "\v", "f": "\f"}


def configure(settings):
    return Contract(reads=["body"], writes=WRITES)


def parse(batch, output, context):
    columns = {name: [] for name in WRITES}
    push = [columns[name].append for name in WRITES]
    for row, body in enumerate(batch.text("body")):
        try:
            values = read(body or "")
        except Error as error:
            output.error(row, error)
            continue
        for add, value in zip(push, values):
            add(value)
    for name, values in columns.items():
        output.column(name, values)


def read(line):
    found = LINE.match(line)
    if not found:
        raise Error(where(line))
    client, user, time, request, status, size, referer, agent = found.groups()
    parts = REQUEST.fullmatch(request)
    if parts:
        method, path, protocol = parts[1], resolve(parts[2] or parts[4]), parts[3]
        request = None
    else:
        method = path = protocol = None
        request = None if request == "-" else resolve(request)
    return (
        timestamp(time), client, nothing(user), method, path, protocol, request,
        None if status == "-" else int(status), None if size == "-" else int(size),
        None if referer == "-" else resolve(referer), None if agent == "-" else resolve(agent),
    )


def where(line):
    """What is wrong with a line that does not match, as far as it is the usual mistakes."""
    if re.match(rf'\S+ \S+ .+? \[[^\]]+\] {QUOTED} \S+ \S+$', line):
        return f"byte {len(line.encode()) + 1}: the line ends where the referer in double quotes should stand"
    return f"it is no line of the combined format: `{line[:24]}`"


MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
days = {}  # a cache: lines of one day share the most of their time


def timestamp(text):
    day = days.get(text[:12] + text[20:])
    try:
        if day is None:
            month = MONTHS.index(text[3:6]) // 3 + 1
            zone = timezone(int(text[21] + "1") * timedelta(hours=int(text[22:24]), minutes=int(text[24:26])))
            day = nanoseconds(datetime(int(text[7:11]), month, int(text[:2]), tzinfo=zone))
            days.clear() if len(days) > 1000 else None
            days[text[:12] + text[20:]] = day
        hour, minute, second = text[12:20].split(":")
        return day + (int(hour) * 3600 + int(minute) * 60 + int(second)) * 1_000_000_000
    except (ValueError, IndexError):
        raise Error(f"`{text[:40]}` is not a time: it is written like `17/May/2015:10:05:03 +0000`") from None


def nothing(text):
    return None if text == "-" else text


def resolve(text):
    """Escapes of nginx (`\\x22`) and Apache (`\\"`, `\\n`); bytes that are not UTF-8 become U+FFFD."""
    if "\\" not in text:
        return text
    as_bytes = ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else LETTERS.get(found[2], found[2]), bytes_of(text))
    return as_bytes.encode("latin-1").decode("utf-8", "replace")


def bytes_of(text):
    """Text whose characters are the bytes of its UTF-8."""
    return text.encode().decode("latin-1")
