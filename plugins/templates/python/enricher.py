"""The class of an HTTP status beside it: 404 is `4xx`.

    status -> status_class

A plugin is handed rows and hands columns to add back. It sees nothing else: no files, no network, no clock.
"""

from tidemill import Contract, Error

NAME = "{{name}}"
VERSION = "0.1.0"
ABOUT = "The class of an HTTP status"


class Settings:
    """The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name."""

    field: str = "status"


def configure(settings):
    """Checks the settings, and says what is read and what is written. Only columns named in `reads` are handed over."""
    if not settings.field:
        raise Error("`field` is empty; name the column with the status")
    return Contract(reads=[settings.field], writes={"status_class": "utf8"})


def enrich_row(row, context):
    """The columns to add to one row. What is raised is the reason in `tidemill.dead_letters`."""
    field = context.settings.field
    status = row[field]
    if status is None:
        return {}
    if not 100 <= status <= 599:
        raise Error(f"`{field}` is {status}, which is no HTTP status")
    return {"status_class": f"{status // 100}xx"}
