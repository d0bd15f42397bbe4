"""Lines such as `2026-01-31T12:00:00Z WARN checkout took 812 ms` as columns.

    body -> timestamp, level, message

A plugin is handed rows and hands rows back. It sees nothing else: no files, no network, no clock.
"""

from tidemill import Contract, Error, rfc3339

NAME = "{{name}}"
VERSION = "0.1.0"
ABOUT = "Lines with a time, a level and a message"

# What stands after a line's time, if the line names its level.
LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")


class Settings:
    """The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name."""

    default_level: str | None = None


def configure(settings):
    """Checks the settings, and says what is read and what is written. Only columns named in `reads` are handed over."""
    level = settings.default_level
    if level is not None and level not in LEVELS:
        raise Error(f"`default_level` is `{level}`; write one of {', '.join(LEVELS)}")
    return Contract(reads=["body"], writes={"timestamp": "timestamp", "level": "utf8", "message": "utf8"})


def parse_row(row, context):
    """One row: a dict by column, a list of them, or None. What is raised is the reason in `tidemill.dead_letters`."""
    time, space, message = (row["body"] or "").partition(" ")
    if not space:
        raise Error("a time, a space and a message should stand here")
    level, space, rest = message.partition(" ")
    if space and level in LEVELS:
        return {"timestamp": rfc3339(time), "level": level, "message": rest}
    return {"timestamp": rfc3339(time), "level": context.settings.default_level, "message": message}
