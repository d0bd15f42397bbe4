"""Keeps a signal at its target, and never fewer replicas than a schedule asks for.

    signal -> replicas x value / target, rounded up --+
    time of day -> the schedule's least --------------+-> the larger -> replicas, and why

A schedule is a list of `{ from = "08:00", to = "20:00", days = "mon-fri", min = 6 }`, in UTC.
"""

from datetime import datetime, timezone
from math import ceil

from tidemill import Error

NAME = "target-tracking-python"
VERSION = "0.1.0"
ABOUT = "Keeps a signal at its target, with a least number of replicas by the time of day"

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Settings:
    signal: str
    target: float
    tolerance: float = 0.1
    schedule: list = []


def configure(settings):
    if not settings.target > 0:
        raise Error(f"`target` is {settings.target:g}; write what the signal should be, more than 0")
    settings.entries = []
    for at, one in enumerate(settings.schedule):
        try:
            settings.entries.append(entry(**one))
        except (TypeError, ValueError, Error) as error:
            raise Error(f"`schedule`: entry {at + 1}: {error}; write from, to, days, min as in 08:00, 20:00, mon-fri, 6") from None


def entry(min, days="mon-sun", to="24:00", **more):
    start = more.pop("from", "00:00")
    if more:
        raise Error(f"there is no `{next(iter(more))}`")
    first, _, last = days.partition("-")
    return {
        "from": minutes(start), "to": minutes(to), "first": DAYS.index(first), "last": DAYS.index(last or first),
        "min": int(min), "told": f"{days} {start} to {to}",
    }


def minutes(time):
    hour, minute = time.split(":")
    return int(hour) * 60 + int(minute)


def decide(request, context):
    settings = context.settings
    signal = request.signals.get(settings.signal)
    if signal is None:
        raise Error(f"the scaler has no query `{settings.signal}`")
    current = replicas = request.workload.replicas
    reason = f"{settings.signal} is not fresh; stays at {current}"
    if signal.freshness == "fresh" and signal.value is not None:
        ratio = signal.value / settings.target
        replicas = current if abs(ratio - 1) <= settings.tolerance else ceil(max(current, 1) * ratio)
        reason = f"{settings.signal} {signal.value:g} of {settings.target:g} with {current} → {replicas}"
    least = least_at(settings.entries, datetime.fromtimestamp(request.now // 1_000_000_000, timezone.utc))
    if least and least["min"] > replicas:
        return least["min"], f"{reason}; at least {least['min']} on {least['told']}"
    return max(0, replicas), reason


def least_at(entries, time):
    """The entry that asks for the most at this time."""
    minute, day = time.hour * 60 + time.minute, time.weekday()

    def is_between(first, last, value, closed):
        return first <= value < last + closed if first <= last else value >= first or value < last + closed

    now = [
        one for one in entries
        if is_between(one["first"], one["last"], day, 1) and is_between(one["from"], one["to"], minute, 0)
    ]
    return max(now, key=lambda one: one["min"], default=None)
