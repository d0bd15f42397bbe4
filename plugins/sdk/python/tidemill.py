"""Tidemill plugins in Python: rows or columns in, rows or columns out.

    configure(settings)          says what the plugin reads and makes
    parse_row(row, context)      one event -> what it becomes: a dict, several, or None         (parser)
    keep_row(row, context)       one event -> whether it goes on                                (filter)
    enrich_row(row, context)     one event -> a dict with the columns to add                    (enricher)
    decide(request, context)     the answers of the scaler's queries -> (replicas, reason)      (autoscaler)

parse, keep and enrich (batch, output, context) are the same a batch at a time. The world is told by which of them a plugin defines.

Always: what a row's function raises is that row's error, and the other rows go on.
Never:  a plugin opens files or sockets, or asks for the time: there are none, and trying is an error that says so.
"""

import _strptime  # noqa: F401 what is imported later than now is looked for in a file system that there is not
import builtins
import datetime as datetime_module
import encodings.ascii
import encodings.latin_1
import encodings.utf_8
import io
import json
import os
import sys
import time as time_module
import types as python_types
import typing
from dataclasses import dataclass, field
from datetime import timedelta, timezone
from itertools import accumulate, compress, pairwise

from componentize_py_types import Err
from wit_world.exports import plugin as wit_plugin
from wit_world.imports import log as host_log
from wit_world.imports import tables as host_tables
from wit_world.imports import types as wit

TYPES = ("boolean", "int64", "float64", "timestamp", "utf8", "binary")
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
_NONE = type(None)


class Error(Exception):
    """What is wrong, in words. Of any other exception the kind and the line are told too, as of a mistake in the plugin."""


# ---- What there is not ----------------------------------------------------------------------------------------------------------------
#
# While a plugin is built there are files and a clock: what is imported may use them. From then on asking is an error that says so.

_built = False


class _NoFile(Error, OSError):
    """There are no files."""


def _no(what: str, instead: str, real, given_from: int | None = None, kind: type = Error):
    """What is refused once the plugin is built; from so many arguments on it needs no clock."""

    def asked(*given, **named):
        if _built and (given_from is None or len(given) < given_from):
            raise kind(f"`{what}`: {instead}")
        return real(*given, **named)

    return asked


_NO_CLOCK = "a plugin has no clock; the time is `context.now`, where the stage says `clock = true`"
_NO_FILES = "a plugin has no files; what it has to look up is in `tables`, its settings in `settings`"
_real_date, _real_datetime = datetime_module.date, datetime_module.datetime


class _Clockless(type):
    """A class that stands for one of the library's: what that one made is of this one too."""

    def __instancecheck__(cls, value):
        return isinstance(value, cls._real) if "_real" in vars(cls) else type.__instancecheck__(cls, value)

    def __subclasscheck__(cls, other):
        return issubclass(other, cls._real) if "_real" in vars(cls) else type.__subclasscheck__(cls, other)


class _Date(_real_date, metaclass=_Clockless):
    _real = _real_date
    today = _no("date.today", _NO_CLOCK, _real_date.today)


class _Datetime(_real_datetime, metaclass=_Clockless):
    _real = _real_datetime
    today = utcnow = _no("datetime.now", _NO_CLOCK, _real_datetime.utcnow)
    now = _no("datetime.now", _NO_CLOCK, _real_datetime.now)


for _class, _name in ((_Date, "date"), (_Datetime, "datetime")):
    _class.__name__ = _class.__qualname__ = _name
    _class.__module__ = "datetime"
    setattr(datetime_module, _name, _class)
for _name, _from in {
    **dict.fromkeys(("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "sleep"), None),
    **dict.fromkeys(("gmtime", "localtime", "ctime", "asctime"), 1),
    "strftime": 2,
}.items():
    setattr(time_module, _name, _no(f"time.{_name}", _NO_CLOCK, getattr(time_module, _name), _from))
builtins.open = io.open = _no("open", _NO_FILES, open, kind=_NoFile)
for _name in ("open", "stat", "lstat", "listdir", "scandir", "mkdir", "remove", "rename"):
    setattr(os, _name, _no(f"os.{_name}", _NO_FILES, getattr(os, _name), kind=_NoFile))
os.urandom = _no("os.urandom", "a plugin has no randomness; `random` is seeded the same each time", os.urandom)
datetime = _Datetime


class log:
    """Lines in `tidemill.logs`, marked with the stage: `log.info("started")`. Not for data."""


for _level in host_log.Level:
    setattr(log, _level.name.lower(), staticmethod(lambda message, level=_level: host_log.log(level, str(message))))


class _Printed:
    """What a plugin prints is a line in `tidemill.logs`."""

    def __init__(self, level):
        self._level, self._begun = level, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            host_log.log(self._level, line)
        return len(text)

    def flush(self):
        pass


@dataclass
class Contract:
    """What a configured plugin reads and makes."""

    reads: list[str] = field(default_factory=list)
    """Columns to hand over: `labels.job` is one label of a metric, `labels.*` every label, `*` every column."""
    writes: dict[str, str] = field(default_factory=dict)
    """Columns the plugin makes or replaces, and the type of each: one of `TYPES`."""
    open_schema: bool = False
    """Columns beyond `writes` may appear, named by the events."""
    keeps_state: bool = False
    """`context.state` is what the call before handed to `output.state`."""
    produces: str = "logs"
    """What comes out of a parser: "logs" or "metrics"."""


@dataclass
class Context:
    """Beside the rows of a call."""

    settings: typing.Any
    now: int | None = None
    """Nanoseconds since 1970, where the pipeline grants the clock (`clock = true`)."""
    state: bytes | None = None


# ---- Time ---------------------------------------------------------------------------------------------------------------------------

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def nanoseconds(time: datetime) -> int:
    """A datetime as nanoseconds since 1970; one without a zone is in UTC."""
    if time.tzinfo is None:
        time = time.replace(tzinfo=timezone.utc)
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def rfc3339(text: str) -> int:
    """`2015-05-17T10:05:03.25Z` as nanoseconds since 1970, exactly."""
    try:
        # Python keeps microseconds; the digits behind them are added here.
        whole, dot, rest = text.partition(".")
        digits = rest.rstrip("Zz").partition("+")[0].partition("-")[0] if dot else ""
        zone = rest[len(digits):] if dot else ""
        if dot and not digits.isdigit() or len(text) < 20 or text[10] not in "Tt ":
            raise ValueError
        time = datetime.fromisoformat(whole + zone)
        if time.tzinfo is None:
            raise ValueError
    except ValueError:
        raise Error(f"`{text}` is not a time: it is written like `2015-05-17T10:05:03Z`") from None
    return nanoseconds(time) + int((digits + "000000000")[:9])


# ---- Settings -----------------------------------------------------------------------------------------------------------------------

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "a table"}


def _settings(declared, text: str):
    """A plugin's class `Settings`: an annotation for each setting, a value where it may be absent."""
    given = json.loads(text or "{}")
    hints = typing.get_type_hints(declared) if declared else {}
    for key in given:
        if key not in hints:
            names = ", ".join(f"`{name}`" for name in hints)
            few = "there are no settings" if not hints else f"expected {names}" if len(hints) == 1 else f"expected one of {names}"
            raise Error(f"unknown field `{key}`, {few}")
    settings = python_types.SimpleNamespace()
    for name, hint in hints.items():
        if name in given:
            setattr(settings, name, _fit(name, given[name], hint))
        elif hasattr(declared, name):
            setattr(settings, name, getattr(declared, name))
        elif _NONE in typing.get_args(hint):
            setattr(settings, name, None)
        else:
            raise Error(f"missing field `{name}`")
    return settings


def _fit(name: str, value, hint):
    kinds = [typing.get_origin(one) or one for one in (typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, python_types.UnionType) else (hint,))]
    if typing.Any in kinds or type(value) in kinds:
        return value
    if float in kinds and type(value) is int:
        return float(value) if value != int(value) else value
    wanted = " or ".join(_WORDS.get(kind, str(kind)) for kind in kinds if kind is not _NONE)
    raise Error(f"`{name}` is {json.dumps(value)}; write {wanted}")


# ---- Columns in ---------------------------------------------------------------------------------------------------------------------


class Batch:
    """Columns of equal length. Iterating gives rows: dicts by column, None where there is no value."""

    def __init__(self, batch, reads: list[str] | None = None):
        self.rows = batch.rows
        self._columns = {column.name: column for column in batch.columns}
        self._read = {}
        self._reads = reads

    @property
    def names(self) -> list[str]:
        """The names of the columns there are."""
        return list(self._columns)

    def _found(self, name: str):
        """A column; None where no event has it. One that the contract does not read is a mistake: it would be None for ever."""
        column = self._columns.get(name)
        if column is None and self._reads is not None:
            _must_read(name, self._reads)
        return column

    def type(self, name: str) -> str | None:
        """A column's type; None where no event has it."""
        column = self._found(name)
        return _TYPE_OF[type(column.values)] if column else None

    def column(self, name: str) -> list:
        """A column's values: text is str, bytes are bytes, timestamps nanoseconds since 1970; None where there is none."""
        if name not in self._read:
            column = self._found(name)
            self._read[name] = _read(column) if column else [None] * self.rows
        return self._read[name]

    def text(self, name: str) -> list:
        """A column of text or bytes, as str; what is not UTF-8 becomes U+FFFD."""
        column = self._found(name)
        if column is None or not isinstance(column.values, wit.Values_Binary):
            return self.column(name)
        key = ("text", name)
        if key not in self._read:
            self._read[key] = _nulled(_texts(column.values.value), column.validity)
        return self._read[key]

    def bytes(self, name: str) -> list:
        """A column of text or bytes, as bytes."""
        column = self._found(name)
        if column is None or not isinstance(column.values, wit.Values_Utf8):
            return self.column(name)
        return _nulled(_binaries(column.values.value), column.validity)

    def __iter__(self):
        # `body` is text here; its bytes are at `batch.bytes("body")`.
        names = self.names
        columns = [self.text(name) if name == "body" else self.column(name) for name in names]
        row = type("Row", (Row,), {"_reads": ["*"] if self._reads is None else self._reads})
        if not columns:
            return iter([row() for _ in range(self.rows)])
        return (row(zip(names, values)) for values in zip(*columns))


class Row(dict):
    """A row by column; a column that no event has is None. One that the contract does not read is a mistake."""

    _reads = ["*"]

    def __missing__(self, name):
        _must_read(name, self._reads)

    def get(self, name, default=None):
        if name in self:
            return self[name]
        _must_read(name, self._reads)
        return default


def _must_read(name, reads: list[str]):
    for pattern in reads:
        if name == pattern or pattern.endswith("*") and str(name).startswith(pattern[:-1]):
            return
    raise Error(f"the plugin reads no column `{name}`; name it in the contract's reads ({', '.join(reads) or 'nothing'})")


_TYPE_OF = {
    wit.Values_Boolean: "boolean",
    wit.Values_Int64: "int64",
    wit.Values_Float64: "float64",
    wit.Values_Timestamp: "timestamp",
    wit.Values_Utf8: "utf8",
    wit.Values_Binary: "binary",
    wit.Values_DictUtf8: "utf8",
}


def _read(column) -> list:
    values = column.values
    match values:
        case wit.Values_Utf8():
            read = _texts(values.value)
        case wit.Values_Binary():
            read = _binaries(values.value)
        case wit.Values_DictUtf8():
            words = _texts(values.value.values)
            read = [words[index] for index in values.value.indices]
        case wit.Values_Boolean():
            read = [byte == 1 for byte in values.value]
        case _:
            read = values.value
    return _nulled(read, column.validity)


def _nulled(values: list, validity) -> list:
    if validity is None:
        return values
    return [value if valid else None for value, valid in zip(values, validity)]


def _texts(packed) -> list:
    if packed.data.isascii():
        text = packed.data.decode("ascii")
        return [text[start:end] for start, end in pairwise(packed.offsets)]
    return [packed.data[start:end].decode("utf-8", "replace") for start, end in pairwise(packed.offsets)]


def _binaries(packed) -> list:
    return [packed.data[start:end] for start, end in pairwise(packed.offsets)]


# ---- Columns out --------------------------------------------------------------------------------------------------------------------


def _column(name: str, kind: str, values: list, misfits: dict):
    """Values of one type, None where there is none, as they cross. `misfits` gets each that does not fit: its place, and why."""
    if kind not in _WRITE:
        raise Error(f"column `{name}` is of no type `{kind}`; there is {', '.join(TYPES)}")
    fits, what, empty, write = _WRITE[kind]
    kinds = set(map(type, values))
    if not kinds <= fits or kind == "int64" and any(value is not None and not INT_MIN <= value <= INT_MAX for value in values):
        checked = []
        for at, value in enumerate(values):
            good = type(value) in fits and (kind != "int64" or value is None or INT_MIN <= value <= INT_MAX)
            if not good:
                misfits[at] = f"`{name}` is {repr(value)[:60]}; the column holds {what}"
            checked.append(value if good else None)
        values = checked
        kinds = set(map(type, values))
    validity = None
    if _NONE in kinds:
        validity = bytes([value is not None for value in values])
        values = [empty if value is None else value for value in values]
    return wit.Column(name, write(values), validity)


def _pack_text(values: list):
    joined = "".join(values)
    if joined.isascii():
        return wit.VarBytes(list(accumulate(map(len, values), initial=0)), joined.encode("ascii"))
    return _pack([value.encode("utf-8", "replace") for value in values])


def _pack(values: list):
    return wit.VarBytes(list(accumulate(map(len, values), initial=0)), b"".join(values))


def _words(values: list):
    """Few distinct values cross once each; many cross as they are."""
    places = dict.fromkeys(values)
    if len(places) * 8 > len(values):
        return wit.Values_Utf8(_pack_text(values))
    for at, word in enumerate(places):
        places[word] = at
    return wit.Values_DictUtf8(wit.Dictionary([places[value] for value in values], _pack_text(list(places))))


def _times(values: list):
    return wit.Values_Timestamp([nanoseconds(value) if isinstance(value, datetime) else value for value in values])


_WRITE = {
    "boolean": ({bool, _NONE}, "True or False", False, lambda values: wit.Values_Boolean(bytes(values))),
    "int64": ({int, _NONE}, "whole numbers of 64 bits", 0, wit.Values_Int64),
    "float64": ({float, int, _NONE}, "numbers", 0.0, lambda values: wit.Values_Float64(list(map(float, values)))),
    "timestamp": ({int, datetime, _real_datetime, _NONE}, "times: a datetime, or nanoseconds since 1970", 0, _times),
    "utf8": ({str, _NONE}, "text", "", _words),
    "binary": ({bytes, _NONE}, "bytes", b"", lambda values: wit.Values_Binary(_pack(values))),
}


class Output:
    """What a call that is handed a whole batch makes."""

    def __init__(self, batch: Batch, contract: Contract):
        self._batch, self._contract = batch, contract
        self._columns, self._errors = [], {}
        self._origin = self._state = self._keep = None

    def column(self, name: str, values, type: str | None = None):
        """A column: a value for each row that comes out, None where there is none. The type is the contract's."""
        kind = type or self._contract.writes.get(name)
        if kind is None:
            raise Error(f"column `{name}` is not in the contract's `writes`, and no type is given")
        misfits = {}
        self._columns.append(_column(name, kind, list(values), misfits))
        for at, why in misfits.items():
            raise Error(f"value {at}: {why}")

    def error(self, row: int, reason):
        """The row could not be handled: it becomes a dead letter with this reason."""
        self._errors.setdefault(row, _reason(reason) if isinstance(reason, BaseException) else str(reason))

    def keep(self, kept):
        """Of each row whether it goes on: True or False."""
        self._keep = bytes(map(bool, kept))

    def origin(self, rows):
        """For each row that comes out of a parser, the row it came from: where they are more or fewer than came in."""
        self._origin = list(rows)

    def state(self, state: bytes | str):
        """What the next call gets as `context.state`."""
        self._state = _state(state)

    def _errors_out(self) -> list:
        return [wit.RowError(row, message) for row, message in self._errors.items()]


def _state(state) -> bytes:
    return state.encode() if isinstance(state, str) else bytes(state or b"")


# ---- What was raised ----------------------------------------------------------------------------------------------------------------

_plugin = None


def _reason(error: BaseException) -> str:
    if isinstance(error, Error):
        return str(error)
    if isinstance(error, Err):
        return str(error.value)
    # The traceback module would look for the sources.
    place, trace = "", error.__traceback__
    while trace:
        file = trace.tb_frame.f_code.co_filename.rpartition("/")[2]
        if file not in ("tidemill.py", "app.py"):
            place = f" ({file}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{place}"


# ---- The worlds ---------------------------------------------------------------------------------------------------------------------

_contract = Contract()
_given = None


def _context(context) -> Context:
    return Context(_given, context.now, context.state)


def _columns(made: list, origin: list, errors: dict, check: bool = True):
    """Dicts as columns. A value that does not fit is its row's error, and the row is left out."""
    kinds = dict(_contract.writes)
    misfits = {}
    for at, row in enumerate(made):
        if isinstance(row, Row):  # the one that was handed in, answered
            row = made[at] = dict(row)
        if row.keys() <= kinds.keys():
            continue
        for name in row.keys() - kinds.keys():
            if row[name] is None:
                continue
            if _contract.open_schema:
                kinds[name] = _common_type(name, made)
            else:
                misfits.setdefault(at, f"column `{name}` is not in the contract's `writes`")
    columns = [_column(name, kind, [row.get(name) for row in made], misfits) for name, kind in kinds.items()]
    if not misfits:
        return columns, origin
    lost = {origin[at]: why for at, why in misfits.items()}
    for row, why in lost.items():
        errors.setdefault(row, why)
    stay = [row not in lost for row in origin]
    made, origin = list(compress(made, stay)), list(compress(origin, stay))
    return [_column(name, kind, [row.get(name) for row in made], {}) for name, kind in kinds.items()], origin


_KIND_OF_VALUE = {bool: "boolean", int: "int64", float: "float64", str: "utf8", bytes: "binary", datetime: "timestamp", _real_datetime: "timestamp"}


def _common_type(name: str, made: list) -> str:
    """The type of a column that the events name: what all its values have in common, else text."""
    kinds = {_KIND_OF_VALUE.get(type(row[name])) for row in made if row.get(name) is not None}
    if kinds == {"int64", "float64"}:
        return "float64"
    if len(kinds) == 1 and None not in kinds:
        return kinds.pop()
    for row in made:
        value = row.get(name)
        if value is not None and not isinstance(value, str):
            row[name] = json.dumps(value, default=str)
    return "utf8"


def _whole(call, input, context):
    batch = Batch(input, _contract.reads)
    output = Output(batch, _contract)
    _now(getattr(call, "__name__", "it"), call(batch, output, _context(context)))
    return output


def _now(call, answer):
    """What a function of the plugin answered; one that would have to be waited for never answers."""
    if type(answer).__name__ == "coroutine":
        answer.close()
        raise Error(f"{call} is async; a plugin cannot wait, so answer at once")
    return answer


def _parse(made, wit_parsing):
    row_by_row = getattr(made, "parse_row", None)

    def parse(_, input, context):
        if row_by_row is None:
            output = _whole(made.parse, input, context)
            rows = len(output._origin) if output._origin is not None else input.rows - len(output._errors)
            return wit_parsing.Parsed(rows, output._columns, output._origin, output._errors_out(), output._state)
        context = _context(context)
        rows, origin, errors, one_to_one = [], [], {}, True
        for at, row in enumerate(Batch(input, _contract.reads)):
            try:
                answer = _now("parse_row", row_by_row(row, context))
                if isinstance(answer, dict):
                    rows.append(answer)
                    origin.append(at)
                    continue
                one_to_one = False
                several = answer if answer is not None else ()
                several = list(several) if hasattr(several, "__iter__") else [several]
                if isinstance(answer, (str, bytes)) or not all(isinstance(one, dict) for one in several):
                    raise Error(f"parse_row answered {repr(answer)[:60]}; answer a dict, several, or None")
                rows += several
                origin += [at] * len(several)
            except Exception as error:
                errors[at] = _reason(error)
        columns, origin = _columns(rows, origin, errors)
        out = [wit.RowError(row, why) for row, why in errors.items()]
        return wit_parsing.Parsed(len(origin), columns, None if one_to_one else origin, out, None)

    return parse


def _keep(made, wit_filtering):
    row_by_row = getattr(made, "keep_row", None)

    def keep(_, input, context):
        if row_by_row is None:
            output = _whole(made.keep, input, context)
            kept = output._keep if output._keep is not None else b"\1" * input.rows
            return wit_filtering.Kept(kept, output._errors_out(), output._state)
        context = _context(context)
        kept, errors = bytearray(input.rows), []
        for at, row in enumerate(Batch(input, _contract.reads)):
            try:
                answer = _now("keep_row", row_by_row(row, context))
                if not isinstance(answer, bool):
                    raise Error(f"keep_row answered {repr(answer)[:60]}; answer True or False")
                kept[at] = answer
            except Exception as error:
                errors.append(wit.RowError(at, _reason(error)))
        return wit_filtering.Kept(bytes(kept), errors, None)

    return keep


def _enrich(made, wit_enriching):
    row_by_row = getattr(made, "enrich_row", None)

    def enrich(_, input, context):
        if row_by_row is None:
            output = _whole(made.enrich, input, context)
            return wit_enriching.Enriched(output._columns, output._errors_out(), output._state)
        context = _context(context)
        rows, errors = [{}] * input.rows, {}
        for at, row in enumerate(Batch(input, _contract.reads)):
            try:
                rows[at] = _now("enrich_row", row_by_row(row, context)) or {}
            except Exception as error:
                errors[at] = _reason(error)
        columns, stay = _columns(rows, list(range(input.rows)), errors)
        if len(stay) < input.rows:
            # A row at fault has to be there, whatever it holds.
            full = [{}] * input.rows
            for at in stay:
                full[at] = rows[at]
            columns, _ = _columns(full, list(range(input.rows)), {})
        return wit_enriching.Enriched(columns, [wit.RowError(row, why) for row, why in errors.items()], None)

    return enrich


class Signal:
    """One query's latest answer. `freshness` is "fresh", "stale", "missing" or "failed"."""

    def __init__(self, signal):
        self.name, self.message, self.caught_up_at = signal.name, signal.message, signal.caught_up_at
        self.freshness = signal.freshness.name.lower()
        self.table = Batch(signal.table)

    @property
    def value(self) -> float | None:
        """The first row's `value`, or of its only column of numbers; None where there is none."""
        numbers = [name for name in self.table.names if self.table.type(name) in ("int64", "float64")]
        name = "value" if "value" in numbers else numbers[0] if len(numbers) == 1 else None
        return next(iter(self.table.column(name)), None) if name else None


@dataclass
class Request:
    """What an autoscaler decides on; times are nanoseconds since 1970."""

    now: int
    workload: typing.Any
    """`name`, `replicas`, `ready`, `min`, `max`, `members` (each `name`, `ready`, `started_at`, `changed_at`)."""
    signals: dict[str, Signal]
    decisions: list
    """The latest, newest last: `at`, `replicas`, `proposed`, `decided`, `reason`."""
    advice: list
    """What other deciders propose: `name`, `replicas`, `reason`."""
    state: bytes
    """What the last tick handed back; empty at first."""


def _decide(made, wit_autoscaling):
    def decide(_, request):
        signals = {signal.name: Signal(signal) for signal in request.signals}
        asked = Request(request.now, request.workload, signals, request.decisions, request.advice, request.state)
        answer = made.decide(asked, Context(_given))
        replicas, reason, *state = answer
        if type(replicas) is not int or replicas < 0:
            raise Error(f"decide answered {replicas!r} replicas; answer (replicas, reason) or (replicas, reason, state)")
        return wit_autoscaling.Proposal(min(replicas, 2**32 - 1), str(reason), _state(state[0]) if state else b"")

    return decide


_WORLDS = {
    "parser": ("Parsing", "parse", _parse),
    "filter": ("Filtering", "keep", _keep),
    "enricher": ("Enriching", "enrich", _enrich),
    "autoscaler": ("Autoscaling", "decide", _decide),
}


def component(made, world: str, folder: str) -> dict:
    """The classes that the component exports: the build calls it with the plugin's module, its world and its folder's name."""
    import importlib

    class_name, function_name, of_world = _WORLDS[world]
    interface = importlib.import_module(f"wit_world.exports.{class_name.lower()}")
    sys.stdout, sys.stderr = _Printed(host_log.Level.INFO), _Printed(host_log.Level.WARN)
    sys.setrecursionlimit(500)  # Python's own error comes before the stack of WebAssembly is at its end

    def spoken(call):
        def called(*arguments):
            try:
                return call(*arguments)
            except Exception as error:
                raise Err(_reason(error)) from None

        return called

    def describe(_):
        return wit_plugin.Descriptor(getattr(made, "NAME", folder), getattr(made, "VERSION", "0.1.0"), getattr(made, "ABOUT", ""))

    def configure(_, text):
        global _contract, _given
        _given = _settings(getattr(made, "Settings", None), text)
        _contract = (made.configure(_given) if hasattr(made, "configure") else None) or Contract()
        for name, kind in _contract.writes.items():
            if kind not in TYPES:
                raise Error(f"column `{name}` is of no type `{kind}`; there is {', '.join(TYPES)}")
        writes = [wit_plugin.Field(name, wit.DataType[kind.upper()]) for name, kind in _contract.writes.items()]
        produces = wit_plugin.EventKind[_contract.produces.upper()]
        return wit_plugin.Contract(_contract.reads, writes, _contract.open_schema, _contract.keeps_state, produces)

    global _built
    _built = True
    return {
        "Plugin": type("Plugin", (), {"describe": spoken(describe), "configure": spoken(configure)}),
        class_name: type(class_name, (), {function_name: spoken(of_world(made, interface))}),
    }


# ---- Lookup tables ------------------------------------------------------------------------------------------------------------------


class tables:
    """Read-only tables that the stage names, a whole column of keys a call: one call a batch, not one a row."""

    @staticmethod
    def columns(table: str) -> list[str]:
        """The names of a table's columns."""
        return host_tables.columns(table)

    @staticmethod
    def lookup(table: str, key: str, keys, want: list[str]) -> Batch:
        """For each key the row whose column `key` equals it: a batch of the columns `want`, None where there is no such row."""
        return _find(host_tables.lookup, table, key, keys, want)

    @staticmethod
    def lookup_network(table: str, key: str, addresses, want: list[str]) -> Batch:
        """The same for addresses and a column of networks such as `10.0.0.0/8`: of several the narrowest."""
        return _find(host_tables.lookup_network, table, key, addresses, want)


def _find(call, table: str, key: str, keys, want: list[str]) -> Batch:
    # Where there is none, a key that no row has.
    packed = _pack_text(["\0" if value is None else str(value) for value in keys])
    return Batch(wit.Batch(len(packed.offsets) - 1, call(table, key, packed, want)))
