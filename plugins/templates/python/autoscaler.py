"""As many replicas as the signal needs, at so much a replica.

    signal -> value / per_replica, rounded up -> replicas, and why

The pipeline file's policy has the last word: it keeps the proposal between `min` and `max`, and lets nothing move too fast.
"""

from math import ceil

from tidemill import Error

NAME = "{{name}}"
VERSION = "0.1.0"
ABOUT = "As many replicas as the signal needs at so much a replica"


class Settings:
    """The scaler's `settings`: how much one replica can take, and the query that says how much there is."""

    per_replica: float
    signal: str


def configure(settings):
    """Checks the settings."""
    if not settings.per_replica > 0:
        raise Error(f"`per_replica` is {settings.per_replica:g}; write how much one replica can take, more than 0")


def decide(request, context):
    """One tick. The reason stands in `tidemill.decisions`: say it with the figures."""
    name, per_replica = context.settings.signal, context.settings.per_replica
    now = request.workload.replicas
    signal = request.signals.get(name)
    if signal is None:
        raise Error(f"the scaler has no query `{name}`")
    # Only an answer counts behind which every source is caught up.
    if signal.freshness != "fresh" or signal.value is None:
        return now, f"{name} is not fresh; stays at {now}"
    replicas = max(0, ceil(signal.value / per_replica))
    return replicas, f"{name} {signal.value:g} / {per_replica:g} a replica → {replicas}; was {now}"
