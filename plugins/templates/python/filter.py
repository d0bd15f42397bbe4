"""Drops events whose level is below the least wanted.

    level -> keep or drop

A plugin is handed rows and answers for each. It sees nothing else: no files, no network, no clock.
"""

from tidemill import Contract, Error

NAME = "{{name}}"
VERSION = "0.1.0"
ABOUT = "Drops events below a level"

# From the least to the most important.
RANKS = {level: rank for rank, level in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))}


class Settings:
    """The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name."""

    least: str


def configure(settings):
    """Checks the settings, and says what is read. Only columns named in `reads` are handed over."""
    if settings.least.upper() not in RANKS:
        raise Error(f"`least` is `{settings.least}`; write one of {', '.join(RANKS)}")
    return Contract(reads=["level"])


def keep_row(row, context):
    """An event without a level, or with another word as its level, is kept: dropping is for what is known."""
    rank = RANKS.get((row["level"] or "").upper())
    return rank is None or rank >= RANKS[context.settings.least.upper()]
